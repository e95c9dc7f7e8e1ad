r"""Deep Boltzmann machines: layer upon layer, each coupled to the next.

.. math:: E(v, h_1, \dots, h_L) = -\sum_l x_l^\top W_l\, x_{l+1} - \sum_l b_l^\top x_l, \qquad x_0 = v,\ x_l = h_l.

The even layers :math:`e = (v, h_2, \dots)` meet only odd ones :math:`o = (h_1, h_3, \dots)`, so this is a restricted
Boltzmann machine between the two groups (`DBM.machine`): block Gibbs alternates between them, the odd layers are
summed out in closed form, and annealing and centring are those of any RBM.

What is left is the posterior of the hidden layers. The mean field takes it as independent with means m, which solve
:math:`m_o = \sigma(\text{fields of } v, m_e)` and :math:`m_e = \sigma(\text{fields of } m_o)`. Each half of a round
raises the bound to its maximum in these means, so rounds need no damping:

.. math:: \log p(v) \ge -F(v, m_e) + H(m_e) - \log Z,

with F the free energy of the even layers. The negative of the first two terms is the energy of this class.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.special import entr

from erg import rows
from erg.energies.energy import Energy, check_event
from erg.energies.restricted import RBM, Standard
from erg.energies.restricted_free_energy import product_plus
from erg.energies.units import Bits
from erg.support import Binary

_CHUNK = 1000


class DBM(Energy):
    r"""A deep Boltzmann machine of bits as a bound on the energy of its visible layer.

    ``-energy(x) - log Z``, with the log Z of `machine`, is a lower bound on log p(x). Derivatives are those of the
    bound at its fixed point, where they do not depend on how the means move; second ones are not available.

    Args:
        shape: Of the visible event, or how many entries it has.
        hidden: Units of each hidden layer, from the lowest.
        scale: The standard deviation of the initial weights.
        tolerance: A row's mean field has converged when no mean changes by more in a round.
        iterations: Rounds at most.

    Attributes:
        machine: The two-layer machine between even and odd layers, whose parameters are those that are learned.

    Raises:
        ValueError: If there is no hidden layer, or one is empty.

    References:
        Salakhutdinov & Hinton (2009), Deep Boltzmann machines
        Montavon & Müller (2012), Deep Boltzmann machines and the centering trick, doi:10.1007/978-3-642-35289-8_33

    Example:
        >>> dbm = DBM((28, 28), [16, 8])
        >>> [tuple(mean.shape) for mean in dbm.mean_field(torch.zeros(5, 28, 28))]
        [(5, 16), (5, 8)]
    """

    support = Binary()

    def __init__(
        self,
        shape: int | Sequence[int],
        hidden: Sequence[int],
        *,
        scale: float = 0.01,
        tolerance: float = 1e-3,
        iterations: int = 100,
    ) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.sizes = (math.prod(self.shape), *hidden)
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(
                f"A DBM has a visible layer and hidden ones with units in each, but got shape={self.shape} and "
                f"hidden={tuple(hidden)}."
            )
        if not tolerance > 0 or iterations < 1:
            raise ValueError(
                "A mean field needs a positive tolerance and at least one iteration, but got "
                f"tolerance={tolerance} and iterations={iterations}."
            )
        self.tolerance, self.iterations = tolerance, iterations
        self.machine = Neighbours(self.sizes, scale=scale)

    def forward(self, x: Tensor) -> Tensor:
        """Variational free energies of shape (batch,)."""
        even = self.filled(x)
        means = even[:, self.sizes[0] :]
        bound: Tensor = self.machine(even) - (entr(means) + entr(1 - means)).sum(1)
        return bound

    def filled(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch even"]:
        """The state of the even layers: `x`, and the means of the others given it."""
        check_event(x, self.shape, of=DBM)
        v = rows.flat(x)
        if len(self.sizes) == 2:
            return v
        return torch.cat([v, torch.cat([self._even_means(chunk) for chunk in v.detach().split(_CHUNK)])], 1)

    def visible(self, even: Float[Tensor, "batch even"]) -> Float[Tensor, "batch *event"]:
        """The visible layer of a state of the even ones."""
        return even[:, : self.sizes[0]].reshape(-1, *self.shape)

    @torch.no_grad()
    def mean_field(self, x: Float[Tensor, "batch *event"]) -> tuple[Float[Tensor, "batch units"], ...]:
        """The means of each hidden layer given `x`, from the lowest."""
        even = self.filled(x)
        odd = self.machine.hidden_mean(even)
        evens, odds = even.split(list(self.sizes[::2]), 1), odd.split(list(self.sizes[1::2]), 1)
        return tuple((odds if layer % 2 else evens)[layer // 2] for layer in range(1, len(self.sizes)))

    @torch.no_grad()
    def start_at(self, x: Float[Tensor, "rows *event"]) -> None:
        """Before training: offsets at the means, and biases there that give pixels those of the data.

        Raises:
            ValueError: If the rows are of another shape, or no bits.
        """
        check_event(x, self.shape, of=DBM)
        even = torch.full((len(x), sum(self.sizes[::2])), 0.5, dtype=x.dtype, device=x.device)
        even[:, : self.sizes[0]] = rows.flat(x)
        mean = even.mean(0)
        elsewhere = int((~self.support.contains(x)).sum())
        if elsewhere:
            raise ValueError(
                f"A DBM learns from bits, but {elsewhere} of {len(x)} rows have other values; binarise them "
                "(data.binarise)."
            )
        machine = self.machine
        machine.hidden_bias.zero_()
        machine.visible_bias.copy_(Bits().field_of(mean))
        machine.visible_offset.copy_(mean)
        machine.hidden_offset.fill_(0.5)

    @torch.no_grad()
    def holding(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> "DBM":
        """This machine with other parameters, layer by layer; offsets are 0 from now on.

        Raises:
            ValueError: If they do not fit this machine's layers.
        """
        expected = [*pairwise(self.sizes), *((size,) for size in self.sizes)]
        found = [tuple(value.shape) for value in (*weights, *biases)]
        if found != expected:
            raise ValueError(f"The parameters of this DBM have shapes {expected}, but got {found}.")
        coupling = torch.zeros_like(self.machine.weight)
        for weight, (even, odd, turned) in zip(weights, _blocks(self.sizes), strict=True):
            coupling[even, odd] = weight.T if turned else weight
        self.machine.holding(Standard(coupling, torch.cat([*biases[::2]]), torch.cat([*biases[1::2]])))
        return self

    def filters(self) -> Float[Tensor, "hidden *event"]:
        """The couplings of each unit of the lowest hidden layer, in the shape of the event."""
        return self.weights()[0].detach().T.reshape(-1, *self.shape)

    def weights(self) -> tuple[Float[Tensor, "below above"], ...]:
        """The couplings of each layer with the next, from the lowest."""
        return tuple(
            self.machine.weight[even, odd].T if turned else self.machine.weight[even, odd]
            for even, odd, turned in _blocks(self.sizes)
        )

    @torch.no_grad()
    def _even_means(self, v: Float[Tensor, "batch visible"]) -> Float[Tensor, "batch means"]:
        """By rounds over odd and even layers; rows that have converged rest."""
        machine, pixels = self.machine, self.sizes[0]
        weight, offset = machine.weight[pixels:], machine.visible_offset[pixels:]
        bias = machine.visible_bias[pixels:] - weight @ machine.hidden_offset
        below = product_plus(
            machine.hidden_bias - offset @ weight, v - machine.visible_offset[:pixels], machine.weight[:pixels]
        )
        means = offset.expand(len(v), -1).clone()
        left = torch.arange(len(v), device=v.device)
        for _ in range(self.iterations):
            old = means[left]
            odd = torch.addmm(below[left], old, weight).to(below.dtype).sigmoid_()
            new = product_plus(bias, odd, weight.T).sigmoid_()
            means[left] = new
            left = left[(new - old).abs().amax(1) > self.tolerance]
            if not len(left):
                break
        return means


class Neighbours(RBM):
    """The machine between even and odd layers of bits, in which only neighbours are coupled.

    Args:
        sizes: Units of each layer, the visible one first.
        scale: The standard deviation of the initial weights.
    """

    coupled: Tensor | None

    def __init__(self, sizes: Sequence[int], *, scale: float = 0.01) -> None:
        super().__init__(sum(sizes[::2]), sum(sizes[1::2]), scale=scale)
        coupled = torch.zeros_like(self.weight)
        for even, odd, _ in _blocks(sizes):
            coupled[even, odd] = 1.0
        with torch.no_grad():
            self.weight.mul_(coupled)
        everything = bool(coupled.all())
        self.register_buffer("coupled", None if everything else coupled, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Free energies of the even layers, shape (batch,)."""
        weight: Any = self.weight if self.coupled is None else self.weight * self.coupled
        return self.free_energy(x, weight)


def _blocks(sizes: Sequence[int]) -> list[tuple[slice, slice, bool]]:
    """Where the couplings of each layer with the next are among those of even (rows) with odd layers (columns).

    The last entry says whether they are turned: the lower layer is the odd one.
    """
    starts = [sum(sizes[layer % 2 : layer : 2]) for layer in range(len(sizes))]
    places = [slice(start, start + size) for start, size in zip(starts, sizes, strict=True)]
    return [
        (upper, lower, True) if layer % 2 else (lower, upper, False)
        for layer, (lower, upper) in enumerate(pairwise(places))
    ]
