"""What the config.yaml of a run folder may name, so that a run of a stranger can be opened.

A recipe makes objects, and making an object runs code. So a run folder that is not trusted may name
the classes and functions of erg's own roles, of the modules below, of torch.nn and of torch.optim, defined
there and not merely imported there, and nothing else. Only modules of erg and torch are imported to find that out.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from erg.errors import UserError

ROLES = (
    *("erg.energies", "erg.networks", "erg.negatives", "erg.objectives", "erg.roles", "erg.samplers"),
    *("erg.applications", "erg.training.rates", "erg.training.signals", "torch.nn", "torch.optim"),
)
_FREE_TEXT = (("name",), ("description",), ("data", "name"), ("data", "path"))
_WORD = re.compile(r"[\w<>=+-]*")

Place = tuple[str, ...]


def check_own(content: Any, path: Path) -> None:
    """Refuse a recipe that names anything else.

    Args:
        content: The recipe as plain data.
        path: Where it was read, for the sentence.

    Raises:
        UserError: With the first such name.
    """
    for place, text in _strings(content, ()):
        if not _harmless(place, text):
            raise UserError(
                f"{path} names {text!r} under {'.'.join(place)}, which is not one of erg's or torch's own classes, "
                "and is not run for that reason; if you trust this run, say --trust."
            )


def _strings(content: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _strings(value, (*place, str(key)))
    elif isinstance(content, list):
        for value in content:
            yield from _strings(value, place)
    elif isinstance(content, str):
        yield place, content


def _harmless(place: Place, text: str) -> bool:
    if place in _FREE_TEXT:
        return True
    if _WORD.fullmatch(text) and place[-1] != "class_path":
        return True
    return _is_own(text)


def _is_own(name: str) -> bool:
    """Whether a dotted name is that of a class or function which a role's own module defines."""
    if not name.startswith(tuple(f"{role}." for role in ROLES)):
        return False
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(__import__(module, fromlist=[attribute]), attribute)
    except (ImportError, AttributeError, ValueError):
        return False
    home = getattr(found, "__module__", None) or ""
    return isinstance(found, type | FunctionType) and f"{home}.".startswith(tuple(f"{role}." for role in ROLES))
