"""Recipes from YAML and the command line, through jsonargparse.

Nothing is executed on reading: YAML is read safely, and the classes that a *run folder* names must be
erg's or torch's own, so that a run of a stranger can be opened. A recipe file of one's own may name
any class that can be imported.
"""

import difflib
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from erg.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from erg.runs.recipe import Recipe

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# What jsonargparse says of a mistake, taken apart to say it in one sentence.
_PLACE = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"given class_path '([^']+)'")
_REFUSED = re.compile(r"Option '([^']+)' is not accepted")
_REASON = re.compile(r"""Parser key "[^"]+": |Problem with given class_path '[^']+': """)
_OWN = ("erg", "torch")
_FREE_TEXT = ("path", "description", "name")


@dataclass(frozen=True)
class Resolved:
    """A recipe with every value settled: the objects, and the YAML that makes them again."""

    recipe: "Recipe"
    text: str


def shipped() -> dict[str, str]:
    """The recipes that come with erg: name to description."""
    found = {}
    for file in sorted(files("erg.recipes").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            content = yaml.safe_load(file.read_text())
            found[file.name.removesuffix(".yaml")] = content.get("description", "")
    return found


def resolve(source: str, overrides: list[str] | None = None) -> Resolved:
    """A shipped recipe's name or a YAML file, with ``--a.b=c`` on top.

    Raises:
        UserError: For an unknown recipe (with the nearest name), unreadable YAML, or an option that is
            unknown or of the wrong kind.
    """
    return _resolve(_read(source), overrides or [], source)


def reopen(path: Path) -> Resolved:
    """The recipe of a run folder's config.yaml.

    Raises:
        UserError: If it cannot be read, or names classes that are neither erg's nor torch's.
    """
    content = _load_yaml(path)
    strangers = sorted(set(_strangers(content)))
    if strangers:
        raise UserError(
            f"{path} names {strangers[0]}, which is neither erg's nor torch's, and is not run for that reason; "
            "build the model in Python if you trust it."
        )
    return _resolve(content, [], str(path))


def parser() -> "ArgumentParser":
    """The options of a recipe."""
    import torch
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import register_type

    from erg.runs.recipe import Recipe

    register_type(torch.dtype, _dtype_name, _dtype, fail_already_registered=False)
    recipe_parser = ArgumentParser(exit_on_error=False, prog="erg train RECIPE", default_env=False)
    recipe_parser.add_class_arguments(Recipe, None)
    return recipe_parser


def _resolve(content: Any, overrides: list[str], source: str) -> Resolved:
    from jsonargparse import ArgumentError

    options = parser()
    try:
        config = options.parse_object(content)
        config = options.parse_args(overrides, namespace=config)
        # A second pass over the dump: what is run is exactly what the saved file says.
        text = options.dump(config, skip_none=False)
        recipe = options.instantiate(options.parse_string(text))
    except (ArgumentError, TypeError, ValueError, ImportError, KeyError) as error:
        raise UserError(_sentence(error, source, options, content, overrides)) from error
    return Resolved(_as_recipe(recipe), text)


def _as_recipe(values: "Namespace") -> "Recipe":
    from erg.runs.recipe import Recipe

    return Recipe(**vars(values))


def _read(source: str) -> Any:
    if source.endswith((".yaml", ".yml")) or "/" in source:
        return _load_yaml(Path(source))
    names = shipped()
    if source not in names:
        raise UserError(
            f"There is no recipe called {source!r}{_nearest(source, list(names))}; `erg recipes` lists them."
        )
    return yaml.safe_load((files("erg.recipes") / f"{source}.yaml").read_text())


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"There is no recipe file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{path} is not YAML{place}: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"A recipe is a YAML mapping, but {path} holds {type(content).__name__}.")
    return content


def _strangers(content: Any, key: str = "") -> list[str]:
    if isinstance(content, dict):
        return [found for name, value in content.items() for found in _strangers(value, str(name))]
    if isinstance(content, list):
        return [found for value in content for found in _strangers(value, key)]
    dotted = isinstance(content, str) and key not in _FREE_TEXT and _DOTTED.fullmatch(content)
    return [content] if dotted and content.split(".")[0] not in _OWN else []


def _sentence(error: Exception, source: str, options: "ArgumentParser", content: Any, overrides: list[str]) -> str:
    known = sorted(options.get_defaults(skip_validation=True).keys(branches=True))
    for option in _option_names(content, overrides):
        if option.split(".")[0] not in known:
            return f"Recipe {source} has no option {option!r}{_nearest(option, known)}."
    message = " ".join(str(error).split())
    place = ".".join(_PLACE.findall(message))
    refused = _REFUSED.search(message)
    if refused:
        accepted = _accepted(_CLASS.findall(message) or _configured(content, place))
        return f"Recipe {source} has no option '{place}.{refused[1]}'{_nearest(refused[1], accepted)}."
    return f"Recipe {source} cannot be used: {f'{place}: ' if place else ''}{_REASON.sub('', message)}"


def _accepted(class_paths: list[str]) -> list[str]:
    """The arguments of the innermost class or function that a message names."""
    import inspect

    from jsonargparse.typing import import_object

    return list(inspect.signature(import_object(class_paths[-1])).parameters) if class_paths else []


def _configured(content: Any, place: str) -> list[str]:
    entry = content.get(place) if isinstance(content, dict) else None
    return [entry["class_path"]] if isinstance(entry, dict) and "class_path" in entry else []


def _option_names(content: Any, overrides: list[str]) -> list[str]:
    flags = [option.removeprefix("--").split("=")[0] for option in overrides if option.startswith("--")]
    return [*(content if isinstance(content, dict) else []), *flags]


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str) -> Any:
    import torch

    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{name!r} is not a dtype of torch")
    return dtype
