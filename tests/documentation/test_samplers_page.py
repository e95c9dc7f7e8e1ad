"""The Python in docs/samplers.md runs, and shows what the text around it says."""

import re
from pathlib import Path

import erg.samplers
from tests.contracts.kernels import public_kernels

PAGE = Path(__file__).parents[2] / "docs" / "samplers.md"


def test_the_blocks_run_and_replicas_cross():
    session: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), session)
    x = session["x"]
    assert 0.2 < (x[:, 0] < 0).float().mean() < 0.8
    assert len(session["energies"]) == 20
    truth = session["log_partition"](session["two"] / 0.5, (2,)).value
    found = session["forward"].log_z
    assert abs(found.value - truth) < 4 * found.standard_error


def test_every_constructor_of_a_kernel_is_on_the_page():
    text = PAGE.read_text()
    constructors = {name for name in public_kernels() if name.islower()}
    assert {name for name in constructors if f"`{name}(" not in text} == set()
    named = set(re.findall(r"`(\w+)\(", text)) - {"log_partition"}
    assert {name for name in named if not hasattr(erg.samplers, name)} == set()
