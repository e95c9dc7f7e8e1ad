r"""Sequential Monte Carlo along a path: annealing that gives up on lost chains and chooses its own betas.

As in annealed importance sampling, chains are weighed by each change of energy and then moved. Two things are
added. The next beta is the farthest at which the weights of the change alone are still worth a given share
of the chains (their *conditional* effective sample size). And when the accumulated weights of a population are worth
less than a share of its chains, these are drawn anew in proportion to their weights.

The error comes from several populations that share the betas and nothing else: populations are
exchangeable, each one's Z is unbiased for given betas, so their mean has the error that their spread shows,
whatever the resampling scheme. The estimates of variance from one genealogy (Lee & Whiteley 2018) assume multinomial
resampling and lose their ground when few ancestors survive.

References:
    Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, doi:10.1111/j.1467-9868.2006.00553.x
    Zhou, Johansen & Aston (2016), Toward automatic model comparison: an adaptive sequential Monte Carlo approach,
    arXiv:1303.3123 (the conditional effective sample size)
    Lee & Whiteley (2018), Variance estimation in the particle filter, arXiv:1509.00394
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.energies.algebra import Path
from erg.energies.trajectory import Trajectory
from erg.estimate import Estimate
from erg.samplers.annealing import weights
from erg.samplers.annealing.biased import refuse_bias
from erg.samplers.annealing.importance import check_reference
from erg.samplers.annealing.path_chains import Chains, Kernels, begin, kernel_at, moved, refreshed
from erg.samplers.chain import prepare, sampling

_HALVINGS = 60


class Population(NamedTuple):
    """What sequential Monte Carlo found.

    Attributes:
        log_z: Of the target, in nats.
        x: The last states; with their weights, samples of the target.
        log_weights: One a chain; they average to Z.
        betas: Those it chose, from 0 to 1. `ais` can walk them again, as fixed ones.
        acceptance: The mean acceptance at each beta between the ends.
        biased: Whether the kernel was one that does not leave its energy invariant: nothing here is then exact.
    """

    log_z: Estimate
    x: Float[Tensor, "chains *event"]
    log_weights: Float[Tensor, " chains"]
    betas: Float[Tensor, " betas"]
    acceptance: Float[Tensor, " between"]
    biased: bool

    def __repr__(self) -> str:
        return weights.described(Population, self.log_z, self.log_weights, biased=self.biased)

    @property
    def effective_sample_size(self) -> float:
        """How many states with equal weights these are worth, not counting that some have the same ancestor."""
        return weights.effective_sample_size(self.log_weights).item()

    def resampled(self, n: int, rng: Rng = None) -> Float[Tensor, "n *event"]:
        """States of equal weight, drawn in proportion to the weights."""
        return self.x[systematic(self.log_weights[None], n, rng)[0]]


def smc(
    path: Path | Trajectory,
    kernel: Kernels,
    *,
    chains: int = 1024,
    populations: int = 16,
    steps: int = 1,
    keep: float = 0.95,
    resample_below: float = 0.5,
    rng: torch.Generator | None = None,
) -> Population:
    """Estimate log Z of the target, and sample it, from exact samples of the reference.

    Args:
        path: From a reference with a known log Z and exact samples.
        kernel: What moves; or a function of beta that returns it.
        chains: In all populations together, a multiple of `populations`.
        populations: How many, for the error. More of them have fewer chains each.
        steps: Of the kernel at each beta.
        keep: The conditional effective sample size of one change of beta, as a share of the chains. Closer
            to 1 means more betas.
        resample_below: The effective sample size, as a share of its chains, at which a population is drawn anew.
        rng: The only source of randomness when given.

    Raises:
        TypeError: If the reference has no log Z or exact samples, or the kernel does not leave exp(-E) as it is.
        ValueError: If a share is not inside (0, 1), a count is not positive, or the chains do not divide evenly.
        RuntimeError: If the energy is so steep that no change of beta keeps that many chains.

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import mala
        >>> path = Path(Gaussian.standard(2), Gaussian.isotropic(torch.ones(2), variance=0.5) / 0.7)
        >>> found = smc(path, mala(0.3), rng=torch.Generator().manual_seed(0))
        >>> abs(found.log_z.value - 0.788) < 0.1
        True
    """
    reference = check_reference(path, of="smc()")
    _check(chains, populations, steps, keep, resample_below)
    energy, x = prepare(path(0.5), reference.exact_samples(chains, rng))
    betas, accepted, biased = [0.0], [torch.ones(0, dtype=torch.float64, device=x.device)], False
    with sampling(energy):
        now = kernel_at(kernel, 0.0)
        biased = refuse_bias(now, of="smc()")
        state = begin(path, now, x)
        # One row a population: the log of its Z so far, times the weight of each chain relative to the others.
        log_z = torch.zeros(populations, dtype=torch.float64, device=x.device)
        log_weights = torch.zeros(populations, chains // populations, dtype=torch.float64, device=x.device)
        while betas[-1] < 1:
            beta = betas[-1]
            following = _following(state, log_weights, beta, keep)
            state = refreshed(path, now, state, beta, following)
            log_weights = log_weights + state.log_weight(beta, following).reshape(log_weights.shape)
            betas.append(following)
            if following == 1:
                break
            state, log_weights, log_z = _renewed(state, log_weights, log_z, resample_below, rng)
            now = kernel_at(kernel, following)
            biased = refuse_bias(now, of="smc()") or biased
            state, acceptance = moved(path, now, state, following, steps=steps, rng=rng)
            accepted.append(acceptance.double().mean()[None])
    log_weights = log_weights + log_z[:, None] + float(reference.log_z)
    each = log_weights.logsumexp(1) - math.log(log_weights.shape[1])
    chosen = torch.tensor(betas, dtype=torch.float64)
    return Population(weights.log_mean(each), state.x, log_weights.flatten(), chosen, torch.cat(accepted), biased)


def systematic(log_weights: Float[Tensor, "populations chains"], n: int, rng: Rng = None) -> Tensor:
    """For each population, n of its chains in proportion to the weights, each as often as expected up to one.

    A population without any weight keeps its chains as if all were equal.
    """
    largest = log_weights.amax(1, keepdim=True)
    shares = torch.where(largest == -torch.inf, torch.ones_like(log_weights), (log_weights - largest).exp())
    ends = (shares / shares.sum(1, keepdim=True)).cumsum(1)
    start = draws.uniform(ends[:, :1], rng)
    points = (start + torch.arange(n, dtype=ends.dtype, device=ends.device)) / n
    return torch.searchsorted(ends, points, right=True).clamp(max=ends.shape[1] - 1)


def _renewed(
    state: Chains, log_weights: Tensor, log_z: Tensor, below: float, rng: Rng
) -> tuple[Chains, Tensor, Tensor]:
    """Draw the chains of each population anew whose weights are worth too little."""
    populations, chains = log_weights.shape
    poor = weights.effective_sample_size(log_weights) < below * chains
    if not bool(poor.any()):
        return state, log_weights, log_z
    drawn = torch.where(poor[:, None], systematic(log_weights, chains, rng), torch.arange(chains, device=poor.device))
    offsets = chains * torch.arange(populations, device=poor.device)
    log_z = log_z + torch.where(poor, log_weights.logsumexp(1) - math.log(chains), 0.0)
    log_weights = torch.where(poor[:, None], 0.0, log_weights)
    return state.select((drawn + offsets[:, None]).flatten()), log_weights, log_z


def _following(state: Chains, log_weights: Tensor, beta: float, keep: float) -> float:
    """The farthest beta at which the change keeps the wanted share of the chains that any change keeps."""

    def kept(change: float) -> float:
        return _conditional(log_weights, state.log_weight(beta, beta + change).reshape(log_weights.shape))

    wanted = keep * kept(0.0)
    low, high = 0.0, 1.0 - beta
    if kept(high) >= wanted:
        return 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) >= wanted else (low, middle)
    if beta + low <= beta:
        raise RuntimeError(
            f"At beta={beta:.3g} no change of beta keeps {keep:.0%} of the chains; choose a reference "
            "nearer to the target, or a kernel that accepts more."
        )
    return beta + low


def _conditional(log_weights: Tensor, change: Tensor) -> float:
    """The conditional effective sample size as a share of the chains, averaged over populations with any weight."""
    known = log_weights - log_weights.logsumexp(1, keepdim=True)
    share = (2 * (known + change).logsumexp(1) - (known + 2 * change).logsumexp(1)).exp()
    return share.nan_to_num(nan=0.0).mean().item()


def _check(chains: int, populations: int, steps: int, keep: float, resample_below: float) -> None:
    for name, count in {"chains": chains, "populations": populations, "steps": steps}.items():
        rows.whole(name, count, of="smc()")
    if populations < 2 or chains < 2 * populations or chains % populations:
        raise ValueError(
            "smc() needs two populations or more for an error, and the same number of chains in each, two or more, "
            f"but got {chains} chains for {populations} populations; choose a multiple."
        )
    if not 0 < keep < 1 or not 0 <= resample_below <= 1:
        raise ValueError(
            f"smc() takes shares of the chains, keep inside (0, 1) and resample_below from 0 to 1, but got "
            f"{keep} and {resample_below}."
        )
