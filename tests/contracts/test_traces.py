"""Summaries of long chains: the chains of `sample`, little memory, nothing changed; and do two groups meet?"""

import math
import weakref

import pytest
import torch
from torch import Tensor

from erg.energies import Gaussian
from erg.energies.counted import Counted
from erg.evaluation.meeting import Outcome, meeting
from erg.evaluation.traces import Summaries, collect, trace
from erg.samplers import mala, random_walk, sample, ula


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def position(x: Tensor, energy: Tensor) -> Tensor:
    return torch.cat([energy[:, None], x.flatten(1)], 1)


def test_the_summaries_are_those_of_the_chains_that_sample_runs():
    energy, start = Gaussian.standard(3), torch.full((5, 3), 4.0)
    found = collect(mala(0.4), energy, start, position, steps=11, every=4, rng=seeded())
    assert found.shape == (5, 3, 4) and found.dtype == torch.float32
    for kept, steps in enumerate((0, 4, 8)):
        x = sample(mala(0.4), energy, start, steps, seeded())
        torch.testing.assert_close(found[:, kept], position(x, energy(x)))
    assert (start == 4).all()


def test_a_clamped_state_is_summarised_as_it_is_scored():
    energy = Gaussian.standard(2).clamp(torch.tensor([True, False]), 3.0)
    found = collect(ula(0.1), energy, torch.zeros(2, 2), position, steps=2, rng=seeded())
    assert (found[..., 1] == 3).all()


def test_a_summary_costs_one_value_and_no_gradient():
    energy = Counted(Gaussian.standard(3))
    collect(ula(0.4), energy, torch.zeros(5, 3), position, steps=20, every=5, rng=seeded())
    assert (energy.gradients, energy.values) == (20, 5)


def test_no_state_is_kept():
    start, alive = torch.zeros(20, 1000), []

    def watched(x: Tensor, energy: Tensor) -> Tensor:
        alive.append(weakref.ref(x))
        return energy[:, None]

    collect(random_walk(0.1), lambda x: x.square().sum(1) / 2, start, watched, steps=30, rng=seeded())
    assert len(alive) == 31 and not any(state() is not None for state in alive)


def test_summaries_are_the_energy_and_standardised_places():
    data = torch.randn(500, 6, generator=seeded()) * torch.tensor([5.0, 1.0, 1.0, 1.0, 1.0, 0.2]) + 7
    summaries = Summaries.of(data, components=2, random=3, rng=seeded())
    assert summaries.names == ("energy", "component 1", "component 2", "direction 1", "direction 2", "direction 3")
    values = summaries(data, torch.arange(500.0))
    assert values.shape == (500, 6) and (values[:, 0] == torch.arange(500.0)).all()
    torch.testing.assert_close(values[:, 1:].std(0), torch.ones(5), rtol=1e-3, atol=0)
    torch.testing.assert_close(values[:, 1:].mean(0), torch.zeros(5), rtol=0, atol=1e-3)
    along = torch.corrcoef(torch.stack([values[:, 1], data[:, 0]]))[0, 1]
    assert along.abs() > 0.99, "the first component is the direction of the largest variance"


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 8, 8), (3, 40, 40)])
def test_events_of_any_shape_have_summaries(shape):
    data = torch.randn(30, *shape, generator=seeded())
    summaries = Summaries.of(data, rng=seeded())
    values = summaries(data, torch.zeros(30))
    entries = math.prod(shape)
    assert values.shape == (30, len(summaries.names)) and values.isfinite().all()
    assert len(summaries.names) == 1 + (entries if entries <= 4 else 8)


