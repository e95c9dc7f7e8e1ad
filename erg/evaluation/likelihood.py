r"""Likelihoods of models whose partition function has to be estimated, with a bracket that says what they are worth.

Small models are enumerated. Elsewhere log Z is annealed from both sides: forward from exact samples of a law with
independent entries, in reverse from samples of the model. The forward value is low on average, so likelihoods by it
are high; the reverse one errs the other way, as far as its starts are samples of the model. Where both agree the
number can be trusted, and where they are several nats apart it cannot.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg.energies.algebra import Path
from erg.energies.deep import DBM
from erg.energies.energy import Energy, as_energy
from erg.energies.independent import Independent
from erg.energies.trajectory import Blending, Trajectory
from erg.energies.units import Bits, Categories, Spins
from erg.estimate import Estimate
from erg.evaluation.assessment import Metric
from erg.evaluation.partition import log_likelihood, log_partition, states_to_visit
from erg.roles import EnergyLike, Kernel
from erg.samplers.annealing.brackets import Bracket, bracket
from erg.samplers.annealing.importance import ais, reverse_ais
from erg.samplers.chain import sample
from erg.samplers.discrete.gibbs import BlockGibbs
from erg.support import DISCRETE, Binary, OneHot, Spin

ENUMERATED = 2**20
"""States that are visited without asking."""
SWEEPS = 50
UNRELIABLE = 3.0
"""Nats between the ends of a bracket."""


@dataclass(frozen=True)
class Effort:
    """How much annealing is done in each direction.

    Args:
        betas: Steps of beta.
        chains: Independent weights.
        steps: Of the kernel at each beta.
        rows: Of training and held-out data that are looked at, at most.
    """

    betas: int = 1000
    chains: int = 100
    steps: int = 1
    rows: int = 10_000


class Partition(NamedTuple):
    """The log Z of a model.

    Attributes:
        log_z: In nats; the forward value where it was annealed.
        bracket: Both sides; None for one that is exact.
    """

    log_z: Estimate
    bracket: Bracket | None

    @property
    def reliable(self) -> bool:
        """Whether the ends of the bracket are at most a few nats apart."""
        return self.bracket is None or abs(self.bracket.width) <= UNRELIABLE


def partition(
    energy: EnergyLike,
    data: Float[Tensor, "rows *event"],
    samples: Float[Tensor, "samples *event"],
    *,
    kernel: Kernel,
    effort: Effort = Effort(),
    rng: torch.Generator | None = None,
) -> Partition:
    """The log Z of a discrete energy, or of a machine of two layers: exact where that is quick, annealed elsewhere.

    Args:
        energy: Of the model. Of a `DBM` it is the Z of all its layers.
        data: Training rows: annealing starts at independent entries with their means.
        samples: Of the model, where reverse annealing starts.
        kernel: What moves along a straight path; machines of two layers have block Gibbs.
        effort: How much annealing.
        rng: The only source of randomness when given.

    Raises:
        TypeError: If it is neither a discrete energy nor a machine of two layers.
    """
    energy, data = as_energy(energy), data[: effort.rows]
    if isinstance(energy, DBM):
        # Means of hidden units are no states: a few sweeps make states of all layers.
        states = sample(BlockGibbs(), energy.machine, energy.filled(samples), SWEEPS, rng)
        return partition(energy.machine, energy.filled(data), states, kernel=kernel, effort=effort, rng=rng)
    event = tuple(data.shape[1:])
    if states_to_visit(energy, event) <= ENUMERATED:
        return Partition(log_partition(energy, event), None)
    path, kernel = _path(energy, data, kernel)
    how = {"betas": effort.betas, "steps": effort.steps}
    forward = ais(path, kernel, chains=effort.chains, rng=rng, **how)
    reverse = reverse_ais(path, kernel, samples[: effort.chains], rng=rng, **how)
    return Partition(forward.log_z, bracket(forward, reverse))


def check_likelihood(energy: Energy) -> None:
    """Refuse an energy whose log Z cannot be annealed from independent entries.

    Raises:
        TypeError: If it is neither a discrete energy nor a machine of two layers.
    """
    if not isinstance(energy, DBM | Blending) and not isinstance(energy.support, DISCRETE):
        raise TypeError(
            f"A likelihood is for discrete energies and machines of two layers, but {type(energy).__name__} lives on "
            f"{energy.support}; use ais() along a Path with a reference of your own."
        )


def likelihoods(
    energy: EnergyLike, found: Partition, *, train: Tensor, held_out: Tensor, effort: Effort = Effort()
) -> tuple[dict[str, Metric], list[str]]:
    """The figures of a partition function for a reader, and what has to be said about them.

    Returns:
        Metrics by name (see `erg.evaluation.names`), and sentences.
    """
    energy = as_energy(energy)
    notes = _notes(found)
    if isinstance(energy, DBM):
        notes.append("Likelihoods of a deep Boltzmann machine are lower bounds, of the mean field.")
    return dict(_figures(energy, found, train[: effort.rows], held_out[: effort.rows])), notes


def _figures(energy: Energy, found: Partition, train: Tensor, held_out: Tensor) -> Iterator[tuple[str, Metric]]:
    for name, x in (("held_out", held_out), ("train", train)):
        yield f"log_likelihood/{name}", Metric(log_likelihood(energy, x, found.log_z), reliable=found.reliable)
    yield "log_z", Metric(found.log_z)
    if found.bracket is not None:
        yield "log_likelihood/held_out/low", Metric(log_likelihood(energy, held_out, found.bracket.upper))
        yield "log_z/lower", Metric(found.bracket.lower)
        yield "log_z/upper", Metric(found.bracket.upper)
        yield "log_z/bracket", Metric(Estimate(found.bracket.width, 0.0))


def _notes(found: Partition) -> list[str]:
    if found.bracket is None:
        return ["The partition function was summed exactly."]
    ends = (
        f"log Z is {found.bracket.lower.value:.2f} by forward annealing, which errs low, and "
        f"{found.bracket.upper.value:.2f} by reverse annealing, which errs high"
    )
    apart = abs(found.bracket.width)
    if found.reliable:
        return [f"{ends}: {apart:.2g} nats apart, where up to {UNRELIABLE:g} count as reliable."]
    return [
        f"Likelihoods are unreliable: {ends}, {apart:.1f} nats apart; raise likelihood.betas, or sample "
        "longer for the reverse starts."
    ]


def _path(energy: Energy, data: Tensor, kernel: Kernel) -> tuple[Path | Trajectory, Kernel]:
    if isinstance(energy, Blending):
        return Trajectory([energy.decoupled(data), energy]), BlockGibbs()
    check_likelihood(energy)
    support = energy.support
    mean = data.double().mean(0)
    match support:
        case Binary():
            logits = Bits().field_of(mean)
        case Spin():
            logits = 2 * Spins().field_of(mean)
        case OneHot():
            logits = Categories(mean.shape[-1]).field_of(mean)
    return Path(Independent(logits.to(data.dtype), support), energy), kernel
