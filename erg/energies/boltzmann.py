r"""The Boltzmann machine: bits or spins, any two of which may be coupled.

.. math:: E(s) = -\tfrac12 s^\top J s - b^\top s, \qquad J = J^\top, \quad J_{ii} = 0

Some units may be data and the others hidden: hidden units are entries that are not clamped. `LocalFields` make exact
draws of single units cheap, see `chromatic`.

References:
    Ackley, Hinton & Sejnowski (1985), A learning algorithm for Boltzmann machines, doi:10.1207/s15516709cog0901_7
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from erg import rows
from erg.energies.energy import Energy, check_event
from erg.energies.graphs import check_couplings, greedy_colours
from erg.roles import Group
from erg.support import Binary, Spin

_BLOCK = 32


class BoltzmannMachine(Energy):
    """Units with a bias each and a coupling for each allowed pair.

    Args:
        shape: Of the event; a coupling joins any two of its entries.
        support: `Binary` or `Spin`.
        mask: True for the pairs that may be coupled, as a symmetric matrix over the flattened entries; all if left
            out. Other couplings are zero and no parameters.
        scale: Standard deviation of the couplings at the start. Biases start at zero.

    Attributes:
        weights: The parameters behind J, one for each allowed pair of two entries.
        bias: b.

    Raises:
        TypeError: If the support is neither, or the mask is not boolean.
        ValueError: If the mask is of another shape, or not symmetric.

    Example:
        >>> from erg.samplers import chromatic, sample
        >>> machine = BoltzmannMachine((3,), support=Spin())
        >>> sample(chromatic(), machine, torch.ones(5, 3), steps=10).shape
        torch.Size([5, 3])
    """

    support: Binary | Spin
    pairs: Tensor
    weight_of: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        support: Binary | Spin = Binary(),
        mask: Bool[Tensor, "n n"] | None = None,
        scale: float = 0.01,
    ) -> None:
        super().__init__()
        if not isinstance(support, Binary | Spin):
            raise TypeError(f"BoltzmannMachine lives on Binary or Spin, but got {support}; use Potts for categories.")
        self.shape, self.support = tuple(shape), support
        units = torch.Size(shape).numel()
        pairs = _pairs(mask, units)
        self.weights = nn.Parameter(scale * torch.randn(len(pairs)))
        self.bias = nn.Parameter(torch.zeros(shape))
        # Where J takes each entry from; the place behind the last weight is a zero.
        weight_of = torch.full((units, units), len(pairs))
        weight_of[pairs[:, 0], pairs[:, 1]] = weight_of[pairs[:, 1], pairs[:, 0]] = torch.arange(len(pairs))
        self.register_buffer("pairs", pairs, persistent=False)
        self.register_buffer("weight_of", weight_of, persistent=False)
        self._paint(units)

    @staticmethod
    def of(
        couplings: Float[Tensor, "n n"],
        bias: Float[Tensor, "*event"],
        *,
        support: Binary | Spin = Binary(),
        mask: Bool[Tensor, "n n"] | None = None,
    ) -> "BoltzmannMachine":
        """The machine with these couplings, a symmetric matrix with zeros on its diagonal, and these biases.

        Raises:
            ValueError: If they are not finite, not symmetric, or not zero where the mask is false or on the diagonal.
        """
        units = bias.numel()
        if couplings.shape != (units, units):
            raise ValueError(
                f"{units} biases need couplings of shape ({units}, {units}), but got {tuple(couplings.shape)}; "
                "give one row and one column for each entry of the event."
            )
        check_couplings("coupling", couplings, (units, units), of=BoltzmannMachine)
        check_couplings("bias", bias, tuple(bias.shape), of=BoltzmannMachine)
        if not torch.allclose(couplings, couplings.T) or bool((couplings.diagonal() != 0).any()):
            raise ValueError(
                "BoltzmannMachine needs symmetric couplings with zeros on the diagonal, but these are not; take "
                "(J + J.T) / 2, and write what a unit does on its own as its bias."
            )
        machine = BoltzmannMachine(tuple(bias.shape), support=support, mask=mask).to(couplings)
        outside = couplings[machine.weight_of == len(machine.weights)]
        if bool((outside != 0).any()):
            raise ValueError("Couplings are zero where the mask is false, but some are not; mask both alike.")
        with torch.no_grad():
            machine.weights.copy_(couplings[machine.pairs[:, 0], machine.pairs[:, 1]])
            machine.bias.copy_(bias)
        return machine

    @property
    def couplings(self) -> Float[Tensor, "n n"]:
        """J, differentiable in the weights."""
        return self._padded(self.weights.dtype)[self.weight_of]

    @property
    def groups(self) -> tuple[Group, ...]:
        """The colours of the pairs that may be coupled, or blocks of units where these are so many that colours do
        not pay."""
        found = []
        for index in range(self._groups):
            sites = getattr(self, f"group_{index}")
            found.append(Group(sites, self._among(sites) if self._blocks else None))
        return tuple(found)

    def forward(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        """Energies of shape (batch,)."""
        check_event(x, self.shape, of=BoltzmannMachine)
        s = rows.flat(x)
        return -(s * (s @ self.couplings.to(x.dtype) / 2 + self.bias.to(x.dtype).flatten())).sum(1)

    def local_field(
        self, x: Float[Tensor, "sites batch"], sites: Int[Tensor, " chosen"]
    ) -> Float[Tensor, "chosen batch"]:
        """What each chosen unit feels: minus the derivative of the energy."""
        felt = self._padded(x.dtype)[self.weight_of[sites]] @ x
        return felt + self.bias.to(x.dtype).flatten()[sites][:, None]

    def _among(self, sites: Int[Tensor, " chosen"]) -> Float[Tensor, "chosen chosen"]:
        return self._padded(self.weights.dtype)[self.weight_of[sites][:, sites]]

    def _padded(self, dtype: torch.dtype) -> Float[Tensor, " weights_and_zero"]:
        return torch.cat([self.weights, self.weights.new_zeros(1)]).to(dtype)

    def _paint(self, units: int) -> None:
        colour = greedy_colours(self.pairs, units)
        self._blocks = int(colour.max()) + 1 > max(2, units / _BLOCK)
        colour = torch.arange(units) // _BLOCK if self._blocks else colour
        self._groups = int(colour.max()) + 1
        for index in range(self._groups):
            self.register_buffer(f"group_{index}", (colour == index).nonzero().squeeze(1), persistent=False)


class SpinMachine(BoltzmannMachine):
    """A `BoltzmannMachine` of spins, any two of which may be coupled, for recipes, which name classes.

    Args:
        shape: Of the event.
        scale: Standard deviation of the couplings at the start.
    """

    def __init__(self, shape: tuple[int, ...], *, scale: float = 0.01) -> None:
        super().__init__(shape, support=Spin(), scale=scale)


def _pairs(mask: Tensor | None, units: int) -> Int[Tensor, "pairs 2"]:
    """The allowed pairs of two different units, the lower one first."""
    if mask is None:
        return torch.triu_indices(units, units, 1).T
    if mask.dtype != torch.bool:
        raise TypeError(f"BoltzmannMachine needs a boolean mask, but got {mask.dtype}; pass mask.bool().")
    if mask.shape != (units, units) or not torch.equal(mask, mask.T):
        raise ValueError(
            f"BoltzmannMachine needs a symmetric mask of shape ({units}, {units}), but got one of shape "
            f"{tuple(mask.shape)} that is not; pass mask | mask.T."
        )
    return mask.triu(1).nonzero()