def test_data_that_do_not_vary_have_no_components():
    summaries = Summaries.of(torch.full((9, 12), 0.5), rng=seeded())
    assert summaries.names == ("energy", "direction 1", "direction 2", "direction 3", "direction 4")
    assert summaries(torch.zeros(2, 12), torch.zeros(2)).isfinite().all()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="two rows or more, but got 1"):
        Summaries.of(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="steps of at least 0"):
        collect(ula(0.1), Gaussian.standard(2), torch.zeros(2, 2), position, steps=-1)
    with pytest.raises(ValueError, match="every of at least 1"):
        next(trace(ula(0.1), Gaussian.standard(2), torch.zeros(2, 2), position, every=0))
    with pytest.raises(ValueError, match="at least 4 chains"):
        meeting(torch.zeros(4, 50, 1), torch.zeros(3, 50, 1))
    with pytest.raises(ValueError, match="at least 40 steps and one summary, but got 39 and 1"):
        meeting(torch.zeros(4, 39, 1), torch.zeros(4, 39, 1))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def test_groups_that_come_together_late_are_told_from_groups_that_do_not():
    first, second = noise(16, 200, 2), noise(16, 200, 2, seed=1)
    second[:, :150, 1] += 3
    found = meeting(first, second)
    assert found.outcome is Outcome.LATE and found.after == 150


def test_a_difference_in_width_alone_is_a_difference():
    first, second = noise(32, 200, 1), 3 * noise(32, 200, 1, seed=1)
    found = meeting(first, second)
    assert found.outcome is Outcome.APART
    assert abs(found.shifts[0].location.value) < 0.2 and found.shifts[0].width.value > 0.5
    assert found.shifts[0].largest is found.shifts[0].width


def test_slow_chains_of_one_law_are_not_called_apart():
    """Each is nearly constant, so an error that counted their steps as independent would see differences."""
    outcomes = []
    for seed in range(40):
        level = noise(24, 1, 3, seed=seed)
        found = meeting(*(level + 0.1 * noise(24, 60, 3, seed=100 + seed)).split(12))
        outcomes.append(found.outcome)
    assert outcomes.count(Outcome.SLOW) >= 39, outcomes


def test_a_shift_is_in_standard_deviations_with_an_honest_error():
    found = [meeting(5 * noise(16, 80, 1, seed=s), 5 * noise(16, 80, 1, seed=99 + s) + 2.5) for s in range(40)]
    shifts = [each.shifts[0].location for each in found]
    values = torch.tensor([shift.value for shift in shifts])
    assert abs(values.mean() - 0.5) < 0.03
    claimed = sum(shift.standard_error for shift in shifts) / 40
    # The spread of 40 has a relative error of 11 %.
    assert claimed == pytest.approx(values.std().item(), rel=0.4)


def test_chains_that_stand_still_and_energies_that_drift_are_noticed():
    first, second = noise(16, 80, 3), noise(16, 80, 3, seed=1)
    first[:4] = first[:4, :1]
    second[..., 0] -= torch.linspace(0, 8, 80)
    found = meeting(first, second)
    assert found.first.still.value == 0.25 and found.second.still.value == 0
    assert found.second.drift.value == pytest.approx(-2, abs=5 * found.second.drift.standard_error)
    assert abs(found.first.drift.value) < 5 * found.first.drift.standard_error


def test_lost_chains_are_counted_and_left_out():
    first, second = noise(32, 80, 2), noise(32, 80, 2, seed=1)
    first[3, 70, 1] = math.nan
    found = meeting(first, second)
    assert found.outcome is Outcome.CONVERGED and found.first.lost == 1 and found.second.lost == 0
    second[:10, 40:] = math.inf
    found = meeting(first, second)
    assert found.outcome is Outcome.BROKEN and found.second.lost == 10 and found.convergence is None
    second[:] = math.nan
    assert math.isnan(meeting(first, second).second.end.value)


def test_chains_that_never_move_are_apart_or_not_told():
    same = meeting(torch.ones(8, 50, 2), torch.ones(8, 50, 2))
    assert same.outcome is Outcome.CONVERGED and same.convergence is not None and same.convergence.rhat.isnan().all()
    assert meeting(torch.ones(8, 50, 2), torch.zeros(8, 50, 2)).outcome is Outcome.APART
