"""The command ``erg``. Nothing heavy is imported before a command runs, so that help answers at once."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import erg
from erg.errors import UserError
from erg.nearest import hint

COMMANDS = {
    "demo": "train on scikit-learn's digits in two minutes, and write a report",
    "train": "train a recipe, a recipe file, or one's own images or table; or go on with a run",
    "sample": "draw samples from a run",
    "restore": "complete images and rows of which a part is missing",
    "score": "energies and percentiles of files",
    "evaluate": "judge a run's samples and energies",
    "diagnose": "run long chains from data and from noise, and say whether they meet",
    "report": "write a run's report.html",
    "runs": "list and compare runs",
    "recipes": "list the recipes",
    "data": "list the data sets",
    "doctor": "versions, devices, threads, compiler, data",
}
TRACEBACK = "ERG_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 when goals were missed, 2 for a mistake, 130 for Ctrl-C.

    A mistake is one line on stderr. With the environment variable ``ERG_TRACEBACK`` set, it is raised.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except KeyboardInterrupt as error:
        _complain(str(error) or "interrupted.")
        return 130
    except BrokenPipeError:
        # A reader such as `head` has enough: not an error. The descriptor is replaced so that the
        # interpreter's last flush does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        _complain(_sentence(error))
        return 2


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name in COMMANDS:
        return import_module(f"erg.cli.{name}").run(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="erg",
        description="Energy-based models: define an energy, train it, sample it, evaluate it, use it.",
        epilog="\n".join(["commands:", *(f"  {command:<9} {text}" for command, text in COMMANDS.items())])
        + "\n\n`erg COMMAND --help` shows a command's options. Begin with `erg demo`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="erg COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"erg {erg.__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    if name.startswith("-") and name not in ("-h", "--help", "--version"):
        raise UserError(f"A command comes first, but got {name!r}; `erg --help` lists the commands.")
    if not name or name.startswith("-"):
        parser.parse_args(arguments[:1])
        parser.print_help()
        return 0
    raise UserError(f"There is no command {name!r}{hint(name, COMMANDS) or '; `erg --help` lists them.'}")


def _complain(sentence: str) -> None:
    print(f"erg: {' '.join(sentence.split())}", file=sys.stderr)


def _sentence(error: Exception) -> str:
    """What went wrong, for one line. Only what erg itself foresaw is a sentence by itself."""
    if isinstance(error, UserError) or type(error).__name__ == "DivergenceError":
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}."
    return f"{str(error) or 'no reason was given'} ({type(error).__name__}; {TRACEBACK}=1 shows where)."
