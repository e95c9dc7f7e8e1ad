"""``erg sample``: draw samples from a run."""

from pathlib import Path

from erg.cli.options import Parser
from erg.errors import UserError


def run(arguments: list[str]) -> int:
    """Draw, write, print where; return 0."""
    parser = Parser(
        "sample",
        "Draw samples from a run's energy, from noise, with the recipe's sampler.",
        "  erg sample runs/demo -n 64\n  erg sample runs/demo -n 1000 --steps 500 --out samples.npy",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("-n", type=int, default=64, help="how many (default: 64)")
    parser.add_argument("--steps", type=int, help="transitions from noise (default: the recipe's)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the energy that is sampled (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the chains (default: 0)")
    parser.add_argument("--out", type=Path, help="FILE.png or FILE.npy (default: RUN/samples/drawn.png)")
    chosen = parser.parse_args(arguments)
    _check(chosen.n, chosen.steps, chosen.temperature, chosen.out)
    import torch

    from erg.runs.evaluation import draw
    from erg.runs.model import open_model

    model = open_model(chosen.run)
    picture = len(model.shape) == 3
    out = chosen.out or model.folder.samples / ("drawn.png" if picture else "drawn.npy")
    if out.suffix == ".png" and not picture:
        raise UserError(f"Samples of shape {model.shape} are no pictures; use --out FILE.npy.")
    rng = torch.Generator().manual_seed(chosen.seed)
    x = draw(model, chosen.n, rng=rng, steps=chosen.steps, temperature=chosen.temperature)
    _write(out, x)
    print(out)
    return 0


def _check(n: int, steps: int | None, temperature: float, out: Path | None) -> None:
    if n < 1 or (steps is not None and steps < 0) or not 0 < temperature < float("inf"):
        raise UserError(
            "`erg sample` needs -n of at least 1, --steps of at least 0 and a positive --temperature, but got "
            f"-n {n}, --steps {steps} and --temperature {temperature}."
        )
    if out is not None and out.suffix not in (".png", ".npy"):
        raise UserError(f"Samples are written to FILE.png or FILE.npy, but --out is {out}.")


def _write(out: Path, x) -> None:
    import numpy as np

    from erg.files import write_atomically
    from erg.training.grids import grid, write_png

    if out.suffix == ".png":
        write_png(out, grid(x))
    else:
        write_atomically(out, lambda file: np.save(file, x.numpy()))
