"""Weights to share: safetensors, with what is needed to rebuild the energy in a JSON file beside it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from erg.errors import UserError
from erg.files import write_atomically, write_json

FORMAT = 1
Module = TypeVar("Module", bound=nn.Module)


def export_energy(path: Path | str, energy: nn.Module, config: Mapping[str, Any]) -> None:
    """Write the weights to `path` and the configuration to the `.json` beside it, each atomically.

    Tied tensors are written once; `safetensors.torch.load_model` reads the file, too.

    Args:
        path: Ends with ``.safetensors``.
        energy: Whose parameters and buffers are written, as float32 or whatever they are; or its `exported_state`, if
            it has a standard form of its own.
        config: Plain data from which `load_energy` rebuilds the energy.

    Raises:
        UserError: If the disk is full or the folder cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    kept: dict[tuple[Any, ...], str] = {}
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in _shared(energy).items():
        first = kept.setdefault(_place(tensor, name), name)
        if first == name:
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        else:
            tied[name] = first
    content = save(tensors, metadata={"format": "pt", **tied})
    write_json(path.with_suffix(".json"), {"format": FORMAT, "config": dict(config)})
    write_atomically(path, lambda file: file.write(content))


def load_energy(
    path: Path | str, build: Callable[[dict[str, Any]], Module], *, advice: str = "export it again"
) -> Module:
    """Rebuild an exported energy, in evaluation mode, on the CPU.

    Args:
        path: Ends with ``.safetensors``.
        build: From the configuration to an energy with weights of any value.
        advice: What to do about a file that cannot be used; the end of the sentence that says so.

    Raises:
        UserError: If a file is missing or damaged, has another format, or does not fit the energy built.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    energy = build(_config(path.with_suffix(".json"), advice))
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            tied = {name: first for name, first in (file.metadata() or {}).items() if name != "format"}
    except FileNotFoundError as error:
        raise UserError(f"There are no weights at {path}; train first.") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as weights ({error}); {advice}.") from error
    weights |= {name: weights[first] for name, first in tied.items()}
    load_weights(energy, weights, path, advice=advice)
    return energy.eval()


def load_weights(energy: nn.Module, weights: Mapping[str, Tensor], path: Path, *, advice: str) -> None:
    """Put weights from a file into an energy.

    Args:
        energy: Whose weights are changed.
        weights: By name.
        path: Where they were read, for the sentence that says what is wrong.
        advice: The end of that sentence.

    Raises:
        UserError: If they do not fit.
    """
    try:
        energy.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit the energy of its run ({reason}); {advice}.") from error


def _shared(energy: nn.Module) -> Mapping[str, Tensor]:
    exported: Mapping[str, Tensor] = getattr(energy, "exported_state", energy.state_dict)()
    return exported


def _place(tensor: Tensor, name: str) -> tuple[Any, ...]:
    """Where the tensor lies in memory; tied tensors lie at the same place."""
    if tensor.numel() == 0:
        return (name,)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _config(path: Path, advice: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        found, config = content["format"], content["config"]
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}, which says how to rebuild the energy; {advice}.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not say how to rebuild an energy ({error}); {advice}.") from error
    if found != FORMAT:
        raise UserError(f"{path} has format {found}, but this version of erg reads format {FORMAT}; {advice}.")
    return config
