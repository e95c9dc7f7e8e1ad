"""What jsonargparse says of a mistake in a recipe, said in one sentence with the nearest name."""

import inspect
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from erg.nearest import hint

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_PLACE = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"given class_path '([^']+)'")
_REFUSED = re.compile(r"Option '([^']+)' is not accepted")
_WRAPPING = re.compile(r"""Parser key "[^"]+": |Problem with given class_path '[^']+': """)
_KIND = re.compile(r"Expected an? <class '([^']+)'>\.? Got value: (.*)")
_SEQUENCE = re.compile(r"Expected an? <class '(?:tuple|list)'>")
_CALLABLE = re.compile(r"Type \S*Callable\[.*?\] expects a function or a callable class: (.*?)(?:\. Got value: .*)?$")
_NO_PATH = re.compile(r"Expected a dot import path string: (\S+?)\.?")
_UNION = re.compile(r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] .*Given value: (.*)")
_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_NO_ATTRIBUTE = re.compile(r"module '([^']+)' has no attribute '([^']+)'")


def sentence(
    error: Exception, source: str, *, options: "ArgumentParser", content: dict[str, Any], overrides: list[str]
) -> str:
    """One sentence for a user.

    Args:
        error: What was raised while the recipe was read.
        source: How the user called the recipe.
        options: The parser that read it.
        content: The recipe before the overrides.
        overrides: Options from the command line.
    """
    message = " ".join(str(error).split()) or type(error).__name__
    known = _known(options)
    for option in _given(content, overrides):
        if not _exists(option, known, content):
            return _no_option(source, option, known)
    place = ".".join(_PLACE.findall(message))
    refused = _REFUSED.search(message)
    if refused:
        accepted = _accepted(_CLASS.findall(message) or _configured(content, place))
        return _no_option(source, f"{place}.{refused[1]}", [f"{place}.{name}" for name in accepted])
    return f"Recipe {source} cannot be used: {place + ': ' if place else ''}{_plain(_WRAPPING.sub('', message))}"


def _no_option(source: str, option: str, known: Iterable[str]) -> str:
    found = hint(option, known)
    return f"Recipe {source} has no option {option!r}{found or f'; `erg train {source} --help` lists them.'}"


def _plain(message: str) -> str:
    """The innermost reason, without the types of Python."""
    if found := _CALLABLE.search(message):
        message = found[1]
    if found := _KIND.search(message):
        return f"expected {found[1]}, but got {found[2]!r}."
    if found := _NO_PATH.fullmatch(message):
        return f"expected a class such as erg.networks.ConvNet or torch.optim.Adam, but got {found[1]!r}."
    if _SEQUENCE.search(message):
        return "expected a list such as [32, 64]."
    if found := _UNION.search(message):
        kinds = ["nothing (null)" if kind == "NoneType" else kind for kind in _TYPE.findall(found[1])]
        return f"expected {' or '.join(kinds)}, but got {found[2]!r}."
    if found := _NO_ATTRIBUTE.search(message):
        return f"there is no {found[1]}.{found[2]}{hint(found[2], _public(found[1]))}"
    return message if message.endswith((".", "?")) else f"{message}."


def _known(options: "ArgumentParser") -> list[str]:
    return sorted(options.get_defaults(skip_validation=True).keys(branches=True))


def _exists(option: str, known: list[str], content: dict[str, Any]) -> bool:
    """Whether an option is one of the parser's own, or may be one of a class that a key names."""
    if option in known or option.endswith(".help"):
        return True
    parent = option
    while "." in parent:
        parent = parent.rpartition(".")[0]
        if parent in known:
            # Below a class or a mapping the class decides, elsewhere the parser knows all there is.
            return not any(name.startswith(f"{parent}.") for name in known)
    return False


def _given(content: dict[str, Any], overrides: list[str]) -> list[str]:
    flags = [option.removeprefix("--").split("=")[0] for option in overrides if option.startswith("--")]
    return [*map(str, content), *flags]


def _accepted(class_paths: list[str]) -> list[str]:
    """The arguments of the innermost class or function that a message names."""
    from jsonargparse.typing import import_object

    return list(inspect.signature(import_object(class_paths[-1])).parameters) if class_paths else []


def _configured(content: dict[str, Any], place: str) -> list[str]:
    entry = content.get(place)
    return [entry["class_path"]] if isinstance(entry, dict) and "class_path" in entry else []


def _public(module: str) -> list[str]:
    return [name for name in dir(__import__(module, fromlist=["*"])) if not name.startswith("_")]
