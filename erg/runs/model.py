"""From a recipe to an energy, and back from a run folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erg.data import Dataset
from erg.energies.energy import Energy
from erg.energies.neural import Neural
from erg.errors import UserError
from erg.evaluation.likelihood import check_likelihood
from erg.negatives import Tuned
from erg.roles import Kernel, StartsAtData
from erg.runs.config import reopen
from erg.runs.domain import Domain
from erg.runs.folder import RunFolder
from erg.runs.recipe import Recipe
from erg.samplers.chain import sample
from erg.samplers.discrete.gibbs import BlockGibbs
from erg.samplers.discrete.layers import AllLayers
from erg.samplers.gibbs_langevin import GibbsLangevin
from erg.samplers.schedules import with_setting
from erg.support import Binary, Support
from erg.training.checkpoint import Checkpoints
from erg.training.export import export_energy, load_energy, load_weights
from erg.training.scaling import scaled
from erg.training.state import reachable

TOGETHER = 500
LAST = "use --checkpoint last"


@dataclass(frozen=True)
class Model:
    """A trained energy with what is needed to use it.

    Args:
        energy: With the averaged weights, in evaluation mode.
        recipe: What it was made by.
        kernel: Draws samples from noise, together with ``recipe.sampler.steps``.
        domain: What its rows are.
        folder: Where its samples and figures go: the run folder, or the part of it that is for the best checkpoint.
        best_step: Updates behind the weights of the best checkpoint; None for those of the last.
    """

    energy: Energy
    recipe: Recipe
    kernel: Kernel
    domain: Domain
    folder: RunFolder
    best_step: int | None = None

    def draw(
        self, count: int, *, rng: torch.Generator, steps: int | None = None, temperature: float = 1.0
    ) -> Float[Tensor, "count *event"]:
        """Samples from noise, in batches that bound the memory.

        Args:
            count: How many.
            rng: The only source of randomness.
            steps: Transitions; the recipe's when left out.
            temperature: Of the energy that is sampled.

        Raises:
            UserError: If the kernel draws whole layers, which have no other temperature.
        """
        energy = self.energy
        if temperature != 1:
            if isinstance(self.kernel, BlockGibbs | AllLayers | GibbsLangevin):
                raise UserError(
                    f"{type(self.kernel).__name__}, the kernel of this run, draws at temperature 1 only, but got "
                    f"{temperature:g}; leave it out."
                )
            energy = energy / temperature
        steps = self.recipe.sampler.steps if steps is None else steps
        parts = []
        for first in range(0, count, TOGETHER):
            start = energy.support.initial((min(TOGETHER, count - first), *self.domain.shape), rng)
            parts.append(sample(self.kernel, energy, start, steps, rng))
        return torch.cat(parts)

    def data(self) -> Dataset:
        """The rows it was trained on, and those held out.

        Raises:
            UserError: If they are gone, or of another shape by now.
        """
        data = self.recipe.load()
        if data.shape != self.domain.shape:
            raise UserError(
                f"This run scores events of shape {self.domain.shape}, but its data now have shape {data.shape}; "
                "put the data back that it was trained on."
            )
        return data

    def in_own_units(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
        """Rows as the data file has them: a table that was standardised goes back to its units, in float64."""
        return x if self.domain.scaling is None else self.domain.scaling.undo(x)


def use_threads(recipe: Recipe) -> None:
    """Give tensor operations of this process as many threads as the recipe says."""
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)


def build_energy(recipe: Recipe, shape: tuple[int, ...], support: Support) -> Energy:
    """The recipe's network as an energy on the data's support, with fresh weights.

    Raises:
        UserError: If the network does not take events of this shape.
    """
    try:
        network = recipe.network(shape)
    except (ValueError, TypeError) as error:
        raise UserError(f"The network of recipe {recipe.name} does not fit these data: {error}") from error
    return network if isinstance(network, Energy) else Neural(network, support=support)


def check_support(energy: Energy, data: Dataset) -> None:
    """Refuse data outside of the set on which the energy is defined.

    Raises:
        UserError: If so.
    """
    outside = sum(int((~energy.support.contains(split.x)).sum()) for split in (data.train, data.held_out))
    if outside:
        bits = isinstance(energy.support, Binary) and not isinstance(data.support, Binary)
        raise UserError(
            f"This recipe's energy lives on {energy.support}, but {outside} rows of {data.name} do not; "
            + ("set data.binarise=0.5." if bits else "choose another network or other data.")
        )


def check_figures(recipe: Recipe, energy: Energy) -> None:
    """Refuse a recipe that asks for a likelihood of an energy that has none.

    Raises:
        UserError: If so.
    """
    if recipe.likelihood.enabled:
        try:
            check_likelihood(energy)
        except TypeError as error:
            reason = str(error).partition(";")[0]
            raise UserError(f"{reason}; set likelihood.enabled to false.") from error


def start_at_data(energy: Energy, x: Float[Tensor, "rows *event"]) -> None:
    """Set what can be read off the training rows before training, in every part of the energy.

    Raises:
        UserError: If a part cannot learn from such rows.
    """
    started: set[nn.Module] = set()
    for part in energy.modules():
        if isinstance(part, StartsAtData) and part not in started:
            # What is inside of it is its own affair.
            started.update(part.modules())
            try:
                part.start_at(x)
            except ValueError as error:
                raise UserError(f"{type(energy).__name__} cannot be trained on these data: {error}") from error


def build_optimizer(recipe: Recipe, energy: Energy) -> torch.optim.Optimizer:
    """The recipe's optimiser over the energy's parameters.

    Raises:
        UserError: If it refuses its settings.
    """
    try:
        return recipe.optimizer(energy.parameters())
    except (ValueError, TypeError) as error:
        raise UserError(f"The optimizer of recipe {recipe.name} cannot be made: {error}.") from error


def sampling_kernel(recipe: Recipe) -> Kernel:
    """The kernel that the recipe samples with: its own, or the one of its negatives as it is by now.

    Raises:
        UserError: If there is neither.
    """
    if recipe.sampler.kernel is not None:
        return recipe.sampler.kernel
    for _, holder in reachable(recipe.objective):
        if isinstance(holder, Tuned):
            return holder.corrected
        if isinstance(getattr(holder, "kernel", None), Kernel):
            return holder.kernel
    raise UserError(f"Recipe {recipe.name} has no kernel to sample with; set sampler.kernel.")


def tuned_settings(recipe: Recipe) -> dict[str, float]:
    """What `Tuned` multiplies a setting of the sampling kernel by, by its name; empty where nothing is tuned."""
    for _, holder in reachable(recipe.objective):
        if isinstance(holder, Tuned):
            return {holder.tuning.setting: holder.factor}
        if isinstance(getattr(holder, "kernel", None), Kernel):
            break
    return {}


def export_model(
    folder: RunFolder, energy: Energy, domain: Domain, *, step_size_factor: float, tuned: Mapping[str, float]
) -> None:
    """Write the weights of a run, and what is needed to use them. Figures of former weights are removed.

    Args:
        folder: Of the run.
        energy: Its averaged energy.
        domain: What its rows are.
        step_size_factor: What the guard has made of the step size: the energy was shaped by chains that went so far.
        tuned: What `Tuned` has made of a setting, see `tuned_settings`.
    """
    folder.forget_figures()
    export_energy(
        folder.weights, energy, domain.to_json() | {"step_size_factor": step_size_factor, "tuned": dict(tuned)}
    )


def open_model(path: Path | str, *, trust: bool = False, best: bool = False) -> Model:
    """The model of a run folder.

    Args:
        path: The run folder.
        trust: Run the classes it names even if they are neither erg's nor torch's.
        best: Take the weights of the best checkpoint in place of the exported ones, which are the last.

    Raises:
        UserError: If this is not a run folder or one of an older format, it has no exported weights or no best
            checkpoint yet, or names foreign classes.
    """
    folder = RunFolder(Path(path))
    state = folder.read()
    if not folder.exported:
        raise UserError(
            f"{path} has no trained energy yet (its run is {state['status']} at step {state['step']} of "
            f"{state['steps']}); go on with `erg train --resume {path}`."
        )
    recipe = reopen(folder.config, trust=trust).recipe
    use_threads(recipe)
    found: list[tuple[Domain, float, dict[str, float]]] = []

    def build(config: dict[str, Any]) -> Energy:
        domain = Domain.from_json(config)
        found.append((domain, *_factors(config, folder.weights.with_suffix(".json"))))
        return build_energy(recipe, domain.shape, domain.support)

    advice = f"remove it, and `erg train --resume {path}` writes it again from the last checkpoint"
    energy = load_energy(folder.weights, build, advice=advice).requires_grad_(False)
    domain, factor, tuned = found[0]
    step = None
    if best:
        payload = _best(folder)
        step = payload["step"]
        factor, tuned = _factors(payload, Checkpoints(folder.checkpoints).best)
        load_weights(energy, payload["energy"], Checkpoints(folder.checkpoints).best, advice=LAST)
        folder = folder.best
    kernel = sampling_kernel(recipe)
    if recipe.sampler.kernel is None:
        kernel = scaled(kernel, factor)
        for name, times in tuned.items():
            kernel = with_setting(kernel, name, partial(mul, times))
    return Model(energy, recipe, kernel, domain, folder, step)


def _best(folder: RunFolder) -> dict[str, Any]:
    checkpoints = Checkpoints(folder.checkpoints)
    if not checkpoints.best.exists():
        raise UserError(f"{folder.path} has no best checkpoint: no look at its samples found any to judge; {LAST}.")
    return checkpoints.load_best()


def _factors(content: Mapping[str, Any], file: Path) -> tuple[float, dict[str, float]]:
    """What guard and `Tuned` had made of the step size when the file was written."""
    try:
        return float(content["step_size_factor"]), dict(content["tuned"])
    except KeyError as error:
        raise UserError(
            f"{file} is of an older format: it does not say {error}; use the version of erg that wrote it, or train "
            "again."
        ) from error
