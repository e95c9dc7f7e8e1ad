r"""Annealed importance sampling along a path: log Z from below, and from above.

Between the reference :math:`E_0` and the target :math:`E_1` lie the energies of a `Path` at
:math:`0 = \beta_0 < \dots < \beta_T = 1`. A chain starts at an exact sample of the reference; at each beta
it first pays for the change of energy *where it stands*, and then moves under the new energy:

.. math:: \log w = \log Z_0 - \sum_{t=1}^{T} (\beta_t - \beta_{t-1}) \, (E_1 - E_0)(x_{t-1}),
    \qquad x_t \sim K_{\beta_t}(\cdot \mid x_{t-1}).

The mean of w is Z for any kernels :math:`K_\beta` that leave their :math:`e^{-E_\beta}` invariant, however slow.
The same from samples of the target down to the reference estimates 1/Z, if the target has mass wherever the
reference has: these chains never leave the mass of the target, and where that is a share s of the reference, they
estimate s/Z. By Jensen's inequality the log of a mean is low on average: the first is a lower bound of log Z in
expectation, the second an upper bound.

References:
    Neal (2001), Annealed importance sampling, arXiv:physics/9803008
    Grosse, Ghahramani & Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo,
    arXiv:1511.02543
"""

import itertools
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.algebra import Path, intersect
from erg.energies.trajectory import Trajectory
from erg.estimate import Estimate
from erg.roles import Reference
from erg.samplers.annealing import weights
from erg.samplers.annealing.biased import refuse_bias
from erg.samplers.annealing.path_chains import Kernels, begin, kernel_at, moved, refreshed
from erg.samplers.chain import prepare, sampling


class ImportanceSamples(NamedTuple):
    """What annealing in one direction found.

    Attributes:
        log_z: Of the target, in nats, with the bias of the log removed as far as the weights show it.
        bound: The log of the mean weight as it is: below log Z in expectation when forward, above in reverse.
        log_weights: One a chain. Their weights average to Z when forward, to 1/Z in reverse.
        x: Where the chains ended. Forward, and with these weights, they are samples of the target.
        acceptance: The mean acceptance at each beta between the ends.
        biased: Whether the kernel was one that does not leave its energy invariant: nothing here is then exact.
    """

    log_z: Estimate
    bound: float
    log_weights: Float[Tensor, " chains"]
    x: Float[Tensor, "chains *event"]
    acceptance: Float[Tensor, " between"]
    biased: bool

    def __repr__(self) -> str:
        return weights.described(ImportanceSamples, self.log_z, self.log_weights, biased=self.biased)

    @property
    def effective_sample_size(self) -> float:
        """How many chains with equal weights these are worth. Below a few dozen the error is not to be trusted."""
        return weights.effective_sample_size(self.log_weights).item()


def ais(
    path: Path | Trajectory,
    kernel: Kernels,
    *,
    betas: int | Sequence[float] | Float[Tensor, " betas"] = 1000,
    chains: int = 256,
    steps: int = 1,
    rng: torch.Generator | None = None,
) -> ImportanceSamples:
    """Estimate log Z of the target by annealing from exact samples of the reference.

    Each beta costs the kernel's own evaluations of the target; weights and starts are read off what the
    kernel keeps.

    Args:
        path: From a reference with a known log Z and exact samples; a `Trajectory` for machines with a hidden layer.
        kernel: What moves; or a function of beta that returns it, for step sizes that change along the path.
        betas: How many equal steps from 0 to 1; or the values themselves, from 0 to 1.
        chains: How many independent weights.
        steps: Of the kernel at each beta.
        rng: The only source of randomness when given.

    Raises:
        TypeError: If the reference has no log Z or exact samples, or the kernel does not leave exp(-E) as it is.
        ValueError: If the betas do not rise from 0 to 1, or a count is not positive.

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import mala
        >>> path = Path(Gaussian.standard(2), Gaussian.isotropic(torch.ones(2), variance=0.5) / 0.7)
        >>> found = ais(path, mala(0.3), betas=100, rng=torch.Generator().manual_seed(0))
        >>> abs(found.log_z.value - 0.788) < 0.1
        True
    """
    reference = check_reference(path, of="ais()")
    rows.whole("chains", chains, of="ais()", least=2)
    x = reference.exact_samples(chains, rng)
    log_weights, x, acceptance, biased = _anneal(path, kernel, x, betas_of(betas, of="ais()"), steps, rng, of="ais()")
    log_weights = log_weights + float(reference.log_z)
    bound = weights.log_mean_bound(log_weights)
    return ImportanceSamples(weights.log_mean(log_weights), bound, log_weights, x, acceptance, biased)


