"""Are couplings found again: by pseudo-likelihood as well as by the exact likelihood, and by the recipe?"""

import jaxtyping
import pytest
import torch

from benchmarks.boltzmann.torus import torus
from erg.data import load
from erg.energies import BoltzmannMachine, Ising, Lattice, Neural
from erg.objectives import (
    ExactLikelihood,
    LatticeRecovery,
    PseudoLikelihood,
    RatioMatching,
    SparseCouplings,
    Weighted,
)
from erg.objectives.structure import log_rmse
from erg.runs.config import resolve
from erg.runs.experiment import Experiment
from erg.runs.folder import RunFolder
from erg.runs.model import open_model
from erg.support import Spin
from tests.exact.pairwise import law_of, seeded, states_of


def fitted(objective, x, *, steps=150):
    machine = BoltzmannMachine(tuple(x.shape[1:]), support=Spin(), scale=0.0)
    optimizer = torch.optim.Adam(machine.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(machine, x).value.backward()
        optimizer.step()
    return machine


@pytest.mark.parametrize("objective", [PseudoLikelihood(), RatioMatching(), ExactLikelihood()], ids=type)
def test_small_lattices_are_found_again(objective):
    lattice = Lattice((2, 3), periodic=False)
    truth, states = lattice.matrix(0.5), states_of(Spin(), (2, 3)).float()
    law = law_of(Ising(lattice, coupling=0.5, field=0.2), states)
    x = states[law.multinomial(5000, replacement=True, generator=seeded())]
    machine = fitted(objective, x.flatten(1))
    assert float(log_rmse(machine, truth)) < -3
    torch.testing.assert_close(machine.bias.detach(), torch.full((6,), 0.2), atol=0.15, rtol=0.0)


def test_the_penalty_pays():
    x, truth = load("ising", seed=3).train.x[:500], Lattice((10, 10)).matrix(0.2)
    sparse = Weighted({"fit": (1.0, PseudoLikelihood()), "l1": (0.1, SparseCouplings())})
    plain, found = (fitted(each, x, steps=40) for each in (PseudoLikelihood(), sparse))
    assert log_rmse(found, truth) < log_rmse(plain, truth) - 0.5
    loss = LatticeRecovery(sparse)(found, x)
    torch.testing.assert_close(loss.terms["couplings/log_rmse"], log_rmse(found, truth))
    assert loss.value == sparse(found, x).value and "l1/couplings/size" in loss.terms
    weights = found.weights.detach()
    torch.testing.assert_close(SparseCouplings()(found, x).value.detach(), weights.abs().sum())


def test_a_lattice_is_a_matrix():
    found = Lattice((2, 3)).matrix(0.5)
    assert torch.equal(found, found.T) and (found.diagonal() == 0).all()
    assert (
        found[0, 3] == 1.0 and found[0, 1] == found[0, 2] == 0.5 and found[0, 4] == 0
    )  # a ring of two has two bonds


def test_the_data_are_those_of_the_seed_and_have_the_correlation_of_the_torus():
    first, again, other = (load("ising", seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.train.x, again.train.x) and not torch.equal(first.train.x, other.train.x)
    assert first.support == Spin() and first.support.contains(first.held_out.x).all() and first.shape == (100,)
    # Minus the exact energy a bond of the torus of 10 x 10 spins at coupling 0.2, by Kaufman's formula.
    expected = -torus(10, 10, 5.0)["energy"] / 2
    bonds = Lattice((10, 10)).alignment(torch.cat([first.train.x, other.train.x]).reshape(-1, 10, 10, 1))
    means = bonds.flatten(1).mean(1)
    assert abs(float(means.mean()) - expected) < 5 * float(means.std()) / len(means) ** 0.5


@pytest.mark.slow
def test_the_recipe_finds_them(tmp_path):
    small = ["--steps=40", "--sampler.steps=20", "--validation.every=40", "--validation.samples=16", "--device=cpu"]
    resolved = resolve("ising-recovery", small)
    folder = RunFolder(tmp_path / "run")
    records = list(Experiment(resolved.recipe, folder, config=resolved.text).run())
    errors = [float(record.terms["couplings/log_rmse"]) for record in records]
    assert errors[-1] < -4.2 < errors[0]
    model = open_model(folder.path)
    assert model.energy.support == Spin() and model.draw(5, rng=seeded()).shape == (5, 100)


def test_what_is_no_machine_is_refused():
    jaxtyping.config.update("jaxtyping_disable", True)  # users run without the checks of annotations
    with pytest.raises(TypeError, match="of a BoltzmannMachine, but got Neural"):
        SparseCouplings()(Neural(lambda x: x.sum(1), support=Spin()), torch.ones(2, 4))
    with pytest.raises(ValueError, match="Couplings of 100 units are known, but this machine has 4"):
        LatticeRecovery(PseudoLikelihood())(BoltzmannMachine((4,), support=Spin()), torch.ones(2, 4))
