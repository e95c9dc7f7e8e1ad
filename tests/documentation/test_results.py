"""Are the pages of measured results made from the numbers beside them?"""

import json

import pytest

from benchmarks import conditions, divergence, tables

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
