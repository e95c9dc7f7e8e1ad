"""The Python in docs/boltzmann.md runs, and shows what the text around it says."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "boltzmann.md"


def blocks(heading: str) -> dict:
    """What the Python below a heading leaves behind."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    session: dict = {}
    for block in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), session)
    return session


def test_dense_memories_recall_where_classical_ones_fail():
    session = blocks("Hopfield networks and associative memory")
    dense, classical = session["right"]
    assert dense == 1 and classical < 0.01
    assert bool(session["dense"].converged.all()) and int(session["dense"].steps.max()) <= 2


def test_uses_of_a_machine_of_digits():
    session = blocks("Uses")
    held_out = session["data"].held_out
    assert session["right"] > 0.7 and session["sevens"].shape == (4, 1, 8, 8)
    assert bool((session["completed"].sample == held_out.x[:5])[..., :4, :].all())
    wrong = [(found != held_out.x[:5]).float().mean() for found in (session["noisy"], session["clean"].float())]
    assert wrong[1] < wrong[0]


def test_lattices_order_in_the_cold():
    cold, warm = blocks("Ising, Potts and general Boltzmann machines")["magnetisation"]
    assert cold > 0.95 and abs(warm) < 0.05


def test_chains_find_the_exact_thermodynamics():
    session = blocks("Thermodynamics")
    for quantity in ("energy", "free_energy", "entropy", "magnetisation"):
        for truth, found in zip(*(getattr(session[name], quantity) for name in ("exact", "found")), strict=True):
            assert abs(found.value - truth.value) < 5 * found.standard_error
