r"""Restricted Boltzmann machines: two layers, no coupling within a layer.

.. math:: E(v, h) = -v^\top W h - b^\top v - c^\top h

The energy of this class is that of the visible layer, with the hidden one summed out exactly: with the fields
:math:`f = c + W^\top v` of the hidden units and their :math:`A(f) = \log \sum_h e^{f \cdot h}`,

.. math:: E(v) = -b^\top v - A(f).

What is learned are the biases at *offsets* :math:`\mu, \lambda` of the layers, :math:`b' = b + W \lambda` and
:math:`c' = c + W^\top \mu`. Offsets change no energy, only the coordinates of learning: at the means of the layers
the gradient no longer depends on which value of a unit is called 1 (`erg.objectives.Centred`). Up to a constant that
both phases share, the derivative by W is then :math:`-(v - \mu)(h - \lambda)^\top`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erg import rows
from erg.draws import Rng
from erg.energies.energy import Energy, check_event
from erg.energies.restricted_free_energy import FreeEnergy, product_plus
from erg.energies.units import Bits, Units


class Standard(NamedTuple):
    """A machine in the form E(v, h) = -v'Wh - b'v - c'h."""

    weight: Float[Tensor, "visible hidden"]
    visible_bias: Float[Tensor, " visible"]
    hidden_bias: Float[Tensor, " hidden"]


