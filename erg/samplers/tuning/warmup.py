r"""Warm-up: chains run for a while, and a kernel comes back that suits what they met.

Every evaluation is one of a step of the chains, but for a few starts. The result is an ordinary kernel: nothing of
this is repeated when it is used. How a step size, a scale and the length of trajectories are found is told in
`windows`; here it is decided which part of a kernel is tuned, and how.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.roles import Adaptive, EnergyLike, Kernel
from erg.samplers.chain import prepare, sampling
from erg.samplers.composition import check_kernel
from erg.samplers.free import Free, Still, on_all_entries, on_free_entries
from erg.samplers.preconditioned import Preconditioned, Scaled
from erg.samplers.rules import support_of
from erg.samplers.tempering.replicas import ReplicaExchange, WithReplicas
from erg.samplers.tuning.search import given
from erg.samplers.tuning.spread import Welford
from erg.samplers.tuning.tunable import tuning_of
from erg.samplers.tuning.windows import Windows
from erg.support import Real


def warmup(
    kernel: Kernel,
    energy: EnergyLike,
    x: Float[Tensor, "batch *event"],
    steps: int = 1000,
    rng: Rng = None,
    *,
    mass: bool = True,
    acceptance: float | None = None,
) -> Kernel:
    """A kernel of the same kind, tuned to an energy by running chains. Its chains are discarded.

    - The setting that an algorithm tunes by its acceptance (``step_size``, ``scale``) is set so that it gets the
      mean acceptance it wants. A schedule, or one value per chain, is scaled as a whole. Chains that are stuck do
      not count, unless most of them are.
    - On `Real`, where entries spread unevenly, the kernel is put in `Preconditioned`, with their standard
      deviations as the scale. A `Preconditioned` that is there gets its scale replaced.
    - ``leapfrogs`` become as many as forget most per gradient, see `erg.samplers.tuning.trajectory`.
    - A kernel that tunes itself is run, and replaced by what its chains suggest; `steps` should be enough for what
      it does of its own accord.
    - A kernel made of kernels, such as replica exchange, has these tuned first, each alone on this energy.

    A kernel with nothing to tune comes back as it is, and nothing is evaluated. `Compiled` and `Parallel` are put
    back around the result; while it is tuned, it runs without them.

    Args:
        kernel: What shall be tuned; its settings are the first guess, be it wrong by many powers of ten.
        energy: Energy, module or closure ``(batch, *event) -> (batch,)``.
        x: Where the chains start; a few dozen chains tune better than one. Not modified.
        steps: How many transitions, all told.
        rng: The only source of randomness when given; torch's global generator otherwise.
        mass: Whether the scale of the entries is learned, too.
        acceptance: The mean acceptance to tune for, instead of the algorithm's own. Laws with narrow places, a
            banana or a funnel, are sampled better at 0.95 than at the usual 0.8.

    Raises:
        ValueError: If there are no chains or no steps, `acceptance` is not between 0 and 1, or no proposal was
            accepted however small the step.
        TypeError: If the kernel makes every move it proposes: there is no acceptance then.

    References:
        Hoffman & Gelman (2014), The No-U-Turn sampler: adaptively setting path lengths in Hamiltonian Monte
        Carlo, arXiv:1111.4246

    Example:
        >>> import torch
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import advance, mala
        >>> energy = Gaussian(torch.zeros(2), torch.tensor([1e-4, 1.0]))
        >>> rng = torch.Generator().manual_seed(0)
        >>> x = energy.exact_samples(64, rng)
        >>> kernel = warmup(mala(step_size=1.0), energy, x, 400, rng)
        >>> round(float(kernel.scale[1] / kernel.scale[0]), -1)
        100.0
        >>> round(float(advance(kernel, energy, x, 200, rng)[1].mean()), 1)
        0.6
    """
    rows.whole("steps", steps, of="warmup()")
    energy, x = prepare(energy, x)
    check_kernel(kernel, of="warmup()")
    if not len(x):
        raise ValueError(f"warmup needs at least one chain, but got shape {tuple(x.shape)}; pass where they start.")
    if acceptance is not None:
        rows.numbers({"acceptance": acceptance}, of="warmup()")
    if acceptance is not None and not 0 < acceptance < 1:
        raise ValueError(f"warmup tunes for an acceptance between 0 and 1, but got {acceptance}; 0.95 is a high one.")
    wish, moving = _Wish(mass, acceptance), on_free_entries(kernel, energy, x)
    if isinstance(moving, Still):
        return kernel
    with sampling(energy):
        if not isinstance(moving, Free):
            return _warmed(kernel, energy, x, steps, rng, wish)[0]
        free = moving.entries
        tuned, _ = _warmed(moving.kernel, moving.seen(energy), free.take(x), steps, rng, wish)
    return on_all_entries(tuned, free, like=kernel)


class _Wish(NamedTuple):
    """What the caller wants of warm-up."""

    mass: bool
    acceptance: float | None


def _warmed(
    kernel: Kernel, energy: EnergyLike, x: Tensor, steps: int, rng: Rng, wish: _Wish
) -> tuple[Kernel, Tensor]:
    """The tuned kernel, and where its chains ended; `x` itself if nothing was run."""
    tuning = tuning_of(kernel)
    if tuning is not None:
        tuning = tuning if wish.acceptance is None else tuning._replace(acceptance=wish.acceptance)
        return Windows(kernel, tuning, energy, x, rng, mass=wish.mass and _has_scale(energy, x)).tuned(steps)
    if isinstance(kernel, Preconditioned):
        scale = kernel.scale.to(x.dtype)
        inner, z = _warmed(
            kernel.kernel, Scaled(energy, kernel.scale), x / scale, steps, rng, wish._replace(mass=False)
        )
        return replace(kernel, kernel=inner), z * scale
    if isinstance(kernel, WithReplicas):
        return _with_part(kernel, "kernel", _warmed(kernel.kernel, energy, x[:, 0], steps, rng, wish)[0]), x
    share = steps - steps // 2 if isinstance(kernel, Adaptive) else steps
    start = x
    for name, part in _parts(kernel).items():
        inner, x = _warmed(part, energy, x, share, rng, wish)
        kernel = kernel if inner is part else _with_part(kernel, name, inner)
    if isinstance(kernel, Adaptive) and not given(kernel):
        learn = wish.mass and not _parts(kernel) and _has_scale(energy, x)
        return _self_tuned(kernel, energy, x, steps if x is start else steps // 2, rng, learn)
    return kernel, x


def _parts(kernel: Any) -> dict[str, Kernel]:
    """The kernels that a kernel is made of."""
    names = [field.name for field in fields(kernel)] if is_dataclass(kernel) else []
    return {name: getattr(kernel, name) for name in names if isinstance(getattr(kernel, name), Kernel)}


def _with_part(kernel: Any, name: str, part: Kernel) -> Any:
    return replace(kernel, **{name: part})


def _self_tuned(
    kernel: Kernel, energy: EnergyLike, x: Tensor, steps: int, rng: Rng, mass: bool
) -> tuple[Kernel, Tensor]:
    """What a kernel that tunes itself suggests; with `mass` a third of the steps goes into the scale."""
    if mass:
        state, _ = kernel.run(energy, kernel.init(energy, x), steps // 6, rng)
        seen = Welford(x)
        for _ in range(steps // 6):
            state, _ = kernel.step(energy, state, rng)
            seen.add(state.x)
        x, steps = state.x, steps - 2 * (steps // 6)
        spread = seen.pooled(rows.finite(x))
        if spread is not None and spread.uneven:
            scale = spread.deviation
            inner, z = _adapted(kernel, Scaled(energy, scale), x / scale.to(x.dtype), steps, rng)
            return Preconditioned(inner, scale), z * scale.to(x.dtype)
    return _adapted(kernel, energy, x, steps, rng)


def _adapted(kernel: Any, energy: EnergyLike, x: Tensor, steps: int, rng: Rng) -> tuple[Kernel, Tensor]:
    """What a kernel suggests; suggestions that go on tuning themselves are tried, each twice as long as the last."""
    lengths = (steps // 7, 2 * steps // 7, steps - steps // 7 - 2 * steps // 7)
    state = kernel.init(energy, x)
    for length in lengths[:-1]:
        state, _ = kernel.run(energy, state, length, rng)
        suggested = kernel.adapted(state)
        if isinstance(suggested, ReplicaExchange):
            kernel, state = suggested, suggested.start(energy, state.replicas)
        elif isinstance(suggested, Adaptive):
            again: Any = suggested
            start = again.init(energy, state.x)
            if again.adapted(start) is not suggested:  # one that is settled would learn nothing more
                kernel, state = suggested, start
    state, _ = kernel.run(energy, state, lengths[-1], rng)
    return kernel.adapted(state), state.x


def _has_scale(energy: EnergyLike, x: Tensor) -> bool:
    """Whether entries could be given scales of their own."""
    return isinstance(support_of(energy), Real) and x[0].numel() > 1
