"""The Python in docs/design.md runs, and shows what the text around it says."""

import re
from pathlib import Path

import pytest

from erg.energies import Gaussian
from erg.samplers import mala, ula, warmup
from erg.samplers.chain import sample

DESIGN = Path(__file__).parents[2] / "docs" / "design.md"


def test_warm_up_costs_its_steps_once_and_finds_the_scale():
    (block,) = re.findall(r"```python\n(.*?)```", DESIGN.read_text(), flags=re.DOTALL)
    session: dict = {}
    exec(compile(block, str(DESIGN), "exec"), session)
    assert 300 < session["cost"] <= 306
    assert session["energy"].gradients - session["cost"] == 101
    assert session["kernel"].scale.tolist() == pytest.approx([0.01, 1.0], rel=0.2)
    assert abs(session["acceptance"].mean() - 0.574) < 0.05


def test_the_acceptance_of_mala_does_not_tune_ula(rng):
    law = Gaussian.standard(1)
    x = law.exact_samples(4000, rng)
    step_size = warmup(mala(0.1), law, x[:200], 200, rng).proposal.step_size
    assert sample(ula(step_size), law, x, 60, rng).var() > 2
