"""``erg sample``: draw samples from a run."""

from pathlib import Path

from erg.cli.options import Parser
from erg.errors import UserError

KINDS = (".png", ".npy", ".csv")


def run(arguments: list[str]) -> int:
    """Draw, write, print where; return 0."""
    parser = Parser(
        "sample",
        "Draw samples from a run's energy, from noise, with the recipe's sampler. A table's rows are written in the "
        "units of its file.",
        "  erg sample runs/demo -n 64\n  erg sample runs/demo -n 1000 --steps 500 --out samples.npy\n"
        "  erg sample runs/table -n 1000 --out samples.csv\n  erg sample runs/demo --checkpoint best",
    )
    parser.add_run()
    parser.add_checkpoint()
    parser.add_argument("-n", type=int, default=64, help="how many (default: 64)")
    parser.add_argument("--steps", type=int, help="transitions from noise (default: the recipe's)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the energy that is sampled (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the chains (default: 0)")
    parser.add_argument(
        "--out", type=Path, help="FILE.png, FILE.npy or FILE.csv (default: RUN/samples/drawn.png, or .npy)"
    )
    chosen = parser.parse_args(arguments)
    _check(chosen.n, chosen.steps, chosen.temperature, chosen.out)
    import torch

    from erg.cli.written import write_rows
    from erg.data import in_grey
    from erg.runs.model import open_model

    model = open_model(chosen.run, trust=chosen.trust, best=chosen.checkpoint == "best")
    domain = model.domain
    out = chosen.out or model.folder.samples / ("drawn.png" if domain.pictured else "drawn.npy")
    if out.suffix == ".png" and not domain.pictured:
        raise UserError(f"Samples of shape {domain.shape} are no pictures; use --out FILE.npy.")
    if out.suffix == ".csv" and len(domain.shape) != 1:
        raise UserError(f"Samples of shape {domain.shape} are no rows of a table; use --out FILE.npy.")
    rng = torch.Generator().manual_seed(chosen.seed)
    x = model.draw(chosen.n, rng=rng, steps=chosen.steps, temperature=chosen.temperature)
    x = in_grey(x, domain.support) if out.suffix == ".png" else model.in_own_units(x)
    write_rows(out, x, domain.columns)
    print(out)
    return 0


def _check(n: int, steps: int | None, temperature: float, out: Path | None) -> None:
    if n < 1 or (steps is not None and steps < 0) or not 0 < temperature < float("inf"):
        raise UserError(
            "`erg sample` needs -n of at least 1, --steps of at least 0 and a positive --temperature, but got "
            f"-n {n}, --steps {steps} and --temperature {temperature}."
        )
    if out is not None and out.suffix not in KINDS:
        raise UserError(f"Samples are written to FILE.png, FILE.npy or FILE.csv, but --out is {out}.")
