"""What annealing returns is written out in one line, without its tensors."""

import re

import pytest
import torch

from erg.energies import Gaussian, Path
from erg.samplers import Biased, ais, mala, reverse_ais, smc, ula

NORMAL = Gaussian.standard(2)
PATH = Path(NORMAL, NORMAL / 2)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


FOUND = {
    "ImportanceSamples": ais(PATH, mala(0.3), betas=5, chains=32, rng=rng()),
    "ImportanceSamples, reverse": reverse_ais(PATH, mala(0.3), NORMAL.exact_samples(32, rng()), betas=5, rng=rng()),
    "Population": smc(PATH, mala(0.3), chains=32, populations=4, rng=rng()),
}


@pytest.mark.parametrize("name", FOUND)
def test_estimates_say_how_many_chains_found_what(name):
    found = FOUND[name]
    number = r"-?[\d.]+(e-\d+)?"
    told = rf"{name.split(',')[0]}\(32 chains, log_z=({number} ± {number}), effective_sample_size=({number})\)"
    match = re.fullmatch(told, repr(found))
    assert match, repr(found)
    assert match[1] == str(found.log_z) and float(match[4]) == pytest.approx(found.effective_sample_size, rel=1e-3)
    assert str(found) == repr(found)


def test_a_bias_is_said():
    found = ais(PATH, Biased(ula(0.3)), betas=5, chains=8, rng=rng())
    assert repr(found).endswith(", biased)")


def test_a_path_names_its_ends():
    assert repr(PATH) == "Path(Gaussian, WeightedSum)"
    assert repr(Path(NORMAL, lambda x: x.square().sum(1))) == "Path(Gaussian, Neural)"