def reverse_ais(
    path: Path | Trajectory,
    kernel: Kernels,
    x: Float[Tensor, "chains *event"],
    *,
    betas: int | Sequence[float] | Float[Tensor, " betas"] = 1000,
    steps: int = 1,
    rng: torch.Generator | None = None,
) -> ImportanceSamples:
    """Estimate log Z of the target by annealing its own samples down to the reference.

    The bound holds for exact samples. Samples of a long chain make it approximate: those that have missed a mode
    give a value that is too low.

    Args:
        path: To a target of unknown log Z from a reference with a known one.
        kernel: As for `ais`.
        x: Independent samples of the target.
        betas: As for `ais`, rising from 0 to 1; they are walked down.
        steps: Of the kernel at each beta.
        rng: The only source of randomness when given.

    Raises:
        TypeError: If the reference has no log Z or a larger support than the target, or the kernel does not leave
            exp(-E) as it is.
        ValueError: If the betas do not rise from 0 to 1, there are fewer than two rows, or one has no finite energy.
    """
    reference, support = check_reference(path, of="reverse_ais()"), path.reference.support
    if intersect(support, path.energy.support) != support:
        raise TypeError(
            f"reverse_ais() ends at a reference on the support of the target, {path.energy.support}, but this one "
            f"lives on {support}, where these chains never go: log Z would be too high; use a reference on "
            f"{path.energy.support}, such as Uniform on a box."
        )
    if len(x) < 2:
        raise ValueError(f"reverse_ais() needs at least two samples of the target for an error, but got {len(x)}.")
    down = betas_of(betas, of="reverse_ais()").flip(0)
    log_weights, x, acceptance, biased = _anneal(path, kernel, x, down, steps, rng, of="reverse_ais()")
    log_weights = log_weights - float(reference.log_z)
    inverse = weights.log_mean(log_weights)
    log_z = Estimate(-inverse.value, inverse.standard_error)
    return ImportanceSamples(log_z, -weights.log_mean_bound(log_weights), log_weights, x, acceptance.flip(0), biased)


def _anneal(
    path: Path | Trajectory, kernels: Kernels, x: Tensor, betas: Tensor, steps: int, rng: Rng, *, of: str
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """The log weights, the last states, the acceptances and whether the kernels are biased, in either direction."""
    rows.whole("steps", steps, of=of)
    energy, x = prepare(path(0.5), x)
    values = betas.tolist()
    biased, accepted = False, [torch.ones(0, dtype=torch.float64, device=x.device)]
    with sampling(energy):
        kernel = kernel_at(kernels, values[1])
        biased = refuse_bias(kernel, of=of)
        chains = begin(path, kernel, x)
        if values[0] == 1 and not chains.finite:
            raise ValueError(f"{of} starts at samples of the target, but some rows have no finite energy there.")
        log_weights = chains.log_weight(values[0], values[1])
        for beta, following in itertools.pairwise(values[1:]):
            kernel = kernel_at(kernels, beta)
            biased = refuse_bias(kernel, of=of) or biased
            chains, acceptance = moved(path, kernel, chains, beta, steps=steps, rng=rng)
            accepted.append(acceptance.double().mean()[None])
            chains = refreshed(path, kernel, chains, beta, following)
            log_weights = log_weights + chains.log_weight(beta, following)
    return log_weights, chains.x, torch.cat(accepted), biased


def betas_of(betas: int | Sequence[float] | Float[Tensor, " betas"], *, of: str) -> Float[Tensor, " betas"]:
    """The betas of a path in float64, from 0 to 1.

    Raises:
        TypeError: If a number of steps is not whole.
        ValueError: If they do not rise from 0 to 1.
    """
    if isinstance(betas, Real):
        steps = cast(int, betas)
        rows.whole("betas", steps, of=of)
        return torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    betas = betas.double() if isinstance(betas, Tensor) else torch.tensor(betas, dtype=torch.float64)
    if betas.ndim != 1 or len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or not bool((betas.diff() > 0).all()):
        raise ValueError(f"betas rise from 0 to 1, but got {betas.tolist()}; torch.linspace(0, 1, n) does.")
    return betas


def check_reference(path: Path | Trajectory, *, of: str) -> Reference:
    """The reference of a path, if annealing can start there.

    Raises:
        TypeError: If it is no path, or has a reference without log Z or exact samples.
    """
    if not isinstance(path, Path | Trajectory):
        raise TypeError(
            f"{of} goes along a Path or a Trajectory, but got {type(path).__name__}; write Path(reference, energy) "
            "with a reference such as Gaussian."
        )
    if not isinstance(path.reference, Reference):
        raise TypeError(
            f"{of} starts at a reference with log_z and exact_samples(), but {type(path.reference).__name__} has "
            "none; use Gaussian on the real numbers, Uniform on a box, Independent on discrete states."
        )
    return path.reference
