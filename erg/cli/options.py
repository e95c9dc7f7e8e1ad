"""Parsers whose complaints are one line and exit with code 2."""

import argparse
from typing import NoReturn

from erg.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser for one command; a wrong option becomes a `UserError`.

    Args:
        command: Its name after ``erg``.
        description: What it does.
        examples: Shown under the help.
    """

    def __init__(self, command: str, description: str, examples: str = "") -> None:
        super().__init__(
            prog=f"erg {command}",
            description=description,
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage over several lines."""
        raise UserError(f"{self.prog}: {message}; see `{self.prog} --help`.")
