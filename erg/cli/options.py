"""Parsers whose complaints are one line and exit with code 2, and options that several commands have."""

import argparse
from pathlib import Path
from typing import NoReturn

from erg.errors import UserError
from erg.nearest import hint


class Parser(argparse.ArgumentParser):
    """An argument parser for one command; a wrong option becomes a `UserError`.

    Args:
        command: Its name after ``erg``.
        description: What it does.
        examples: Shown under the help.
        usage: In place of the one that is made up.
    """

    def __init__(self, command: str, description: str, examples: str = "", *, usage: str | None = None) -> None:
        super().__init__(
            prog=f"erg {command}",
            usage=usage,
            description=description,
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_run(self) -> None:
        """The run folder that a command works on, and whether its classes are run."""
        self.add_argument("run", type=Path, metavar="RUN", help="a run folder")
        self.add_trust()

    def add_trust(self) -> None:
        """Whether classes that a run folder names are run."""
        self.add_argument(
            "--trust", action="store_true", help="run the classes that the run names even if they are not erg's own"
        )

    def add_checkpoint(self) -> None:
        """Which weights of a run are meant."""
        self.add_argument(
            "--checkpoint",
            choices=("last", "best"),
            default="last",
            help="weights at the end of training, or at the look with the best samples (default: last)",
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage over several lines."""
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if unknown and not message.startswith(unknown[0]) and unknown[0].startswith("-"):
            known = [option for action in self._actions for option in action.option_strings]
            raise UserError(f"{self.prog} has no option {unknown[0]}{hint(unknown[0], known) or self._see()}")
        raise UserError(f"{self.prog}: {message}{self._see()}")

    def _see(self) -> str:
        return f"; see `{self.prog} --help`."
