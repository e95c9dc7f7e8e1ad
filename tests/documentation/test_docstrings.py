"""Are the examples in the docstrings true?"""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

import erg

ROOT = Path(erg.__file__).parent
MODULES = sorted(
    ".".join(("erg", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for file in ROOT.rglob("*.py")
    if ">>> " in file.read_text()
)


@pytest.mark.parametrize("module", MODULES)
def test_examples(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0, f"{found.failed} of {found.attempted} examples in {module} are not true"


def test_there_are_examples():
    assert len(MODULES) >= 5
