"""The folder of a run: where everything is, and what may be read.

::

    RUN/
      run.json            format, versions, name, seed, status, step
      config.yaml         the resolved recipe
      metrics.jsonl       one JSON object a logged step; validation lines among them
      events.jsonl        recoveries and what else happened
      checkpoints/        last.pt, previous.pt, best.pt
      energy.safetensors  averaged weights, with energy.json
      samples/            grids a validation, final.png, chain.png, samples.npy
      scores.npz          energies of data, samples, noise and other sets
      evaluation.json     metrics with errors and goals
      diagnosis.json      whether long chains from data and from noise meet; traces in diagnosis.npz
      tensorboard/
      report.html
      best/               samples/, scores.npz and evaluation.json of the best checkpoint, once it is asked for
"""

import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import erg
from erg.errors import UserError
from erg.files import write_json, write_text

FORMAT = 1
PACKAGES = ("torch", "numpy", "scikit-learn", "lightning-fabric")


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved recipe."""
        return self.path / "config.yaml"

    @property
    def weights(self) -> Path:
        """The exported, averaged weights."""
        return self.path / "energy.safetensors"

    @property
    def exported(self) -> bool:
        """Whether there are weights, and what says how to rebuild the energy."""
        return self.weights.exists() and self.weights.with_suffix(".json").exists()

    @property
    def scores(self) -> Path:
        """Energies of data, samples, noise and other sets."""
        return self.path / "scores.npz"

    @property
    def evaluation(self) -> Path:
        """Metrics with errors and goals."""
        return self.path / "evaluation.json"

    @property
    def diagnosis(self) -> Path:
        """Whether long chains from data and from noise meet."""
        return self.path / "diagnosis.json"

    @property
    def traces(self) -> Path:
        """The summaries of those chains, step by step."""
        return self.path / "diagnosis.npz"

    @property
    def samples(self) -> Path:
        """Pictures and arrays of samples."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """last.pt, previous.pt, best.pt."""
        return self.path / "checkpoints"

    @property
    def best(self) -> "RunFolder":
        """Where samples, scores and figures of the best checkpoint are, apart from those of the last."""
        return RunFolder(self.path / "best")

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    def refuse_used(self) -> None:
        """Refuse a path at which there is something already.

        Raises:
            UserError: If so.
        """
        try:
            used = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        except OSError as error:
            raise UserError(f"Cannot look into {self.path}: {error.strerror}; choose another --out.") from error
        if used:
            hint = f", or go on with `erg train --resume {self.path}`" if (self.path / "run.json").exists() else ""
            raise UserError(f"{self.path} exists and is not empty; choose another --out{hint}.")

    def create(self, name: str, seed: int, steps: int, config: str) -> None:
        """Make the folder of a new run.

        Raises:
            UserError: If there is something at this path already, or it cannot be written.
        """
        self.refuse_used()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot make the run folder {self.path}: {error.strerror}; choose another --out."
            ) from error
        write_text(self.config, config)
        self._write(
            {
                "format": FORMAT,
                "erg": erg.__version__,
                "name": name,
                "seed": seed,
                "status": "running",
                "step": 0,
                "steps": steps,
                "seconds": 0.0,
                "started": _now(),
                "updated": _now(),
                "versions": {"python": platform.python_version()}
                | {package: version(package) for package in PACKAGES},
            }
        )

    def read(self) -> dict[str, Any]:
        """run.json.

        Raises:
            UserError: If this is not a run folder, or one of another format version.
        """
        try:
            state = json.loads((self.path / "run.json").read_text())
        except FileNotFoundError:
            hint = "; `erg runs` lists those that exist" if not self.path.exists() else ""
            raise UserError(f"{self.path} is not a run folder: it has no run.json{hint}.") from None
        except NotADirectoryError:
            raise UserError(f"A run folder is asked for, but {self.path} is a file.") from None
        except (OSError, ValueError) as error:
            raise UserError(f"Cannot read {self.path / 'run.json'}: {error}.") from error
        found = state.get("format") if isinstance(state, dict) else None
        if found != FORMAT:
            raise UserError(
                f"{self.path} has run format {found}, but this erg reads format {FORMAT}; "
                "use the version of erg that wrote it."
            )
        return state

    def forget_figures(self) -> None:
        """Remove what was found out about weights that are no more."""
        for judged in (self.evaluation, self.scores, self.diagnosis, self.traces):
            judged.unlink(missing_ok=True)

    def update(self, **changes: Any) -> None:
        """Change entries of run.json."""
        self._write(self.read() | changes | {"updated": _now()})

    def _write(self, state: dict[str, Any]) -> None:
        write_json(self.path / "run.json", state)


def new_folder(name: str, root: Path) -> RunFolder:
    """The first free folder for a run: root/name, root/name-2, ..."""
    path, number = root / name, 1
    while path.exists():
        number += 1
        path = root / f"{name}-{number}"
    return RunFolder(path)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
