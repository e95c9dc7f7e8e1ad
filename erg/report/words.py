"""A recipe in words: ``{class_path: erg.networks.MLP, init_args: {hidden: [64]}}`` is an "MLP: hidden [64]"."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from erg.report.numbers import number

# Rows of "what was trained", each with the recipe key that holds it. What has a row of its own is not told twice.
ROWS = {
    "Data": "data",
    "Network": "network",
    "Objective": "objective",
    "Negatives": "negatives",
    "Chain kernel": "kernel",
    "Sampling": "sampler",
    "Optimiser": "optimizer",
    "Learning rate": "learning_rate",
    "Batch size": "batch_size",
    "Averaging": "average",
}
_OWN_ROW = ("negatives", "kernel")

_MEANINGS = {
    "ConvNet": "convolutional network",
    "WideResNet": "wide residual network",
    "MLP": "multilayer perceptron",
    "MaximumLikelihood": "maximum likelihood",
    "Persistent": "replay buffer of persistent chains",
    "FromData": "contrastive divergence, chains start at the data",
    "FromNoise": "short runs from noise",
    "Unadjusted": "unadjusted",
    "Metropolis": "Metropolis-corrected",
    "Langevin": "Langevin",
    "RandomWalk": "random walk",
    "sgld": "Langevin with separate step and noise (SGLD)",
    "ula": "unadjusted Langevin (ULA)",
    "mala": "Metropolis-adjusted Langevin (MALA)",
    "random_walk": "random-walk Metropolis",
}


def summary(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the recipe says about data, network, objective, chains and optimiser; silent where it is."""
    rows = []
    for title, key in ROWS.items():
        found = next((value for value in _find(recipe, key) if _says_something(value)), None)
        spoken = "" if found is None else in_words(found)
        if spoken:
            rows.append((title, spoken if title == "Data" else spoken[0].upper() + spoken[1:]))
    return rows


def in_words(value: Any) -> str:
    """One value of a recipe as a phrase; what is None or empty is not mentioned."""
    if isinstance(value, Mapping):
        return _mapping_in_words(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(float(value))
    if isinstance(value, list | tuple):
        return ", ".join(in_words(item) for item in value)
    last = _last(str(value))
    return _MEANINGS.get(last, last)


def _mapping_in_words(value: Mapping[str, Any]) -> str:
    name = value.get("class_path", value.get("name"))
    arguments = value.get("init_args", None)
    if not isinstance(arguments, Mapping):
        arguments = {key: item for key, item in value.items() if key not in ("class_path", "name", "init_args")}
    told = [
        _argument_in_words(str(key), item)
        for key, item in arguments.items()
        if _says_something(item) and key not in _OWN_ROW
    ]
    if name is None:
        return "; ".join(told)
    last = _last(str(name))
    meaning = _MEANINGS.get(last, last)
    return f"{meaning}: {', '.join(told)}" if told else meaning


def _argument_in_words(key: str, value: Any) -> str:
    spoken = key.replace("_", " ")
    if value is True:
        return spoken
    if isinstance(value, Mapping):
        return f"{spoken} ({_mapping_in_words(value)})"
    if isinstance(value, list | tuple):
        return f"{spoken} [{in_words(value)}]"
    return f"{spoken} {in_words(value)}"


def _last(name: str) -> str:
    """The class of a dotted path; any other string as it is."""
    return name.rsplit(".", 1)[-1] if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name) else name


def _says_something(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [], {})


def _find(recipe: Mapping[str, Any], key: str) -> Iterator[Any]:
    """Every value under `key`, outermost first."""
    if key in recipe:
        yield recipe[key]
    for value in recipe.values():
        if isinstance(value, Mapping):
            yield from _find(value, key)
        elif isinstance(value, list | tuple):
            for item in value:
                if isinstance(item, Mapping):
                    yield from _find(item, key)
