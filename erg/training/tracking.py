"""What a run writes down while it trains: metrics, events, pictures, histograms.

``metrics.jsonl`` and ``events.jsonl`` hold one JSON object per line, written whole by a single call, so
that a kill leaves no half of it visible. JSON knows no infinities: a number that is not finite is
written as the string "nan", "inf" or "-inf", which `float()` reads.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from erg.errors import UserError
from erg.training.board import Board
from erg.training.grids import grid, write_png

Number = float | int | Tensor


class Tracker:
    """Writes to a run folder: ``metrics.jsonl``, ``events.jsonl``, ``samples/``, ``tensorboard/``.

    Steps never decrease, also after a recovery. Log a step before its checkpoint is saved: what a
    resumed run finds of later steps is removed, because it will be written again.

    Args:
        folder: The run folder.
        resume_step: The step of the checkpoint from which the run goes on; None starts a new run.

    Raises:
        UserError: If the folder cannot be written, or a new run finds the metrics of another one.
    """

    def __init__(self, folder: Path | str, *, resume_step: int | None = None) -> None:
        self.folder = Path(folder)
        self._resume_step = resume_step
        self._metrics = _Lines(self.folder / "metrics.jsonl", resume_step)
        self._events = _Lines(self.folder / "events.jsonl", resume_step)
        self._opened: Board | None = None
        last = self._metrics.last
        self._started = time.monotonic() - (float(last.get("time", 0.0)) if last else 0.0)

    @property
    def seconds(self) -> float:
        """The time spent in this run, without what passed between a stop and a resume."""
        return time.monotonic() - self._started

    def scalars(self, step: int, values: Mapping[str, Number]) -> None:
        """One line of metrics, with "step" and "time" (seconds) in front.

        Args:
            step: The update, counted from 1.
            values: Numbers by name; slashes group them, as in "energy/data".
        """
        numbers = {name: _number(value) for name, value in values.items()}
        self._metrics.write({"step": step, "time": round(self.seconds, 3), **numbers})
        for name, number in numbers.items():
            self._board().scalar(step, name, number)

    def event(self, kind: str, step: int, fields: Mapping[str, Any] | None = None) -> None:
        """Something that happened once, such as a recovery.

        Args:
            kind: What happened.
            step: When.
            fields: Plain data or numbers in tensors.
        """
        fields = fields or {}
        self._events.write({"step": step, "kind": kind, **fields})
        text = ", ".join(f"{name}: {value}" for name, value in fields.items())
        self._board().text(step, f"event/{kind}", text)

    def images(self, step: int, name: str, x: Float[Tensor, "images channels height width"]) -> Path:
        """A grid of images in [-1, 1], grey or RGB.

        Returns:
            The PNG: ``samples/step_00000500.png`` for the name "samples", ``samples/NAME_00000500.png`` for others.
        """
        return self._picture(step, name, grid(x))

    def strip(self, step: int, name: str, x: Float[Tensor, "chains times channels height width"]) -> Path:
        """Chains on their way, one per row, time to the right. Returns the PNG, named as by `images`."""
        return self._picture(step, name, grid(x.flatten(0, 1), columns=x.shape[1]))

    def histogram(self, step: int, name: str, values: Float[Tensor, "..."]) -> None:
        """A histogram of the finite values."""
        finite = values.detach().float().flatten().cpu()
        finite = finite[finite.isfinite()]
        if len(finite):
            self._board().histogram(step, name, finite.numpy())

    def close(self) -> None:
        """Close the files. Nothing is lost without it."""
        self._metrics.close()
        self._events.close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _picture(self, step: int, name: str, picture: np.ndarray) -> Path:
        stem = "step" if name == "samples" else name.replace("/", "_")
        path = self.folder / "samples" / f"{stem}_{step:08d}.png"
        write_png(path, picture)
        self._board().picture(step, name, picture)
        return path

    def _board(self) -> Board:
        if self._opened is None:
            self._opened = Board(self.folder / "tensorboard", resume_step=self._resume_step)
        return self._opened


class _Lines:
    """A file of JSON objects, one per line, each with a "step"."""

    def __init__(self, path: Path, resume_step: int | None) -> None:
        self.path = path
        self.last: dict[str, Any] | None = None
        end = 0
        if path.exists():
            if resume_step is None and path.stat().st_size:
                raise UserError(f"{path} belongs to another run; resume that run or choose another folder.")
            for end_of_line, value in _parse(path):
                if value["step"] > (resume_step or 0):
                    break
                end, self.last = end_of_line, value
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.ftruncate(self._descriptor, end)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror}.") from error

    def write(self, value: Mapping[str, Any]) -> None:
        line = (json.dumps(_plain(value), allow_nan=False) + "\n").encode()
        assert self._descriptor is not None
        before = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError as error:
            os.ftruncate(self._descriptor, before)
            raise UserError(f"Cannot write {self.path}: {error.strerror}.") from error

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _parse(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Every whole line's object, with the position of the line's end."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    found, end = [], 0
    for line in content.splitlines(keepends=True):
        end += len(line)
        try:
            value = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(value, dict) or not isinstance(value.get("step"), int):
            break
        found.append((end, value))
    return found


def _number(value: Number) -> float | int:
    return value.item() if isinstance(value, Tensor) else value


def _plain(value: Any) -> Any:
    """Plain data that JSON can hold."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value
