"""The formulas of warm-up against an independent reckoning."""

import math

import pytest
import torch

from erg.samplers import Constant, Preconditioned, Scheduled, mala, random_walk
from erg.samplers.schedules import setting, with_setting
from erg.samplers.tuning.dual_averaging import Crossing, DualAveraging
from erg.samplers.tuning.spread import Spread, Welford
from erg.samplers.tuning.trajectory import CANDIDATES, Trajectories


def test_dual_averaging_follows_its_formula():
    acceptances = [0.9, 0.2, 0.65, 0.1, 1.0, 0.4]
    averaging = DualAveraging(start=-1.3, target=0.7)
    average = -1.3
    for t, _ in enumerate(acceptances, start=1):
        averaging.update(acceptances[t - 1])
        missed = sum(0.7 - a for a in acceptances[:t])
        theta = -1.3 - math.sqrt(t) / (0.05 * (t + 10)) * missed
        average = t**-0.75 * theta + (1 - t**-0.75) * average
        assert averaging.value == pytest.approx(theta, rel=1e-12)
        assert averaging.average == pytest.approx(average, rel=1e-12)


@pytest.mark.parametrize("start", [-20.0, -0.4, 0.9, 25.0])
def test_a_crossing_is_found_from_any_distance_in_few_steps(start):
    crossing, steps = Crossing(start, target=0.6), 0
    while not crossing.found:
        crossing.update(1 / (1 + math.exp(crossing.value)))  # 0.6 is crossed at log(2 / 3)
        steps += 1
    assert abs(crossing.value - math.log(2 / 3)) <= math.log(2)
    assert steps <= 14 and not crossing.hopeless


@pytest.mark.parametrize("acceptance", [0.0, 1.0])
def test_a_crossing_that_does_not_exist_is_given_up(acceptance):
    crossing = Crossing(0.5, target=0.6)
    for _ in range(10):
        crossing.update(acceptance)
    assert crossing.hopeless and not crossing.found


def test_moments_are_those_of_all_draws_of_the_chosen_chains(rng):
    draws = 3 + torch.tensor([0.5, 2.0, 7.0]) * torch.randn(11, 5, 3, generator=rng, dtype=torch.float64)
    seen = Welford(draws[0])
    for x in draws:
        seen.add(x)
    chosen = torch.tensor([True, True, False, True, True])
    spread = seen.pooled(chosen)
    own = draws[:, chosen].flatten(0, 1)
    variance, n = own.var(0), len(own)
    shrunk = (n / (n + 5) * variance.log() + 5 / (n + 5) * variance.median().log()).exp()
    torch.testing.assert_close(spread.mean, own.mean(0))
    torch.testing.assert_close(spread.deviation, shrunk.sqrt())
    assert spread.uneven and not Spread(own[0], torch.tensor([1.0, 1.9])).uneven


def test_entries_that_never_moved_get_the_typical_scale(rng):
    seen = Welford(torch.zeros(4, 3))
    assert seen.pooled(torch.ones(4, dtype=torch.bool)) is None
    for _ in range(5):
        seen.add(torch.randn(4, 3, generator=rng) * torch.tensor([0.0, 2.0, 2.0]))
    spread = seen.pooled(torch.ones(4, dtype=torch.bool))
    assert spread.deviation[0] in spread.deviation[1:] and not spread.uneven


def test_the_worth_of_a_trajectory_follows_its_formula(rng):
    """Three lengths with known correlations; the best is not the longest."""
    spread = Spread(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    lengths, worth = Trajectories(3 * len(CANDIDATES)), []
    for rho in (0.9, 0.0, -0.2):
        before, after, length = [], [], lengths.next
        for _ in range(lengths.repeats):
            z = torch.randn(50, 2, generator=rng)
            moved = rho * z + (1 - rho**2) ** 0.5 * torch.randn(50, 2, generator=rng)
            lengths.add(spread, *(spread.mean + spread.deviation * v for v in (z, moved)))
            before.append(z.double())
            after.append(moved.double())
        z, moved = torch.cat(before), torch.cat(after)
        kept = []
        for f, g in ((z, moved), (z.square().sum(1), moved.square().sum(1))):
            variance = 1.0 if f.ndim == 2 else f.var(correction=0)
            kept.append(min(1.0, float((g - f).square().mean() / (2 * variance))))
        worth.append(min(kept) / (2 - min(kept)) / length)
    assert lengths.best == CANDIDATES[worth.index(max(worth))] == 2
    assert [round(w, 4) for w in lengths._worth] == [round(w, 4) for w in worth]


def test_of_two_settings_of_one_name_the_inner_one_is_meant():
    kernel = Preconditioned(random_walk(0.5), torch.tensor([1.0, 3.0]))
    changed = with_setting(kernel, "scale", lambda value: 2 * value)
    assert changed.kernel.proposal.scale == 1.0 and changed.scale.tolist() == [1.0, 3.0]
    assert setting(kernel, "scale") == 0.5
    assert with_setting(Preconditioned(mala(0.5), torch.ones(2)), "scale", lambda s: 2 * s).scale.tolist() == [
        2.0,
        2.0,
    ]
    assert setting(Scheduled(mala(0.5), {"step_size": Constant(0.25)}), "step_size") == 0.25
