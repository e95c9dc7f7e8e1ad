"""Is the import order of the package the documented one, and is importing it cheap?"""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import erg

ROOT = Path(erg.__file__).parent
# A module imports from its own layer and the ones before it.
LAYERS = [
    {"errors", "files", "nearest", "draws", "rows", "roles", "support", "estimate"},
    {"energies"},
    {"networks", "data"},
    {"samplers"},
    {"negatives"},
    {"objectives"},
    {"training"},
    {"evaluation"},
    {"applications", "control", "baselines", "sharing", "sklearn"},
    {"runs"},
    {"report"},
    {"cli", "lab"},
    {"__main__"},
]
# Nothing of ours beyond their own kind, and what stands outside of all concepts.
ALONE = {"networks": set(), "support": {"draws", "rows"}, "estimate": set(), "errors": set(), "rows": set()}
FILES = sorted(ROOT.rglob("*.py"))


def layer(part: str) -> int:
    places = [index for index, parts in enumerate(LAYERS) if part in parts]
    assert places, f"erg.{part} has no place in the import order: add it to LAYERS."
    return places[0]


def imported(tree: ast.AST) -> set[str]:
    """First parts after `erg.` of all imports, except those that only type checkers see."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("erg.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "erg":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("erg."):
            found.add(node.module.split(".")[1])
        found |= imported(node)
    return found - {"__version__"}


def part_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_what_comes_before_it(file):
    part = part_of(file)
    if part == "__init__":
        return
    others = imported(ast.parse(file.read_text())) - {part}
    late = {other for other in others if layer(other) > layer(part)}
    assert not late, f"erg.{part} may not import {sorted(late)}"
    if part in ALONE:
        assert others <= ALONE[part], f"erg.{part} imports nothing of ours but {sorted(ALONE[part])}"


def foreign(tree: ast.AST) -> set[str]:
    """The packages that are imported, other than erg and Python's own."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found - set(sys.stdlib_module_names) - {"erg"}


def test_what_is_imported_is_declared():
    """Also what is imported late, or comes along with another package."""
    declared = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^\w.-]", line)[0].lower() for line in declared}
    # With lightning-fabric, and with the `signatures` of jsonargparse.
    comes_along = {"lightning-utilities", "docstring-parser"}
    providers = packages_distributions()
    imports = set().union(*(foreign(ast.parse(file.read_text())) for file in FILES))
    missing = {
        name
        for name in imports
        if not {each.lower().replace("_", "-") for each in providers[name]} & (names | comes_along)
    }
    assert not missing, f"declare {sorted(missing)} in pyproject.toml"
    assert {"scipy", "yaml", "torch"} <= imports


def test_the_check_sees_every_kind_of_import():
    source = """
import erg.cli.main
from erg import report
from erg.training.loop import train
if TYPE_CHECKING:
    from erg.lab import page
def late():
    from erg.runs import folder
"""
    assert imported(ast.parse(source)) == {"cli", "report", "training", "runs"}


def ratio_of_import_times() -> float:
    """Importing torch and then erg against importing torch, in processor time of a fresh process."""
    source = """
import time
start = time.process_time()
import torch
torch_alone = time.process_time() - start
import erg
print((time.process_time() - start) / torch_alone)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_importing_erg_takes_at_most_half_as_long_again_as_importing_torch():
    ratios = [ratio_of_import_times()]
    if ratios[0] > 1.25:  # Near the limit one measurement is not enough.
        ratios += [ratio_of_import_times() for _ in range(4)]
    assert statistics.median(ratios) <= 1.5, ratios
