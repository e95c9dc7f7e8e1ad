"""Recipes from YAML and the command line, through jsonargparse.

YAML is read safely: it makes plain data and nothing else. The classes that a recipe names are made
from it afterwards; `erg.runs.trust` says which of them a run folder may name. A recipe file of one's
own may name any class that can be imported, also from the current directory.
"""

import os
import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from erg.errors import UserError
from erg.nearest import hint

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from erg.runs.recipe import Recipe


@dataclass(frozen=True)
class Resolved:
    """A recipe with every value settled.

    Attributes:
        recipe: The objects.
        text: The YAML that makes them again.
        notes: What a user should know of how it was settled, a sentence each.
    """

    recipe: "Recipe"
    text: str
    notes: tuple[str, ...] = ()


def shipped() -> dict[str, str]:
    """The recipes that come with erg: name to description."""
    found = {}
    for file in sorted(files("erg.recipes").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            content = yaml.safe_load(file.read_text())
            found[file.name.removesuffix(".yaml")] = content["description"]
    return found


def resolve(source: str, overrides: list[str] | None = None) -> Resolved:
    """A shipped recipe's name or a YAML file, with ``--a.b=c`` on top; a relative data.path is made absolute.

    A recipe's goals are those of its data: other data drop them, unless the overrides set goals, too.

    Raises:
        UserError: For an unknown recipe (with the nearest name), unreadable YAML, or an option that is
            unknown or of the wrong kind.
    """
    if _is_file(source):
        _find_modules_here()
    return _resolve(_read(source), overrides or [], source)


def reopen(path: Path, *, trust: bool = False) -> Resolved:
    """The recipe of a run folder's config.yaml.

    Args:
        path: The file.
        trust: Run whatever classes it names; otherwise only those of erg and torch.

    Raises:
        UserError: If it cannot be read, or names other classes and is not trusted.
    """
    if not path.exists():
        raise UserError(f"{path.parent} has no {path.name}, which says what the run is; put it back, or train anew.")
    content = _load_yaml(path)
    if trust:
        _find_modules_here()
    else:
        from erg.runs.trust import check_own

        check_own(content, path)
    return _resolve(content, [], str(path))


def _resolve(content: dict[str, Any], overrides: list[str], source: str) -> Resolved:
    from erg.runs.recipe import Recipe, StoredRecipe

    stored = content.get("objective", ...) is None
    kind: type[Recipe] = StoredRecipe if stored else Recipe
    options = _parser(kind)
    notes = []
    try:
        config = options.parse_object(content)
        if overrides:
            own = _rows_of(config)
            config = options.parse_args(overrides, namespace=config)
            foreign = own != _rows_of(config)
            if foreign and config.goals and not any(option.startswith("--goals") for option in overrides):
                config.goals = {}
                notes.append(f"The goals of recipe {config.name} are for its own data: this run has none.")
        if config.data.path is not None:
            # A run is resumed and evaluated from other directories too.
            config.data.path = os.path.abspath(os.path.expanduser(config.data.path))
        # A second pass over the dump: what is run is exactly what the saved file says.
        text = options.dump(config, skip_unset=False)
        recipe = kind(**vars(options.instantiate(options.parse_string(text))))
    except UserError:
        raise
    except Exception as error:
        # Classes of the user's own are made here, and may raise anything.
        from erg.runs.complaints import sentence

        raise UserError(sentence(error, source, options=options, content=content, overrides=overrides)) from error
    return Resolved(recipe, text, tuple(notes))


def with_batch_size(text: str, size: int) -> str:
    """The YAML of a resolved recipe with another batch size."""
    return re.sub(r"^batch_size: \d+$", f"batch_size: {size}", text, flags=re.MULTILINE)


def _rows_of(config: Any) -> tuple[Any, ...]:
    """What decides which rows a recipe sees."""
    return config.data.name, config.data.path, config.data.binarise


def _parser(kind: "type[Recipe]") -> "ArgumentParser":
    """The options of this kind of recipe."""
    import torch
    from jsonargparse import ArgumentParser, get_loader, set_loader
    from jsonargparse.typing import register_type

    def load(text: str) -> Any:
        # jsonargparse hands an option inside of a class on to a parser of that class, as text: null becomes None.
        return None if text.strip() == "None" else get_loader("yaml")(text)

    register_type(torch.dtype, _dtype_name, _dtype, fail_already_registered=False)
    set_loader("recipe", load, exceptions=(yaml.YAMLError,))
    parser = ArgumentParser(exit_on_error=False, prog="erg train RECIPE", default_env=False, parser_mode="recipe")
    parser.add_class_arguments(kind, None)
    return parser


def _find_modules_here() -> None:
    """Let a recipe name classes of the current directory, as `python -m` would find them."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _is_file(source: str) -> bool:
    return source.endswith((".yaml", ".yml")) or "/" in source


def _read(source: str) -> dict[str, Any]:
    if _is_file(source):
        return _load_yaml(Path(source))
    names = shipped()
    if source not in names:
        if Path(source).is_file():
            raise UserError(
                f"A recipe file ends in .yaml, but got {source}; if it holds your data, "
                f"use `erg train images --data.path {source}`, or table in place of images."
            )
        found = hint(source, names)
        raise UserError(f"There is no recipe called {source!r}{found or '; `erg recipes` lists those that exist.'}")
    return yaml.safe_load((files("erg.recipes") / f"{source}.yaml").read_text())


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"There is no recipe file {path}; `erg recipes` lists the recipes that need none.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{path} is not YAML{place}: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"A recipe is a YAML mapping, but {path} holds {_kind(content)}.")
    return content


def _kind(content: Any) -> str:
    return {type(None): "nothing", list: "a list"}.get(type(content), "a single value")


def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str) -> Any:
    import torch

    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{name!r} is not a dtype of torch")
    return dtype
