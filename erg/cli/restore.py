"""``erg restore``: complete images and rows."""

from pathlib import Path

from erg.cli.options import Parser
from erg.errors import UserError

KINDS = (".png", ".npy", ".csv")


def run(arguments: list[str]) -> int:
    """Restore, write, print where; return 0."""
    parser = Parser(
        "restore",
        "Complete what is missing in images or rows: the rest is held, and the run's energy draws the missing part. "
        "A picture shows every input with its missing part in grey, one draw, and the mean over the chain.",
        "  erg restore runs/rbm-mnist digit.png --mask lower\n"
        "  erg restore runs/rbm-mnist digits.npy --mask mask.png --out restored.npy\n"
        "  erg restore runs/rbm-mnist digits/ --mask right --steps 2000 --seed 1",
    )
    parser.add_run()
    parser.add_checkpoint()
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IMAGE", help="files or folders of the run's shape")
    parser.add_argument(
        "--mask",
        required=True,
        help="what is missing: upper, lower, left, right, or a file of the run's shape: white, or 1 in an array",
    )
    parser.add_argument("--steps", type=int, default=1000, help="transitions over which the mean is taken")
    parser.add_argument("--seed", type=int, default=0, help="of the chains (default: 0)")
    parser.add_argument(
        "--mean", action="store_true", help="write the means to --out FILE.npy or .csv, not the draws"
    )
    parser.add_argument(
        "--out", type=Path, help="FILE.png, FILE.npy or FILE.csv (default: RUN/samples/restored.png, or .npy)"
    )
    chosen = parser.parse_args(arguments)
    if chosen.steps < 1:
        raise UserError(f"`erg restore` needs --steps of at least 1, but got {chosen.steps}.")
    if chosen.out is not None and chosen.out.suffix not in KINDS:
        raise UserError(f"Rows are written to FILE.png, FILE.npy or FILE.csv, but --out is {chosen.out}.")
    import torch

    from erg.cli.written import write_rows
    from erg.data import in_grey, read_inputs
    from erg.runs.model import open_model
    from erg.runs.restoring import mask_of, restore

    model = open_model(chosen.run, trust=chosen.trust, best=chosen.checkpoint == "best")
    domain = model.domain
    out = chosen.out or model.folder.samples / ("restored.png" if domain.pictured else "restored.npy")
    if out.suffix == ".png" and not domain.pictured:
        raise UserError(f"Rows of shape {domain.shape} are no pictures; use --out FILE.npy.")
    if out.suffix == ".csv" and len(domain.shape) != 1:
        raise UserError(f"Rows of shape {domain.shape} are no rows of a table; use --out FILE.npy.")
    missing = mask_of(chosen.mask, domain.shape)
    x, _ = read_inputs(
        chosen.inputs, domain.shape, scaling=domain.scaling, columns=domain.columns, threshold=domain.threshold
    )
    rng = torch.Generator().manual_seed(chosen.seed)
    found = restore(model, x, missing, steps=chosen.steps, rng=rng)
    if out.suffix != ".png":
        write_rows(out, model.in_own_units(found.mean if chosen.mean else found.sample), domain.columns)
    else:
        given, sample, mean = (in_grey(rows, domain.support) for rows in (x, *found))
        shown = torch.stack([torch.where(missing, 0.0, given), sample, mean], 1)
        write_rows(out, shown.flatten(0, 1), None, across=3 * max(1, round((len(x) / 3) ** 0.5)))
    print(out)
    return 0
