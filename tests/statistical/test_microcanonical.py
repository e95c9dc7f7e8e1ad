"""Is the law of MCLMC and MAMS right, and do they find their settings?"""

import pytest
import torch

from erg.energies import Counted
from erg.samplers import MAMS, MCLMC, chain, mams, mclmc
from tests.statistical.laws import SIGMAS, TARGETS, departures

EVENTS = [(2,), (3,), (10,), (1, 2, 2)]


@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("target", ["gaussian", "gumbel", "half_line"])
def test_mams_keeps_the_law(target, event):
    found = departures(mams(0.9, 1.8), TARGETS[target](event), seed=7 + event[-1], steps=5)
    assert max(found.values()) < SIGMAS, found


@pytest.mark.parametrize("target", ["gaussian", "gumbel"])
def test_mams_keeps_the_law_with_a_step_size_for_each_chain(target):
    kernel = mams(torch.linspace(0.5, 2.5, 20_000), 2.5)
    found = departures(kernel, TARGETS[target]((3,)), seed=4, steps=4)
    assert max(found.values()) < SIGMAS, found


@pytest.mark.parametrize("event", [(2,), (10,)], ids=str)
@pytest.mark.parametrize("target", ["gaussian", "gumbel"])
def test_mclmc_keeps_the_law_at_a_small_step(target, event):
    found = departures(mclmc(0.2, 1.5), TARGETS[target](event), seed=3, steps=12)
    assert max(found.values()) < SIGMAS, found


def gaussian(x):
    return x.square().flatten(1).sum(1) / 2


def law(x, scale):
    return (x / scale[:, None]).square().sum(1) / 2


@pytest.mark.parametrize("kernel", [MCLMC(search=300), MAMS(search=120)], ids=["mclmc", "mams"])
def test_each_row_finds_settings_in_units_of_its_own_law_and_keeps_them(kernel, rng):
    scale = torch.tensor([0.5, 20.0]).repeat_interleave(12)
    x = scale[:, None] * torch.randn(24, 6, generator=rng)
    steps = chain(kernel, lambda x: law(x, scale), x, rng)
    for _ in range(kernel.search):
        state, _ = next(steps)
    found = state.search
    for setting in (found.step_size, found.length):
        small, large = setting.reshape(2, 12).log().mean(1).exp()
        assert large / small == pytest.approx(40, rel=0.25)
    after, _ = next(steps)
    assert torch.equal(after.search.step_size, found.step_size) and torch.equal(after.search.length, found.length)


@pytest.mark.parametrize("kernel", [MCLMC(search=200), MAMS(search=80)], ids=["mclmc", "mams"])
def test_what_was_found_is_used_again_without_another_gradient(kernel, rng):
    energy = Counted(gaussian)
    steps = chain(kernel, energy, torch.randn(8, 5, generator=rng), rng)
    for _ in range(kernel.search):
        state, _ = next(steps)
    spent = energy.gradients
    settled = kernel.adapted(state)
    assert energy.gradients == spent
    assert settled.step_size == pytest.approx(state.search.step_size.median().item())
    assert settled.length == pytest.approx(state.search.length.median().item())
    fresh = settled.init(energy, state.x)
    assert fresh.search is None and settled.adapted(fresh) is settled
    given = type(kernel)(length=3.0, search=kernel.search)
    assert given.adapted(state).length == 3.0
