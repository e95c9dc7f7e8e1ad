r"""Restricted Boltzmann machines with Gaussian visible units of learned variances, and hidden bits.

.. math:: E(v, h) = \sum_i \frac{(v_i - b_i)^2}{2 s_i^2} - \sum_{ij} \frac{v_i}{s_i^2} W_{ij} h_j - c^\top h

Given h, visible units are normal with mean :math:`b + W h` and standard deviation s; given v, hidden units are on
with probability :math:`\sigma(f)`, :math:`f = c + W^\top (v / s^2)`. Either layer has an energy in closed form, with
the other summed out:

.. math:: E(v) = \sum_i \frac{(v_i - b_i)^2}{2 s_i^2} - \sum_j \log(1 + e^{f_j}), \qquad
          E(h) = -c^\top h - \sum_i \frac{(b + W h)_i^2 - b_i^2}{2 s_i^2} - \frac12 \sum_i \log 2 \pi s_i^2.

As in an RBM of bits, what is learned are the biases at offsets :math:`\mu, \lambda` of the layers,
:math:`b' = b + W \lambda` and :math:`c' = c + W^\top (\mu / s^2)`, and the logarithms of the variances. Visible
units, W, b and s are measured in the deviations that data had at the start.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erg import draws, rows
from erg.draws import Rng
from erg.energies.energy import Energy, check_event
from erg.energies.gaussian_free_energy import FreeEnergy
from erg.energies.restricted_free_energy import product_plus
from erg.energies.units import Bits
from erg.support import Binary, Real

# Of the mean variance: pixels that never change would be known without any doubt.
_LEAST = 0.01


class GaussianStandard(NamedTuple):
    """A machine in the form above."""

    weight: Float[Tensor, "visible hidden"]
    visible_bias: Float[Tensor, " visible"]
    hidden_bias: Float[Tensor, " hidden"]
    log_variance: Float[Tensor, " visible"]


class GaussianRBM(Energy):
    """A Gaussian-Bernoulli restricted Boltzmann machine as the energy of its visible layer.

    Gradients are in closed form, and no graph is built.

    Args:
        shape: Of the visible event, or how many entries it has.
        hidden: How many hidden bits.
        scale: The standard deviation of the initial weights.

    Raises:
        ValueError: If a layer is empty.

    References:
        Cho, Ilin & Raiko (2011), Improved learning of Gaussian-Bernoulli restricted Boltzmann machines,
        doi:10.1007/978-3-642-21735-7_2
        Liao, Kornblith, Ren, Fleet & Hinton (2022), Gaussian-Bernoulli RBMs without tears, arXiv:2210.10318

    Example:
        >>> from erg.evaluation.partition import log_partition
        >>> rbm = GaussianRBM((8, 8), hidden=3, scale=0.0)
        >>> abs(log_partition(rbm, (8, 8)).value - 32 * math.log(2 * math.pi) - 3 * math.log(2)) < 1e-4
        True
    """

    support = Real()
    visible_offset: Tensor
    hidden_offset: Tensor
    unit: Tensor
    level: Tensor

    def __init__(self, shape: int | Sequence[int], hidden: int, *, scale: float = 0.01) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        visible = math.prod(self.shape)
        if visible < 1 or hidden < 1:
            raise ValueError(
                f"A GaussianRBM has units in both layers, but got shape={self.shape} and hidden={hidden}."
            )
        self.weight = nn.Parameter(torch.randn(visible, hidden) * scale if scale else torch.zeros(visible, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.log_variance = nn.Parameter(torch.zeros(visible))
        self.register_buffer("visible_offset", torch.zeros(visible))
        self.register_buffer("hidden_offset", torch.zeros(hidden))
        self.register_buffer("unit", torch.ones(visible))
        self.register_buffer("level", torch.tensor(0.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Free energies of shape (batch,)."""
        energies: Tensor = FreeEnergy.apply(
            self._flat(x) / self.unit,
            self.weight,
            self.visible_bias,
            self.hidden_bias,
            self.log_variance,
            self.visible_offset / self.unit,
            self.hidden_offset,
        )
        return energies + self.level

    def joint(self, x: Float[Tensor, "batch *event"], h: Float[Tensor, "batch hidden"]) -> Float[Tensor, " batch"]:
        """E(v, h), for one hidden state a row."""
        v, (weight, b, c, log_variance) = self._flat(x), self.standard()
        precision = (-log_variance).exp()
        quadratic = ((v - b).square() * precision / 2).sum(1)
        return quadratic - (((v * precision) @ weight) * h).sum(1) - h @ c + self.level

    def hidden_field(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch hidden"]:
        """What the visible layer and the biases send to each hidden unit."""
        shifted = (self._flat(x) - self.visible_offset) / self.unit
        return product_plus(self.hidden_bias, shifted * self._precision(), self.weight)

    def hidden_mean(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch hidden"]:
        """The probabilities that hidden units are on: the features of `x`."""
        return self.hidden_field(x).sigmoid()

    def visible_mean(self, h: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch *event"]:
        """The expected visible states."""
        mean = product_plus(self.visible_bias, h - self.hidden_offset, self.weight.T)
        return (mean * self.unit).reshape(-1, *self.shape)

    @property
    def visible_deviation(self) -> Float[Tensor, "*event"]:
        """s, the standard deviation of visible units given the hidden ones."""
        return ((self.log_variance / 2).exp() * self.unit).reshape(self.shape)

    def sample_hidden(self, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Float[Tensor, "batch hidden"]:
        """One draw of the hidden layer for each row of `x`."""
        return Bits().sample(self.hidden_field(x), rng)

    def sample_visible(self, h: Float[Tensor, "batch hidden"], rng: Rng = None) -> Float[Tensor, "batch *event"]:
        """One draw of the visible layer for each row of `h`, noise included."""
        mean = self.visible_mean(h)
        return mean + self.visible_deviation * draws.normal(mean, rng)

    @torch.no_grad()
    def start_at(self, x: Float[Tensor, "rows *event"]) -> None:
        """Before training: offsets, biases and units at which visible units have means and variances of data.

        Variances are at least a hundredth of their mean. What is learned does not depend on the units of the data.

        Raises:
            ValueError: If the rows are of another shape, not finite, fewer than two or all equal.
        """
        v = self._flat(x)
        if len(v) < 2 or not bool(v.isfinite().all()) or not bool((v != v[0]).any()):
            raise ValueError(
                f"A GaussianRBM starts at two finite rows or more that differ, but got {len(v)} of which "
                f"{int((~v.isfinite().all(1)).sum())} are not finite; leave rows out or fill them in."
            )
        mean, variance = _moments(v)
        self.unit.copy_(variance.sqrt())
        self.hidden_bias.zero_()
        self.visible_bias.copy_(mean / self.unit)
        self.log_variance.zero_()
        self.visible_offset.copy_(mean)
        self.hidden_offset.fill_(0.5)

    @property
    def offsets(self) -> tuple[Float[Tensor, " visible"], Float[Tensor, " hidden"]]:
        """Where the origin of learning is in both layers."""
        return self.visible_offset, self.hidden_offset

    @torch.no_grad()
    def recentre(self, visible: Float[Tensor, " visible"], hidden: Float[Tensor, " hidden"]) -> None:
        """Move the offsets. The biases follow, so that the energy stays as it is, up to rounding."""
        self.visible_bias.add_(self.weight @ (hidden - self.hidden_offset))
        self.hidden_bias.add_(((visible - self.visible_offset) / self.unit * self._precision()) @ self.weight)
        self.visible_offset.copy_(visible)
        self.hidden_offset.copy_(hidden)

    def standard(self) -> GaussianStandard:
        """The parameters with offsets and units folded in."""
        return GaussianStandard(
            self.weight * self.unit[:, None],
            self._visible_bias() * self.unit,
            self.hidden_bias - (self.visible_offset / self.unit * self._precision()) @ self.weight,
            self.log_variance + 2 * self.unit.log(),
        )

    def holding(self, parameters: GaussianStandard) -> "GaussianRBM":
        """This machine with other parameters, in the standard form; offsets are 0 and units 1 from now on."""
        weight, b, c, log_variance = (value.detach().clone() for value in parameters)
        trained = self.weight.requires_grad
        self.weight, self.visible_bias = nn.Parameter(weight, trained), nn.Parameter(b, trained)
        self.hidden_bias, self.log_variance = nn.Parameter(c, trained), nn.Parameter(log_variance, trained)
        self.visible_offset, self.hidden_offset = torch.zeros_like(b), torch.zeros_like(c)
        self.unit, self.level = torch.ones_like(b), self.level.to(b)
        return self

    def decoupled(self, x: Float[Tensor, "rows *event"]) -> "DecoupledGaussian":
        """The machine without couplings whose visible units have the moments of data: annealing starts there."""
        return DecoupledGaussian(self, *_moments(self._flat(x)))

    @torch.no_grad()
    def blended(self, other: "GaussianRBM", t: float) -> "GaussianRBM":
        """The machine whose E(v, h) is (1 - t) times this one's and t times that of `other`."""
        weight, b, c, log_variance = self.standard()
        other_weight, other_b, other_c, other_log_variance = other.standard()
        mine, theirs = (-log_variance).exp(), (-other_log_variance).exp()
        precision = mine.lerp(theirs, t)
        weight = (weight * mine[:, None]).lerp(other_weight * theirs[:, None], t) / precision[:, None]
        bias = (b * mine).lerp(other_b * theirs, t) / precision
        machine = GaussianRBM(self.shape, len(c), scale=0.0)
        machine.holding(GaussianStandard(weight, bias, c.lerp(other_c, t), -precision.log())).requires_grad_(False)
        squares = (b.square() * mine).lerp(other_b.square() * theirs, t) - bias.square() * precision
        machine.level = squares.sum() / 2 + self.level.lerp(other.level, t)
        return machine

    def of_hidden(self) -> "HiddenOfGaussian":
        """The energy of the hidden layer, with the visible one integrated out: it has the same Z."""
        return HiddenOfGaussian(self)

    def filters(self) -> Float[Tensor, "hidden *event"]:
        """The couplings of each hidden unit, in the shape of the event: to be looked at as pictures."""
        return self.weight.detach().T.reshape(-1, *self.shape)

    def exported_state(self) -> dict[str, Tensor]:
        """What is written to share the machine: the standard form, offsets folded in."""
        return self.standard()._asdict()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # The standard form has no offsets and no units.
        for name in ("visible_offset", "hidden_offset"):
            state_dict.setdefault(prefix + name, torch.zeros_like(getattr(self, name)))
        state_dict.setdefault(prefix + "unit", torch.ones_like(self.unit))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _precision(self) -> Tensor:
        return (-self.log_variance).exp()

    def _visible_bias(self) -> Tensor:
        return self.visible_bias - self.weight @ self.hidden_offset

    def _flat(self, x: Tensor) -> Tensor:
        check_event(x, self.shape, of=GaussianRBM)
        return rows.flat(x)


class HiddenOfGaussian(Energy):
    """The energy of the hidden layer of a `GaussianRBM`: pairs of hidden bits are coupled.

    Args:
        machine: Whose parameters it shares.
    """

    support = Binary()

    def __init__(self, machine: GaussianRBM) -> None:
        super().__init__()
        self.machine = machine
        self.shape = tuple(machine.hidden_bias.shape)

    def forward(self, h: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(h, self.shape, of=HiddenOfGaussian)
        weight, b, c, log_variance = self.machine.standard()
        push = h @ weight.T
        # (b + Wh)^2 - b^2, without the cancellation.
        gain = (push * (push + 2 * b) * (-log_variance).exp() / 2).sum(1)
        volume = (log_variance.sum() + len(b) * math.log(2 * math.pi)) / 2
        return -(h @ c) - gain - volume + self.machine.level


class DecoupledGaussian(GaussianRBM):
    """A machine without couplings: exact samples and a known log Z, from which annealing starts.

    Args:
        machine: Whose shape.
        mean: Of the visible units.
        variance: Of the visible units.
    """

    def __init__(
        self, machine: GaussianRBM, mean: Float[Tensor, " visible"], variance: Float[Tensor, " visible"]
    ) -> None:
        super().__init__(machine.shape, len(machine.hidden_bias), scale=0.0)
        zeros = torch.zeros_like(machine.weight)
        self.holding(GaussianStandard(zeros, mean.to(zeros), zeros[0], variance.to(zeros).log()))
        self.requires_grad_(False)

    @property
    def log_z(self) -> Float[Tensor, ""]:
        """The log of the integral of exp(-E), in nats."""
        visible = (self.log_variance.double().sum() + len(self.visible_bias) * math.log(2 * math.pi)) / 2
        return visible + len(self.hidden_bias) * math.log(2)

    def exact_samples(self, n: int, rng: Rng = None) -> Float[Tensor, "n *event"]:
        """Independent draws."""
        return self.sample_visible(self.hidden_bias.expand(n, -1), rng)


def _moments(v: Float[Tensor, "rows visible"]) -> tuple[Float[Tensor, " visible"], Float[Tensor, " visible"]]:
    """Means, and variances that are not too small."""
    variance = v.var(0, correction=0)
    return v.mean(0), variance.clamp(min=_LEAST * float(variance.mean()))
