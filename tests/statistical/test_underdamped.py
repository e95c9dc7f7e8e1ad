"""Does underdamped Langevin find its settings, and is the law right at those it finds?"""

import pytest
import torch

from erg.draws import Replay
from erg.energies import Neural
from erg.samplers import MCLMC, Preconditioned, Underdamped, chain, underdamped, warmup
from erg.samplers.hamiltonian.hmc import kinetic
from tests.statistical.laws import SIGMAS, TARGETS, departures


def law(x, scale):
    return (x / scale[:, None]).square().sum(1) / 2


def after_search(kernel, energy, x, rng):
    steps = chain(kernel, energy, x, rng)
    for _ in range(kernel.search):
        state, _ = next(steps)
    return state, steps


def test_each_row_finds_settings_in_units_of_its_own_law_and_keeps_them(rng):
    # The first guess, 0.25, is a hundred times too large, about right, and a hundred times too small.
    scale = torch.tensor([0.005, 0.5, 50.0]).repeat_interleave(12)
    x = scale[:, None] * torch.randn(36, 6, generator=rng)
    state, steps = after_search(Underdamped(search=600), lambda x: law(x, scale), x, rng)
    found = state.search
    small, middle, large = (found.step_size / scale).reshape(3, 12).log().mean(1).exp().tolist()
    assert small == pytest.approx(middle, rel=0.2) and large == pytest.approx(middle, rel=0.2)
    times = (found.length / scale).reshape(3, 12).log().mean(1).exp()
    assert times.min() > 0.5 and times.max() < 2
    after, _ = next(steps)
    assert torch.equal(after.search.step_size, found.step_size) and torch.equal(after.search.length, found.length)


@pytest.mark.parametrize(
    "kernel, least", [(Underdamped(search=1000), 0.05), (MCLMC(search=1000), 0.5)], ids=["underdamped", "mclmc"]
)
def test_far_out_where_rounding_is_larger_than_the_error_of_any_step_rows_go_on(kernel, least, rng):
    x = 300 * torch.randn(8, 100, generator=rng)
    state, _ = after_search(kernel, lambda x: x.square().sum(1) / 2, x, rng)
    assert state.search.step_size.min() > least


def squared_work(kernel, energy, x, rng, steps):
    """Of every step of a kernel with given settings, per dimension, from its states alone."""
    h, gamma = kernel.step_size, kernel.friction
    kept = torch.tensor(-gamma * h).exp()
    noise = torch.randn(steps, *x.shape, generator=rng)
    states, found = chain(kernel, energy, x, Replay(list(noise))), []
    old, _ = next(states)
    for xi in noise[1:]:
        new, _ = next(states)
        before = old.velocity - h / 2 * old.here.gradient
        after = kept * before + (1 - kept**2).sqrt() * xi
        total = new.here.energy + kinetic(new.velocity) - old.here.energy - kinetic(old.velocity)
        found.append((total - kinetic(after) + kinetic(before)).square() / x[0].numel())
        old = new
    return torch.stack(found)


@pytest.mark.parametrize("target, event", [("gaussian", (10,)), ("gumbel", (10,))])
def test_the_work_at_the_step_size_found_is_the_figure_wanted(target, event, rng):
    target = TARGETS[target](event)
    x = target.exact(32, rng)
    kernel = underdamped().adapted(after_search(Underdamped(search=800), target.energy, x, rng)[0])
    errors = squared_work(kernel, target.energy, x, rng, 400)[100:]
    assert 5e-4 < errors.mean() < 2e-3


def test_warmup_gives_a_kernel_with_settings_and_scales(rng):
    scale = torch.logspace(-1, 1, 20)
    energy = Neural(lambda x: (x / scale).square().sum(1) / 2)
    kernel = warmup(underdamped(), energy, scale * torch.randn(32, 20, generator=rng), 3000, rng)
    assert isinstance(kernel, Preconditioned) and isinstance(kernel.kernel, Underdamped)
    torch.testing.assert_close(kernel.scale, scale, rtol=0.3, atol=0)
    # On unit scales, friction 1 and the step whose squared work is 0.001 a dimension.
    assert kernel.kernel.step_size == pytest.approx(0.4, rel=0.1)
    assert kernel.kernel.friction == pytest.approx(1.0, rel=0.3)
    assert kernel.kernel.init(energy, scale[None]).search is None


@pytest.mark.parametrize("event", [(2,), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("target", ["gaussian", "gumbel"])
def test_the_kernel_that_was_found_has_the_moments_of_the_law(target, event, rng):
    target = TARGETS[target](event)
    kernel = warmup(Underdamped(search=600), target.energy, target.exact(32, rng), 800, rng)
    found = departures(kernel, target, seed=5, chains=4000)
    assert max(found.values()) < SIGMAS, found


def test_a_search_in_a_box_stays_inside_and_leaves_the_walls_empty(rng):
    target = TARGETS["slope"]((3,))
    kernel = Underdamped(search=200)
    state, _ = after_search(kernel, target.energy, target.exact(200, rng), rng)
    assert (state.x.abs() < 1).all()
    settled = kernel.adapted(state)
    assert 0.01 < settled.step_size < 2 and 0.1 < settled.friction < 20
    found = departures(settled, target, seed=6, chains=4000)
    assert max(found.values()) < SIGMAS, found
