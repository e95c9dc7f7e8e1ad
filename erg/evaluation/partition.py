r"""Partition functions :math:`Z = \sum_x e^{-E(x)}` or :math:`\int e^{-E(x)}\,dx`, and likelihoods from them.

`log_partition` is for spaces that are small enough to visit: discrete ones by enumeration, up to three real
dimensions by quadrature. For larger ones `erg.samplers` has `ais`, `reverse_ais` and `smc`, whose `log_z` is an
`Estimate` of the same kind. A temperature belongs to the energy: pass ``energy / T``, here and there.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.energies.algebra import Clamped
from erg.energies.deep import DBM
from erg.energies.energy import Energy, as_energy, check_energies
from erg.estimate import Estimate
from erg.evaluation.quadrature import Bounds, integrated
from erg.roles import EnergyLike, TwoLayers
from erg.samplers.chain import sampling
from erg.support import Binary, Box, Mixed, OneHot, Real, Spin, Support

_CHUNK = 2**14


def log_partition(
    energy: EnergyLike, event: tuple[int, ...], *, tolerance: float = 1e-6, bounds: Bounds | None = None
) -> Estimate:
    """Log Z in nats, by visiting every state or by quadrature.

    Args:
        energy: Its support decides: `Binary`, `Spin` and `OneHot` are enumerated, up to 2^24 states, in chunks;
            `Real` and `Box` are integrated, up to three dimensions, in float64. Of two layers, as those of an RBM,
            the one with fewer states is visited. States are of the dtype and on the device of the energy's
            parameters if it has any.
        event: The shape of one state.
        tolerance: Of the quadrature, in nats. Its error is the change at the last refinement.
        bounds: Where the quadrature looks; found when left out.

    Raises:
        TypeError: If `event` is no shape.
        ValueError: If there are too many states or dimensions, some entries are held by `clamp`, or exp(-E) has no
            finite integral that is found.

    Example:
        >>> from erg.energies import Independent
        >>> from erg.support import Spin
        >>> log_partition(Independent.uniform((2, 3), Spin()), (2, 3)).value / math.log(2)
        6.0
    """
    energy, event = _smaller(as_energy(energy), rows.shape(event, of="log_partition()"))
    support = energy.support
    if any(isinstance(part, Clamped) for part in energy.modules()):
        raise ValueError(
            "log_partition visits every state, but this energy holds some entries, whose values would be counted "
            "over and over; write it as a function of the free entries."
        )
    with sampling(energy), torch.no_grad():
        if isinstance(support, Real | Box):
            box = support if isinstance(support, Box) else None
            return integrated(_score(energy), event, box=box, tolerance=tolerance, bounds=bounds)
        return Estimate(_summed(_score(energy), support, event), 0.0)


def log_likelihood(
    energy: EnergyLike, x: Float[Tensor, "rows *event"], log_z: Estimate | float | None = None
) -> Estimate:
    """The mean of log p over the rows of `x`, in nats.

    Args:
        energy: Of the model.
        x: Rows that are independent draws of the data.
        log_z: Of the same energy, at the same temperature; computed by `log_partition` when left out.

    Returns:
        The mean with the standard error of both parts: of a mean over rows, and of log Z.

    Raises:
        ValueError: If there are fewer than two rows, some are off the energy's support, or log Z is left out and the
            space is too large.
    """
    energy = as_energy(energy)
    elsewhere = int((~energy.support.contains(x)).sum())
    if elsewhere:
        raise ValueError(
            f"log_likelihood takes rows on {energy.support}, where the energy lives, but {elsewhere} of {len(x)} are "
            "elsewhere, where p is 0; scale or round the data as for training."
        )
    if log_z is None:
        log_z = log_partition(energy, tuple(x.shape[1:]))
    value, error = log_z if isinstance(log_z, Estimate) else (log_z, 0.0)
    with sampling(energy), torch.no_grad():
        energies = torch.cat([check_energies(energy(chunk), chunk) for chunk in x.split(_CHUNK)])
    mean = Estimate.of_mean(-energies)
    return Estimate(mean.value - value, math.hypot(mean.standard_error, error))


def bits_per_dimension(
    log_likelihood: Estimate, event: tuple[int, ...], *, support: Box = Box(-1.0, 1.0), levels: int = 256
) -> Estimate:
    r"""The code length of an image in bits a pixel, of grey levels that were dequantised and scaled to a box.

    .. math:: b = -\frac{1}{d \log 2}
        \left(\log p(x) + d \log\frac{\mathrm{high} - \mathrm{low}}{\mathrm{levels}}\right)

    A density over the box becomes a probability of grey levels when it is multiplied by the volume that one level has
    there, as `erg.data.batches` spreads it with ``dequantise=True``. A bound from below on log p is one from above
    on the bits.

    Args:
        log_likelihood: Mean log p of dequantised images, in nats.
        event: The shape of one image.
        support: The box that holds all levels.
        levels: How many.

    References:
        Theis, van den Oord & Bethge (2016), A note on the evaluation of generative models, arXiv:1511.01844

    Example:
        >>> uniform = Estimate(-784 * math.log(2.0), 0.0)
        >>> round(bits_per_dimension(uniform, (1, 28, 28)).value, 6)
        8.0
    """
    dimensions = torch.Size(event).numel()
    volume = dimensions * math.log((support.high - support.low) / levels)
    unit = dimensions * math.log(2)
    return Estimate(-(log_likelihood.value + volume) / unit, log_likelihood.standard_error / unit)


def states_to_visit(energy: EnergyLike, event: tuple[int, ...]) -> float:
    """How many states `log_partition` would visit; infinitely many on the real numbers."""
    energy, event = _smaller(as_energy(energy), event)
    # Beyond this nobody visits them, and powers overflow.
    return math.exp(min(_states(energy.support, event), 700.0))


def _smaller(energy: Energy, event: tuple[int, ...]) -> tuple[Energy, tuple[int, ...]]:
    """The energy of the layer with fewer states, of two layers with the same Z."""
    if isinstance(energy, DBM) and energy.shape == event:
        # Of several layers the even ones are one, and the odd ones the other.
        machine = energy.machine
        energy, event = machine, machine.shape
    if not isinstance(energy, TwoLayers) or energy.shape != event:
        return energy, event
    other = energy.of_hidden()
    return (
        (other, other.shape)
        if _states(other.support, other.shape) < _states(energy.support, event)
        else (energy, event)
    )


def _states(support: Support, event: tuple[int, ...]) -> float:
    """The log of how many there are."""
    if isinstance(support, Mixed):
        return sum(_states(place, (entries,)) for place, entries in support.parts)
    if isinstance(support, OneHot):
        return math.prod(event[:-1]) * math.log(event[-1])
    return math.prod(event) * math.log(2) if isinstance(support, Binary | Spin) else math.inf


def _score(energy: Energy) -> Callable[[Tensor], Tensor]:
    """The energies of states, in float64 on the CPU, by weights of whatever dtype on whatever device."""
    weights = list(energy.parameters())
    device = next((tensor.device for tensor in (*weights, *energy.buffers())), None)

    def score(states: Tensor) -> Tensor:
        x = states.to(device, weights[0].dtype if weights else states.dtype)
        return check_energies(energy(x), x).double().cpu()

    return score


def _summed(
    score: Callable[[Tensor], Tensor], support: Binary | Spin | OneHot | Mixed, event: tuple[int, ...]
) -> float:
    """The log of the sum over all states, chunk after chunk."""
    total = torch.tensor(-math.inf, dtype=torch.float64)
    for states in support.enumerate(event, chunk=_CHUNK):
        total = torch.logaddexp(total, (-score(states)).logsumexp(0))
    return total.item()
