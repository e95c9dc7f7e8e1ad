"""Tables of many rows: each row is a command of its own and keeps its own result file."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.conditions import conditions
from benchmarks.measure import RESULTS
from erg.files import write_json, write_text


def rows(
    name: str,
    description: str | None,
    choices: Mapping[str, Iterable[str]],
    measure: Callable[..., dict[str, Any]],
    table: Callable[[], str],
) -> None:
    """The command ``python -m benchmarks.NAME``: measure one row unless its result exists, or write the table.

    Args:
        name: Of the module, of the folder of results and of the page beside it.
        description: For the help.
        choices: The arguments that name a row, and the values of each.
        measure: From these arguments to the result.
        table: The page, made of the results that exist.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for place, (argument, values) in enumerate(choices.items()):
        if place == 0:
            parser.add_argument(argument, choices=[*values, "table"])
        else:
            parser.add_argument(argument, choices=list(values), nargs="?")
    parser.add_argument("--force", action="store_true", help="measure again though a result exists")
    given = vars(parser.parse_args())
    chosen = [given[argument] for argument in choices]
    if chosen[0] == "table":
        write_text((RESULTS / name).with_suffix(".md"), table())
        return
    for argument, value in zip(choices, chosen, strict=True):
        if value is None:
            parser.error(f"{argument} is needed: {' or '.join(choices[argument])}")
    path = RESULTS / name / f"{'-'.join(chosen)}.json"
    if path.exists() and not given["force"]:
        print(f"{path} exists; --force measures again")
        return
    result = measure(*chosen)
    command = f"python -m benchmarks.{name.replace('/', '.')} {' '.join(chosen)}"
    write_json(path, {"command": command, **conditions(), **result})
    print(path)
