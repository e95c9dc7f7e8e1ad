"""The options of a recipe with their values and meanings, for `erg train RECIPE --help`."""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from erg.runs.config import resolve

WIDTH, LONGEST = 100, 180


@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        name: Dotted.
        value: What the recipe has there, as the command line writes it.
        meaning: From the docstring of what it belongs to.
    """

    name: str
    value: str
    meaning: str


def help_text(source: str) -> str:
    """A recipe's options, readable, one or two lines each.

    Raises:
        UserError: As `resolve` does.
    """
    content = yaml.safe_load(resolve(source).text)
    lines = [
        f"usage: erg train {source} [--out RUN] [--option value ...]\n\n{content['description']}\n",
        "options, with the values that this recipe has:\n",
    ]
    lines += [_shown(option) for option in options(content)]
    lines.append(f"\n`erg train {source} --print_config` prints them as YAML, to begin a recipe of one's own.\n")
    return "\n".join(lines)


def options(content: dict[str, Any]) -> Iterator[Option]:
    """Every option of a resolved recipe."""
    from erg.runs import recipe

    settings = (recipe.DataSettings, recipe.SamplerSettings, recipe.ValidationSettings, recipe.GuardSettings)
    owners = dict(zip(("data", "sampler", "validation", "guard"), settings, strict=True))
    meanings = _meanings(recipe.Recipe)
    for name, value in content.items():
        if name in owners:
            yield from _below(name, value, _meanings(owners[name]))
        else:
            yield from _one(name, value, meanings.get(name, ""))


def _one(name: str, value: Any, meaning: str) -> Iterator[Option]:
    if isinstance(value, dict) and "class_path" in value:
        from jsonargparse.typing import import_object

        yield Option(name, value["class_path"], meaning)
        yield from _below(name, value.get("init_args", {}), _meanings(import_object(value["class_path"])))
    else:
        yield Option(name, _written(value), meaning)


def _below(name: str, values: dict[str, Any], meanings: dict[str, str]) -> Iterator[Option]:
    for key, value in values.items():
        yield from _one(f"{name}.{key}", value, meanings.get(key, ""))


def _meanings(owner: Any) -> dict[str, str]:
    """What the docstring of a class or function says of its arguments."""
    from docstring_parser import ParseError, parse

    try:
        parsed = parse(owner.__doc__ or "")
    except ParseError:
        return {}
    return {param.arg_name: " ".join((param.description or "").split()) for param in parsed.params}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(option: Option) -> str:
    head = f"  --{option.name} {option.value}"
    meaning = textwrap.wrap(textwrap.shorten(option.meaning, LONGEST, placeholder=" ..."), WIDTH - 8)
    return "\n".join([head, *(f"        {line}" for line in meaning)])
