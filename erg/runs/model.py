"""From a recipe to an energy, and back from a run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from erg.energies.energy import Energy
from erg.energies.neural import Neural
from erg.errors import UserError
from erg.roles import Kernel
from erg.runs.config import reopen
from erg.runs.folder import RunFolder
from erg.runs.recipe import Recipe
from erg.support import Box, Real, Support
from erg.training.export import load_energy
from erg.training.state import reachable


@dataclass(frozen=True)
class Model:
    """A trained energy with what is needed to use it.

    Args:
        energy: With the averaged weights, in evaluation mode.
        recipe: What it was made by.
        kernel: Draws samples from noise, together with ``recipe.sampler.steps``.
        shape: The event shape.
        folder: Where it came from.
    """

    energy: Energy
    recipe: Recipe
    kernel: Kernel
    shape: tuple[int, ...]
    folder: RunFolder


def build_energy(recipe: Recipe, shape: tuple[int, ...], support: Support) -> Energy:
    """The recipe's network as an energy on the data's support, with fresh weights.

    Raises:
        UserError: If the network does not take events of this shape.
    """
    try:
        network = recipe.network(shape)
    except ValueError as error:
        raise UserError(f"The network of recipe {recipe.name} does not fit these data: {error}") from error
    return network if isinstance(network, Energy) else Neural(network, support=support)


def sampling_kernel(recipe: Recipe) -> Kernel:
    """The kernel that the recipe samples with: its own, or the one of its negatives.

    Raises:
        UserError: If there is neither.
    """
    if recipe.sampler.kernel is not None:
        return recipe.sampler.kernel
    for _, holder in reachable(recipe.objective):
        if isinstance(getattr(holder, "kernel", None), Kernel):
            return holder.kernel
    raise UserError(f"Recipe {recipe.name} has no kernel to sample with; set sampler.kernel.")


def described(recipe: Recipe, shape: tuple[int, ...], support: Support) -> dict[str, Any]:
    """What is written beside the weights, so that the energy can be rebuilt without its data."""
    box = [support.low, support.high] if isinstance(support, Box) else None
    return {"name": recipe.name, "shape": list(shape), "support": type(support).__name__, "box": box}


def open_model(path: Path | str) -> Model:
    """The model of a run folder.

    Raises:
        UserError: If this is not a run folder, or it has no exported weights yet.
    """
    folder = RunFolder(Path(path))
    state = folder.read()
    if not folder.weights.exists():
        raise UserError(
            f"{path} has no trained energy yet (its run is {state['status']} at step {state['step']} of "
            f"{state['steps']}); go on with `erg train --resume {path}`."
        )
    recipe = reopen(folder.config).recipe
    found: dict[str, Any] = {}

    def build(config: dict[str, Any]) -> nn.Module:
        found.update(config)
        return build_energy(recipe, tuple(config["shape"]), _support(config))

    energy = load_energy(folder.weights, build)
    assert isinstance(energy, Energy)
    return Model(energy.requires_grad_(False), recipe, sampling_kernel(recipe), tuple(found["shape"]), folder)


def _support(config: dict[str, Any]) -> Support:
    if config["support"] == "Box":
        return Box(*config["box"])
    if config["support"] == "Real":
        return Real()
    raise UserError(f"This run's energy lives on {config['support']}, which this erg cannot rebuild.")
