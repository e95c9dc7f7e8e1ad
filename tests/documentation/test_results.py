"""Are the pages of measured results made from the numbers beside them?"""

import json

import pytest

from benchmarks import conditions, divergence, mclmc_bias, tables
from benchmarks.boltzmann import table
from erg.samplers import MCLMC, mala

FOLDER = divergence.RESULTS


@pytest.fixture
def result() -> dict:
    return json.loads((FOLDER / "divergence.json").read_text())


def test_the_page_on_divergence_tells_under_which_conditions_it_was_measured(result):
    measured = result | conditions.conditions()
    page = divergence.page(measured)
    line = page.splitlines()[2]
    assert line.startswith(f"`python -m benchmarks.divergence`, {measured['date']}, {measured['processor']}, ")
    assert (
        f"{measured['threads']} threads, seed 0; python " in line and f"torch {measured['versions']['torch']}" in line
    )
    assert all(f"| {row['fault']} | " in page for row in result["faults"])


def test_numbers_without_all_conditions_are_shown_with_those_there_are(result):
    old = {key: value for key, value in result.items() if key not in ("processor", "cores", "threads")}
    assert f", {old['date']}, seed 0; " in divergence.page(old).splitlines()[2]


def test_the_page_on_speed_is_made_from_the_rows():
    page = (FOLDER / "speed.md").read_text()
    for name in tables.ROWS:
        assert tables.section(json.loads((FOLDER / f"{name}.json").read_text())) in page


def test_the_bias_that_the_samplers_page_states_is_the_measured_one():
    result = json.loads((FOLDER / "mclmc_bias.json").read_text())
    page = (FOLDER.parent / "samplers.md").read_text()
    assert mclmc_bias.sentence(result) in " ".join(page.split())


def test_the_bias_is_measured_as_it_is_said():
    """Fewer chains and steps: an exact kernel has no bias, and this one about that of the result."""
    exact = mclmc_bias.bias(mala(0.3), chains=300, steps=200)
    assert abs(exact.value) < 5 * exact.standard_error
    result = json.loads((FOLDER / "mclmc_bias.json").read_text())
    stated = result["mean of x^2"]["found"]
    found = mclmc_bias.bias(MCLMC(stated["step_size"], result["length"]), chains=300, steps=200)
    assert found.standard_error < 0.003
    assert abs(found.value - stated["relative_bias"]) < 5 * found.standard_error


def test_the_page_on_machines_is_made_from_the_rows():
    assert (FOLDER / "boltzmann.md").read_text() == table.page()
