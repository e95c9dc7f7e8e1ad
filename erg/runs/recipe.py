"""What a run is, as plain data: everything a recipe file may say, with its default.

`erg.runs.config` reads a YAML file and the command line into a `Recipe`; `erg.runs.experiment` carries
it out. Networks and optimisers are factories, because the event shape and the parameters are only
known once the data are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from erg.data import Dataset, load
from erg.errors import UserError
from erg.evaluation.likelihood import Effort
from erg.roles import Kernel, Objective
from erg.samplers.schedules import Schedule
from erg.training.signals import Limits

Shape = tuple[int, ...]
LEAST = 4
"""Rows that an evaluation needs on either side."""


@dataclass
class DataSettings:
    """Which data, and what is added to them.

    Args:
        name: A known data set, see `erg data`. Found from the path when only a path is given.
        path: Another set: a folder of images, IDX, .npy, .npz or .csv.
        noise: Standard deviation of Gaussian noise on training data, in units of x.
        dequantise: Add uniform noise of one grey level.
        binarise: Make pixels 1 above this grey level in [0, 1], 0.5 for digits, and 0 elsewhere: training and
            held-out rows, and whatever the run scores later.
    """

    name: str | None = None
    path: str | None = None
    noise: float = 0.0
    dequantise: bool = False
    binarise: float | None = None

    def __post_init__(self) -> None:
        if self.binarise is None:
            return
        if not 0 <= self.binarise < 1:
            raise UserError(f"data.binarise is a grey level in [0, 1), 0.5 for digits, but got {self.binarise}.")
        if self.noise or self.dequantise:
            raise UserError(
                "Binary pixels take no noise, but this recipe has data.binarise together with "
                f"{'data.noise' if self.noise else 'data.dequantise'}; leave one of them out."
            )


@dataclass
class SamplerSettings:
    """How samples are drawn from noise: in validation, evaluation and `erg sample`.

    Args:
        kernel: What moves; the negatives' kernel when left out.
        steps: Transitions from noise.
    """

    kernel: Kernel | None = None
    steps: int = 200


@dataclass
class ValidationSettings:
    """What is looked at during training.

    Args:
        every: Updates between two looks.
        samples: How many samples are drawn and judged at each.
        patience: Stop after this many looks without a better one; None never stops early.
    """

    every: int = 500
    samples: int = 256
    patience: int | None = None


@dataclass
class GuardSettings:
    """When training counts as diverged, and how often it may go back; see `erg.training.guard.Guard`.

    Args:
        enabled: Off, nothing is watched and nothing is put right: for experiments on divergence.
        snapshot_every: Updates between two snapshots.
        depth: How many snapshots are kept.
        recoveries: How often training may go back before it is given up.
        bad_batches: How many batches in a row may be skipped before it is given up.
        limits: When a number is out of line.
    """

    enabled: bool = True
    snapshot_every: int = 100
    depth: int = 2
    recoveries: int = 8
    bad_batches: int = 50
    limits: Limits = field(default_factory=Limits)


@dataclass
class LikelihoodSettings:
    """How `erg evaluate` estimates the likelihood, of discrete energies and of machines of two layers.

    Args:
        enabled: Off, no likelihood is estimated.
        betas: Steps of annealing, in each direction. Small models are enumerated instead.
        chains: Independent weights.
        steps: Of the kernel at each beta.
        rows: Of training and held-out data that are scored, at most.
    """

    enabled: bool = False
    betas: int = 1000
    chains: int = 100
    steps: int = 1
    rows: int = 10_000

    def __post_init__(self) -> None:
        for name, least in (("betas", 1), ("chains", 2), ("steps", 1), ("rows", 2)):
            if getattr(self, name) < least:
                raise UserError(
                    f"likelihood.{name} is at least {least}, but this recipe has {getattr(self, name)}; raise it."
                )

    @property
    def effort(self) -> Effort | None:
        """None where no likelihood is wanted."""
        return Effort(self.betas, self.chains, self.steps, self.rows) if self.enabled else None


@dataclass
class Recipe:
    """One experiment.

    Args:
        name: What the run is called.
        network: Scores a batch of the data's event shape.
        objective: What training changes; null in a `StoredRecipe`.
        optimizer: Updates the network's parameters; null in a `StoredRecipe`.
        data: Which data.
        sampler: How samples are drawn from noise.
        validation: What is looked at during training.
        guard: When training counts as diverged and what is done.
        steps: Updates. Recipes count steps, never seconds.
        batch_size: Data rows an update; a new run on fewer rows takes all of them.
        learning_rate: Factor on the optimiser's learning rate, a function of the step.
        clip_gradients: Largest norm of the weight gradient; None leaves it.
        average: Decay of the moving average of the weights that is evaluated and exported.
        seed: Seeds weights, data order and chains.
        device: auto, cpu, cuda or mps.
        precision: Lightning Fabric's name for it, for example 32-true or bf16-mixed.
        devices: Processes of data parallel training.
        threads: Inside tensor operations, per process; None leaves it to torch. Small networks are no faster on two
            than on one, and far slower on two that have to share a core.
        log_every: Updates between two lines of metrics.jsonl.
        checkpoint_seconds: At most this much work is lost when the run is killed.
        likelihood: Whether and how `erg evaluate` estimates the likelihood.
        goals: Metric to (comparison, bound); the report says pass or fail.
        description: One line for `erg recipes`.
    """

    name: str
    network: Callable[[Shape], nn.Module]
    objective: Objective
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    data: DataSettings = field(default_factory=DataSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    guard: GuardSettings = field(default_factory=GuardSettings)
    steps: int = 10_000
    batch_size: int = 128
    learning_rate: Schedule | None = None
    clip_gradients: float | None = None
    average: float = 0.999
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    devices: int = 1
    threads: int | None = None
    log_every: int = 10
    checkpoint_seconds: float = 15.0
    likelihood: LikelihoodSettings = field(default_factory=LikelihoodSettings)
    goals: dict[str, tuple[str, float]] = field(default_factory=dict)
    description: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "devices"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is at least 1, but this recipe has {name}={getattr(self, name)}.")
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads is at least 1, but this recipe has threads={self.threads}.")
        if self.validation.every < 1 or self.validation.samples < 2 or self.sampler.steps < 1:
            raise UserError(
                "A recipe needs validation.every >= 1, validation.samples >= 2 and sampler.steps >= 1, but got "
                f"{self.validation.every}, {self.validation.samples} and {self.sampler.steps}."
            )
        if self.seed < 0 or self.checkpoint_seconds < 0:
            raise UserError(
                "seed and checkpoint_seconds are not negative, but this recipe has "
                f"{self.seed} and {self.checkpoint_seconds}."
            )
        if self.clip_gradients is not None and not self.clip_gradients > 0:
            raise UserError(f"clip_gradients is positive or null, but this recipe has {self.clip_gradients}.")
        if not 0 <= self.average < 1:
            raise UserError(f"average is a decay in [0, 1), but this recipe has average={self.average}.")

    def load(self) -> Dataset:
        """Its data.

        Raises:
            UserError: If they are missing or unfit.
        """
        settings = self.data
        return load(settings.name, path=settings.path, seed=self.seed, binarise=settings.binarise)

    def check_rows(self, train: int, held_out: int) -> None:
        """Refuse data of fewer rows than a batch, as when they were changed under a run, or than an evaluation needs.

        Raises:
            UserError: If so.
        """
        if min(train, held_out) < LEAST:
            raise UserError(
                f"A run needs at least {LEAST} rows to train on and {LEAST} to hold out, a tenth of all, but there "
                f"are {train} and {held_out}; give more data."
            )
        if train < self.batch_size:
            raise UserError(
                f"This run updates on batches of {self.batch_size} rows, but there are now {train} rows to train on; "
                "put the data back that it was begun on."
            )


@dataclass
class StoredRecipe(Recipe):
    """A recipe whose network stores its data in one step, see `erg.energies.Stored`: it says `objective: null`.

    Its sampler has a kernel of its own.
    """

    objective: Any = None
    optimizer: Any = None
    steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective is not None or self.optimizer is not None:
            raise UserError(f"Recipe {self.name} stores its data, so objective and optimizer are null, both of them.")
        if self.steps != 1:
            raise UserError(
                f"Recipe {self.name} stores its data in 1 step, but has steps={self.steps}; leave it out."
            )
