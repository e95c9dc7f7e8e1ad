"""``erg train``: a recipe, a file, one's own data, or a run that goes on."""

from pathlib import Path

from erg.cli.options import Parser
from erg.errors import UserError

EXAMPLES = """  erg train digits
  erg train mnist --steps 2000 --objective.negatives.steps 30 --out runs/short
  erg train images --data.path my_pictures/
  erg train table --data.path measurements.csv
  erg train my_recipe.yaml --print_config
  erg train --resume runs/mnist"""


def run(arguments: list[str]) -> int:
    """Train; return 0, or 130 when interrupted."""
    parser = Parser("train", "Train an energy as a recipe says. Any --a.b=c changes the recipe.", EXAMPLES)
    parser.add_argument("recipe", nargs="?", help="a name from `erg recipes`, or a YAML file")
    parser.add_argument("--out", type=Path, help="the run folder (default: runs/NAME)")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run; needs no recipe")
    parser.add_argument("--print_config", action="store_true", help="print the resolved recipe and stop")
    chosen, overrides = parser.parse_known_args(arguments)
    if chosen.resume is not None:
        if chosen.recipe is not None or overrides or chosen.out is not None:
            raise UserError("`erg train --resume RUN` takes no recipe and no other option: the run has its own.")
        return _resume(chosen.resume)
    if chosen.recipe is None:
        raise UserError("`erg train` needs a recipe; `erg recipes` lists them, `erg train --help` shows examples.")
    if chosen.print_config:
        from erg.runs.config import resolve

        print(resolve(chosen.recipe, overrides).text, end="")
        return 0
    return start(chosen.recipe, overrides, chosen.out)


def start(source: str, overrides: list[str], out: Path | None) -> int:
    """Train a new run in `out`, or in the first free folder below runs/; return the exit code."""
    from erg.cli.progress import carry_out
    from erg.runs.config import resolve
    from erg.runs.experiment import Experiment
    from erg.runs.folder import RunFolder, new_folder

    resolved = resolve(source, overrides)
    folder = RunFolder(out) if out is not None else new_folder(resolved.recipe.name, Path("runs"))
    return carry_out(Experiment(resolved.recipe, folder, config=resolved.text))


def _resume(path: Path) -> int:
    from erg.cli.progress import carry_out
    from erg.runs.config import reopen
    from erg.runs.experiment import Experiment
    from erg.runs.folder import RunFolder

    folder = RunFolder(path)
    folder.read()
    experiment = Experiment(reopen(folder.config).recipe, folder)
    print(f"Going on with {path} from step {experiment.step} of {experiment.recipe.steps}.")
    return carry_out(experiment)