class RBM(Energy):
    r"""A restricted Boltzmann machine as the energy of its visible layer.

    Gradients are in closed form: the backward pass is one matrix product, and no graph is built.

    Args:
        shape: Of the visible event, or how many entries it has.
        hidden: The shape of the hidden layer, or how many entries it has.
        units: What the visible layer is made of.
        hidden_units: What the hidden layer is made of.
        scale: The standard deviation of the initial weights. Biases start at 0, see `start_at`.

    Raises:
        ValueError: If a layer is empty or does not hold whole units.

    References:
        Smolensky (1986), Information processing in dynamical systems: foundations of harmony theory
        Hinton (2002), Training products of experts by minimizing contrastive divergence,
        doi:10.1162/089976602760128018
        Melchior, Fischer & Wiskott (2016), How to center deep Boltzmann machines, JMLR 17(99)

    Example:
        >>> from erg.samplers import BlockGibbs, sample
        >>> rbm = RBM((28, 28), hidden=16)
        >>> sample(BlockGibbs(), rbm, rbm.support.initial((5, 28, 28)), steps=3).shape
        torch.Size([5, 28, 28])
    """

    visible_offset: Tensor
    hidden_offset: Tensor

    def __init__(
        self,
        shape: int | Sequence[int],
        hidden: int | Sequence[int],
        *,
        units: Units = Bits(),
        hidden_units: Units = Bits(),
        scale: float = 0.01,
    ) -> None:
        super().__init__()
        self.shape, self.hidden_shape = _shape(shape), _shape(hidden)
        visible, others = math.prod(self.shape), math.prod(self.hidden_shape)
        if visible < 1 or others < 1:
            raise ValueError(f"An RBM has units in both layers, but got shape={self.shape} and hidden={hidden}.")
        units.check(self.shape)
        hidden_units.check(self.hidden_shape)
        self.units, self.hidden_units, self.support = units, hidden_units, units.support
        self.weight = nn.Parameter(torch.randn(visible, others) * scale if scale else torch.zeros(visible, others))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(others))
        self.register_buffer("visible_offset", torch.zeros(visible))
        self.register_buffer("hidden_offset", torch.zeros(others))

    def forward(self, x: Tensor) -> Tensor:
        """Free energies of shape (batch,)."""
        return self.free_energy(x, self.weight)

    def free_energy(
        self, x: Float[Tensor, "batch *event"], weight: Float[Tensor, "visible hidden"]
    ) -> Float[Tensor, " batch"]:
        """Free energies under other couplings."""
        energies: Tensor = FreeEnergy.apply(
            self._flat(x),
            weight,
            self.visible_bias,
            self.hidden_bias,
            self.visible_offset,
            self.hidden_offset,
            self.hidden_units,
        )
        return energies

    def joint(self, x: Float[Tensor, "batch *event"], h: Float[Tensor, "batch *hidden"]) -> Float[Tensor, " batch"]:
        """E(v, h), for one hidden state a row."""
        v, h, (weight, b, c) = self._flat(x), rows.flat(h), self.standard()
        return -((v @ weight) * h).sum(1) - v @ b - h @ c

    def hidden_field(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch hidden"]:
        """What the visible layer and the biases send to each hidden unit."""
        return product_plus(self.hidden_bias, self._flat(x) - self.visible_offset, self.weight)

    def visible_field(self, h: Float[Tensor, "batch *hidden"]) -> Float[Tensor, "batch visible"]:
        """What the hidden layer and the biases send to each visible unit."""
        return product_plus(self.visible_bias, rows.flat(h) - self.hidden_offset, self.weight.T)

    def hidden_mean(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch *hidden"]:
        """The expected hidden states: the features of `x`."""
        return self.hidden_units.mean(self.hidden_field(x)).reshape(-1, *self.hidden_shape)

    def visible_mean(self, h: Float[Tensor, "batch *hidden"]) -> Float[Tensor, "batch *event"]:
        """The expected visible states."""
        return self.units.mean(self.visible_field(h)).reshape(-1, *self.shape)

    def sample_hidden(self, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Float[Tensor, "batch *hidden"]:
        """One draw of the hidden layer for each row of `x`."""
        return self.hidden_units.sample(self.hidden_field(x), rng).reshape(-1, *self.hidden_shape)

    def sample_visible(self, h: Float[Tensor, "batch *hidden"], rng: Rng = None) -> Float[Tensor, "batch *event"]:
        """One draw of the visible layer for each row of `h`."""
        return self.units.sample(self.visible_field(h), rng).reshape(-1, *self.shape)

    @torch.no_grad()
    def start_at(self, x: Float[Tensor, "rows *event"]) -> None:
        """Before training: offsets at the means, and biases there that give visible entries their means.

        Raises:
            ValueError: If the rows are of another shape, or off the units' support.
        """
        self.check_data(x)
        mean = self._flat(x).mean(0)
        self.hidden_bias.zero_()
        self.visible_bias.copy_(self.units.field_of(mean))
        self.visible_offset.copy_(mean)
        self.hidden_offset.copy_(self.hidden_units.mean(self.hidden_bias[None])[0])

    def check_data(self, x: Float[Tensor, "rows *event"]) -> None:
        """Refuse rows that these units cannot be.

        Raises:
            ValueError: If the rows are of another shape, or off the units' support.
        """
        check_event(x, self.shape, of=type(self))
        elsewhere = int((~self.support.contains(x)).sum())
        if elsewhere:
            raise ValueError(
                f"An RBM of {type(self.units).__name__} learns from data on {self.support}, but {elsewhere} of "
                f"{len(x)} rows have other values; binarise them (data.binarise), draw bits with them as "
                "probabilities, or use GaussianRBM."
            )

    @property
    def offsets(self) -> tuple[Float[Tensor, " visible"], Float[Tensor, " hidden"]]:
        """Where the origin of learning is in both layers."""
        return self.visible_offset, self.hidden_offset

    @torch.no_grad()
    def recentre(self, visible: Float[Tensor, " visible"], hidden: Float[Tensor, " hidden"]) -> None:
        """Move the offsets. The biases follow, so that the energy stays as it is."""
        self.visible_bias.add_(self.weight @ (hidden - self.hidden_offset))
        self.hidden_bias.add_((visible - self.visible_offset) @ self.weight)
        self.visible_offset.copy_(visible)
        self.hidden_offset.copy_(hidden)

    def standard(self) -> Standard:
        """The parameters with the offsets folded in."""
        return Standard(
            self.weight,
            self.visible_bias - self.weight @ self.hidden_offset,
            self.hidden_bias - self.visible_offset @ self.weight,
        )

    def having(self, parameters: Standard) -> "RBM":
        """A machine of the same units with other parameters, in the standard form."""
        return self._alike().holding(parameters)

    def holding(self, parameters: Standard) -> "RBM":
        """This machine with other parameters, in the standard form; offsets are 0 from now on.

        Raises:
            ValueError: If they do not fit each other or this machine's shape, or are not finite.
        """
        weight, b, c = parameters
        if weight.shape != (math.prod(self.shape), len(c)) or b.shape != weight.shape[:1]:
            raise ValueError(
                f"An RBM over {self.shape} takes weight (visible, hidden), visible_bias and hidden_bias that fit, "
                f"but got shapes {tuple(weight.shape)}, {tuple(b.shape)} and {tuple(c.shape)}."
            )
        if not all(bool(value.isfinite().all()) for value in parameters):
            raise ValueError(
                "An RBM takes finite parameters, but some of these are infinite or NaN; a bias of 30 is as good as "
                "certain."
            )
        return self._holding(parameters)

    def _holding(self, parameters: Standard) -> "RBM":
        """Without a look at the values."""
        trained = self.weight.requires_grad
        self.weight, self.visible_bias, self.hidden_bias = (
            nn.Parameter(value.detach().clone(), requires_grad=trained) for value in parameters
        )
        self.visible_offset, self.hidden_offset = (torch.zeros_like(bias) for bias in parameters[1:])
        return self

    def _alike(self) -> "RBM":
        return RBM(self.shape, self.hidden_shape, units=self.units, hidden_units=self.hidden_units, scale=0.0)

    def decoupled(self, x: Float[Tensor, "rows *event"]) -> "Decoupled":
        """The machine without couplings whose visible units have the means of data: annealing starts there."""
        return Decoupled(self, self.units.field_of(self._flat(x).mean(0)))

    def blended(self, other: "RBM", t: float) -> "RBM":
        """The machine whose E(v, h) is (1 - t) times this one's and t times that of `other`.

        Raises:
            ValueError: If `other` is made of other units.
        """
        kinds = [(machine.units, machine.hidden_units) for machine in (self, other)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"Machines of the same units are blended, but these are of {kinds[0]} and {kinds[1]} (units, hidden "
                "units)."
            )
        pairs = zip(self.standard(), other.standard(), strict=True)
        return self._alike()._holding(Standard(*(mine.lerp(theirs, t) for mine, theirs in pairs)))

    def of_hidden(self) -> "RBM":
        """The same machine seen from its hidden layer: an energy over h with the visible layer summed out.

        Both have the same Z, so the smaller one may be enumerated.
        """
        weight, b, c = self.standard()
        other = RBM(self.hidden_shape, self.shape, units=self.hidden_units, hidden_units=self.units, scale=0.0)
        return other._holding(Standard(weight.T.contiguous(), c, b)).requires_grad_(self.weight.requires_grad)

    def filters(self) -> Float[Tensor, "hidden *event"]:
        """The couplings of each hidden entry, in the shape of the event: to be looked at as pictures."""
        return self.weight.detach().T.reshape(-1, *self.shape)

    def exported_state(self) -> dict[str, Tensor]:
        """What is written to share the machine: the standard form, offsets folded in."""
        return self.standard()._asdict()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # The standard form has no offsets.
        for name in ("visible_offset", "hidden_offset"):
            state_dict.setdefault(prefix + name, torch.zeros_like(getattr(self, name)))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _flat(self, x: Tensor) -> Tensor:
        check_event(x, self.shape, of=type(self))
        return rows.flat(x)


class Decoupled(RBM):
    r"""A machine without couplings: exact samples and a known log Z, from which annealing starts.

    Args:
        machine: Whose shape and units.
        visible_bias: In the standard form; the machine's own bias at its offsets when left out. With the log odds of
            the data's means annealing is short.
    """

    def __init__(self, machine: RBM, visible_bias: Float[Tensor, " visible"] | None = None) -> None:
        super().__init__(
            machine.shape, machine.hidden_shape, units=machine.units, hidden_units=machine.hidden_units, scale=0.0
        )
        zeros = torch.zeros_like(machine.weight)
        bias = (machine.visible_bias if visible_bias is None else visible_bias).to(zeros)
        self._holding(Standard(zeros, bias, zeros[0])).requires_grad_(False)

    @property
    def log_z(self) -> Float[Tensor, ""]:
        """The log of the sum of exp(-E) over all states, in nats."""
        fields = self.visible_bias.double()[None], self.hidden_bias.double()[None]
        return (self.units.log_partition(fields[0]) + self.hidden_units.log_partition(fields[1]))[0]

    def exact_samples(self, n: int, rng: Rng = None) -> Float[Tensor, "n *event"]:
        """Independent draws."""
        field = self.visible_bias.expand(n, -1)
        return self.units.sample(field, rng).reshape(n, *self.shape)


def _shape(size: int | Sequence[int]) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)
