"""Chains from far apart that can meet do; chains that a barrier keeps apart, or that never cross it, are told."""

import pytest
import torch
from torch import Tensor

from erg.energies import Gaussian, GaussianMixture
from erg.evaluation.meeting import Outcome, meeting
from erg.evaluation.traces import collect
from erg.roles import EnergyLike
from erg.samplers import mala

WELLS = GaussianMixture.isotropic(torch.tensor([[-6.0, 0.0], [6.0, 0.0]]), variance=1.0)


def chains(energy: EnergyLike, start: Tensor, seed: int, *, step_size: float = 0.8) -> Tensor:
    rng = torch.Generator().manual_seed(seed)

    def position(x: Tensor, energies: Tensor) -> Tensor:
        return torch.cat([energies[:, None], x], 1)

    return collect(mala(step_size), energy, start, position, steps=200, rng=rng)


def test_chains_on_one_mode_meet_from_far_apart():
    wide = Gaussian(torch.zeros(2), 9 * torch.eye(2))
    first = chains(wide, torch.full((24, 2), 15.0), 1, step_size=3.0)
    second = chains(wide, -torch.ones(24, 2), 2, step_size=3.0)
    found = meeting(first, second)
    assert found.outcome is Outcome.CONVERGED
    assert found.after is not None and 0 < found.after <= 60
    assert found.convergence is not None and (found.convergence.rhat < 1.05).all()
    # The energy of a Gaussian in two dimensions has the mean 1.
    assert abs(found.first.end.value - 1) < 5 * found.first.end.standard_error
    assert found.first.start.value == pytest.approx(25) and found.first.still.value == 0


def test_chains_from_one_mode_and_from_between_two_never_meet():
    found = meeting(chains(WELLS, WELLS.means[:1].repeat(32, 1), 1), chains(WELLS, torch.randn(32, 2), 2))
    assert found.outcome is Outcome.APART and found.after is None
    assert found.shifts[1].apart and not found.shifts[2].apart, "they differ in the first coordinate only"


def test_chains_that_start_in_equal_shares_of_two_modes_are_not_called_converged():
    start = WELLS.means.repeat(12, 1)
    found = meeting(chains(WELLS, start, 1), chains(WELLS, start, 2))
    assert found.outcome is Outcome.SLOW and found.after == 0
    assert found.convergence is not None and found.convergence.rhat[1] > 1.5 and found.convergence.rhat[2] < 1.05
