"""``erg train``: a recipe, a file, one's own data, or a run that goes on."""

from pathlib import Path
from typing import TYPE_CHECKING

from erg.cli.options import Parser
from erg.errors import UserError

if TYPE_CHECKING:
    from erg.runs.folder import RunFolder

USAGE = """erg train RECIPE [--out RUN] [--a.b=c ...]
       erg train RECIPE --help | --print_config
       erg train --resume RUN"""
EXAMPLES = """  erg train digits
  erg train mnist --steps 2000 --optimizer.lr 2e-4 --out runs/short
  erg train images --data.path my_pictures/
  erg train table --data.path measurements.csv
  erg train my_recipe.yaml --seed 1 --device cpu
  erg train --resume runs/mnist"""
COMMON = """Every value of a recipe is an option; `erg train RECIPE --help` lists them.
Often used:
  --data.path PATH      a folder of pictures, IDX, .npy, .npz or .csv
  --steps N             updates
  --batch_size N        data rows an update
  --seed N              seeds weights, data order and chains
  --device DEVICE       auto, cpu, cuda or mps
"""


def run(arguments: list[str]) -> int:
    """Train; return 0, 1 when a goal was missed, or 130 when interrupted."""
    named = bool(arguments) and not arguments[0].startswith("-")
    if named and {"-h", "--help"} & set(arguments):
        from erg.runs.options import help_text

        print(help_text(arguments[0]), end="")
        return 0
    parser = _parser()
    chosen, overrides = parser.parse_known_args(arguments[1:] if named else arguments)
    source = arguments[0] if named else None
    if chosen.resume is not None:
        if source is not None or overrides or chosen.out is not None:
            raise UserError("`erg train --resume RUN` takes no recipe and no other option: the run has its own.")
        return _resume(chosen.resume, trust=chosen.trust)
    if source is None:
        raise UserError(
            "`erg train` needs a recipe as its first word; `erg recipes` lists them, and `erg train --help` "
            "shows examples."
        )
    if chosen.print_config:
        from erg.runs.config import resolve

        print(resolve(source, overrides).text, end="")
        return 0
    return start(source, overrides, chosen.out)


def start(source: str, overrides: list[str], out: Path | None) -> int:
    """Train a new run in `out`, or in the first free folder below runs/; return the exit code."""
    from erg.cli.carry_out import carry_out
    from erg.runs.config import resolve
    from erg.runs.folder import RunFolder, new_folder
    from erg.runs.storing import begin

    resolved = resolve(source, overrides)
    folder = RunFolder(out) if out is not None else new_folder(resolved.recipe.name, Path("runs"))
    folder.refuse_used()
    # The user named the recipe, so its classes are trusted.
    return carry_out(
        lambda say: begin(resolved.recipe, folder, config=resolved.text, say=say),
        trust=True,
        notes=resolved.notes,
    )


def _resume(path: Path, *, trust: bool) -> int:
    from erg.cli.carry_out import carry_out, finish
    from erg.runs.config import reopen
    from erg.runs.folder import RunFolder
    from erg.runs.storing import begin

    folder = RunFolder(path)
    state = folder.read()
    if state["status"] in ("finished", "stopped"):
        if not folder.exported:
            _export_again(folder, state["status"], trust=trust)
        print(f"{path} is {state['status']} at step {state['step']} of {state['steps']}: there is nothing to train.")
        if folder.evaluation.exists() and folder.report.exists():
            print(f"Report: {folder.report}")
            return 0
        return finish(path, trust=trust)
    recipe = reopen(folder.config, trust=trust).recipe
    return carry_out(lambda say: begin(recipe, folder, say=say), trust=trust)


def _export_again(folder: "RunFolder", status: str, *, trust: bool) -> None:
    """Write the weights of a finished run from its last checkpoint."""
    from erg.runs.config import reopen
    from erg.runs.recipe import StoredRecipe
    from erg.runs.storing import begin

    recipe = reopen(folder.config, trust=trust).recipe
    if not isinstance(recipe, StoredRecipe) and not folder.checkpoints.is_dir():
        raise UserError(f"{folder.path} has neither its weights nor a checkpoint; train it anew.")
    experiment = begin(recipe, folder, say=print)
    experiment.status = status
    experiment.conclude()
    print(f"Weights written again: {folder.weights}")


def _parser() -> Parser:
    parser = Parser("train", f"Train an energy as a recipe says.\n\n{COMMON}", EXAMPLES, usage=USAGE)
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="the new run folder (default: runs/NAME, runs/NAME-2 ...)"
    )
    parser.add_argument("--print_config", action="store_true", help="print the resolved recipe and stop")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run; needs no recipe")
    parser.add_trust()
    return parser
