"""Isokinetic flight, MCLMC and MAMS against formulas written out here, and what they cost."""

import math

import pytest
import torch
from torch.autograd.functional import jacobian

from erg.draws import Replay
from erg.energies import Counted, Neural, evaluate
from erg.roles import Evaluated
from erg.samplers import MAMS, MCLMC, Compiled, Preconditioned, chain, mams, mclmc, sample
from erg.samplers.compilation.compiled import Bound, Eager
from erg.samplers.microcanonical import isokinetic
from erg.samplers.microcanonical.isokinetic import OUTER, Flight, fly, kick, refreshed, unit, work
from erg.samplers.tuning import moments

T = 0.7


def skewed(x):
    return (x + (-x).exp() + 0.1 * x**4).sum(1) / T


def skewed_gradient(x):
    return (1 - (-x).exp() + 0.4 * x**3) / T


def gaussian(x):
    return x.square().flatten(1).sum(1) / 2


def differentiable(energy, x):
    return Evaluated(x, skewed(x), skewed_gradient(x))


def tangents(u):
    """An orthonormal basis of what is orthogonal to u."""
    return torch.linalg.svd(u[None]).Vh[1:].T


def log_volume(matrix, before, after):
    """The log of the volume of the tangent map, between the spaces of (x, u) on the unit sphere."""
    d = len(before)
    inner, outer = (torch.block_diag(torch.eye(d).double(), tangents(u)) for u in (before, after))
    return torch.linalg.slogdet(outer.T @ matrix @ inner).logabsdet


def start(d, rng, n=1):
    x, u = torch.randn(2, n, d, generator=rng, dtype=torch.float64)
    return x, unit(u)


def written_out_kick(u, g, t):
    d, norm = u.shape[1], g.norm(dim=1, keepdim=True)
    e, delta = -g / norm, t * norm / (u.shape[1] - 1)
    along = (e * u).sum(1, keepdim=True)
    scale = delta.cosh() + along * delta.sinh()
    return (u + e * (delta.sinh() + (delta.cosh() - 1) * along)) / scale, (d - 1) * scale.log()[:, 0]


def written_out_step(x, u, h):
    """One step of the splitting; the new place, direction, and what was squeezed."""
    u, first = written_out_kick(u, skewed_gradient(x), OUTER * h)
    x = x + h / 2 * u
    u, second = written_out_kick(u, skewed_gradient(x), (1 - 2 * OUTER) * h)
    x = x + h / 2 * u
    u, third = written_out_kick(u, skewed_gradient(x), OUTER * h)
    return x, u, first + second + third


@pytest.mark.parametrize("d", [2, 3, 10])
def test_a_kick_is_its_formula_and_its_volume(d, rng):
    x, u = start(d, rng, 5)
    time = torch.tensor([0.01, 0.1, 0.4, 1.0, 3.0]).double()
    turned, squeezed = kick(u, evaluate(skewed, x), time)
    expected, lost = written_out_kick(u, skewed_gradient(x), time[:, None])
    torch.testing.assert_close(turned, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(squeezed, lost, atol=1e-11, rtol=0)
    torch.testing.assert_close(turned.norm(dim=1), torch.ones(5).double(), atol=1e-14, rtol=0)
    for row in range(5):
        here = evaluate(skewed, x[row : row + 1])

        def turn(v, here=here, row=row):
            return kick(v[None], here, time[row : row + 1])[0][0]

        volume = torch.linalg.slogdet(tangents(turned[row]).T @ jacobian(turn, u[row]) @ tangents(u[row])).logabsdet
        assert squeezed[row] == pytest.approx(-volume.item(), abs=1e-10)


@pytest.mark.parametrize("d", [2, 3, 10])
def test_the_work_of_a_flight_is_its_change_of_energy_and_volume(d, rng, monkeypatch):
    monkeypatch.setattr(isokinetic, "slope", differentiable)
    (x,), (u,) = start(d, rng)
    h = torch.tensor([0.6]).double()

    def flight(z):
        here = differentiable(skewed, z[None, :d])
        flown = Flight(here, z[None, d:], torch.zeros(1).double())
        for _ in range(3):
            flown = fly(skewed, flown, h)
        return flown

    z = torch.cat([x, u])
    end = flight(z)
    matrix = jacobian(lambda z: torch.cat([flight(z).at.x[0], flight(z).direction[0]]), z)
    volume = log_volume(matrix, u, end.direction[0])
    assert abs(volume) > 0.1
    expected = skewed(end.at.x) - skewed(x[None]) - volume
    torch.testing.assert_close(work(differentiable(skewed, x[None]), end), expected, atol=1e-10, rtol=0)


def test_a_flight_goes_back_when_it_is_turned_around(rng):
    x, u = start(4, rng, 6)
    h = torch.linspace(0.1, 0.9, 6).double()
    there = Flight(evaluate(skewed, x), u, torch.zeros(6).double())
    for _ in range(5):
        there = fly(skewed, there, h)
    torch.testing.assert_close(there.direction.norm(dim=1), torch.ones(6).double(), atol=1e-13, rtol=0)
    back = there._replace(direction=-there.direction)
    for _ in range(5):
        back = fly(skewed, back, h)
    torch.testing.assert_close(back.at.x, x, atol=1e-11, rtol=0)
    torch.testing.assert_close(back.direction, -u, atol=1e-11, rtol=0)
    torch.testing.assert_close(back.squeezed, torch.zeros(6).double(), atol=1e-10, rtol=0)


def test_the_work_of_a_step_falls_with_the_third_power_of_its_size(rng):
    x, u = start(5, rng, 200)

    def worked(h):
        here = evaluate(skewed, x)
        step = fly(skewed, Flight(here, u, torch.zeros(200).double()), torch.full((200,), h).double())
        return work(here, step).square().mean().sqrt()

    assert worked(0.02) / worked(0.01) == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_steep_slopes_and_flat_ones_keep_the_direction_a_direction(dtype, rng):
    u = unit(torch.randn(50, 3, generator=rng))
    x = torch.zeros(50, 3, dtype=dtype)
    for steep in (0.0, 1e-30, 1e-3, 1.0, 1e6, 1e18):
        gradient = (steep * torch.randn(50, 3, generator=rng)).to(dtype)
        here = Evaluated(x, torch.zeros(50, dtype=dtype), gradient)
        turned, squeezed = kick(u, here, torch.full((50,), 0.5))
        torch.testing.assert_close(turned.norm(dim=1), torch.ones(50))
        assert squeezed.isfinite().all()
        assert steep > 1e-30 or (squeezed == 0).all()


def test_straight_uphill_nothing_turns_and_volume_grows_by_the_gain():
    # Downhill volumes shrink by as much as the energy falls, and uphill they grow.
    here = Evaluated(torch.zeros(2, 3), torch.zeros(2), torch.tensor([[0.0, 2.0, 0.0]] * 2))
    u = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    turned, squeezed = kick(u, here, torch.tensor([0.4, 0.4]))
    torch.testing.assert_close(turned, u)
    torch.testing.assert_close(squeezed, torch.tensor([-0.8, 0.8]))


def test_a_refreshed_direction_keeps_what_it_should(rng):
    u = unit(torch.randn(1, 3, generator=rng)).expand(60_000, 3)
    noise = torch.randn(60_000, 3, generator=rng)
    kept = torch.tensor(0.8).expand(60_000)
    new = refreshed(u, noise, kept)
    expected = 0.8 * u + (0.36 / 3) ** 0.5 * noise
    torch.testing.assert_close(new, expected / expected.norm(dim=1, keepdim=True))
    anew = refreshed(torch.zeros_like(u), noise, kept)
    torch.testing.assert_close(anew.norm(dim=1), torch.ones(60_000))
    # Uniform: mean 0 and covariance I / 3.
    assert anew.mean(0).abs().max() < 5 * (1 / 3 / 60_000) ** 0.5
    torch.testing.assert_close(anew.T @ anew / 60_000, torch.eye(3) / 3, atol=0.01, rtol=0)


def test_mclmc_forgets_a_little_and_makes_a_step(rng):
    x = torch.randn(6, 3, generator=rng, dtype=torch.float64)
    noise = torch.randn(2, 6, 3, generator=rng, dtype=torch.float64)
    h, length = torch.linspace(0.2, 0.7, 6).double(), 1.7
    expected, u = x, torch.zeros_like(x)
    c = torch.exp(-h / length)[:, None]
    for xi in noise:
        u = unit(c * u + ((1 - c**2) / 3).sqrt() * xi)
        expected, u, _ = written_out_step(expected, u, h[:, None])
    found = sample(mclmc(h, length), skewed, x, 2, Replay(list(noise)))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("rows", [False, True], ids=["one count", "a count for each row"])
def test_mams_accepts_by_the_work_of_its_trajectory(rows, rng):
    n = 40
    x, xi = torch.randn(2, n, 3, generator=rng, dtype=torch.float64)
    jitter, decision = torch.rand(2, n, generator=rng, dtype=torch.float64)
    h = torch.linspace(1.0, 2.4, n).double() if rows else 1.8
    size = torch.as_tensor(h, dtype=torch.float64).expand(n) * (1 + 0.3 * (2 * jitter - 1))
    counts = torch.tensor(
        [max(1, round(3.0 / value)) for value in torch.as_tensor(h, dtype=torch.float64).expand(n).tolist()]
    )
    assert not rows or len(counts.unique()) > 1
    end, u, squeezed = x, unit(xi), torch.zeros(n).double()
    for k in range(int(counts.max())):
        new, turned, lost = written_out_step(end, u, size[:, None])
        going = counts > k
        end, u = torch.where(going[:, None], new, end), torch.where(going[:, None], turned, u)
        squeezed = squeezed + going * lost
    expected = (skewed(x) - skewed(end) - squeezed).exp().clamp(max=1)
    state, acceptance = next(chain(mams(h, 3.0), skewed, x, Replay([jitter, xi, decision])))
    assert ((expected > 0.05) & (expected < 0.95)).sum() > 5 and 2 < (decision < expected).sum() < n - 2
    torch.testing.assert_close(acceptance, expected, atol=1e-10, rtol=1e-10)
    truth = torch.where((decision < expected)[:, None], end, x)
    torch.testing.assert_close(state.x, truth, atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(state.at.energy, skewed(truth), atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(state.at.gradient, skewed_gradient(truth), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    "kernel, gradients",
    [(mclmc(0.5, 2.0), 15), (mams(0.5, 2.0), 57), (mams(2.0, 1.0), 15), (MCLMC(), 15), (MAMS(0.5), 1 + 7 * 20)],
    ids=["mclmc", "mams", "mams-short", "searching-mclmc", "searching-mams"],
)
def test_gradients_of_seven_steps(kernel, gradients):
    energy = Counted(gaussian)
    sample(kernel, energy, torch.ones(4, 3), 7)
    assert (energy.gradients, energy.values) == (gradients, 0)


def test_batch_means_of_an_autoregression_give_its_correlation_time(rng):
    # x' = r x + noise: the time is (1 + r) / (1 - r) = 4, less 1.6 / m of it for the ends of blocks of m.
    r, x = 0.6, torch.randn(300, 2, 2, generator=rng)
    known = moments.nothing(x)
    for step in range(1200):
        x = r * x + (1 - r * r) ** 0.5 * torch.randn(x.shape, generator=rng)
        known = moments.gathered(known, 3 * x + 5, block=60, here=torch.arange(300) < step + 300)
    times = moments.correlation_time(known, block=60)
    assert times.mean() == pytest.approx(4, rel=0.1)
    assert moments.variance(known).mean() == pytest.approx(9, rel=0.05)
    assert known.mean.mean() == pytest.approx(5, abs=0.05)
    held = moments.gathered(known, x + 100, block=60, here=torch.zeros(300, dtype=torch.bool))
    assert all(torch.equal(*pair) for pair in zip(known, held, strict=True))


def test_mams_leaves_its_law_as_it_is_once_its_settings_are_given():
    assert mams(0.5, 1.0).invariant and not MAMS().invariant and not MAMS(0.5).invariant
    assert not mclmc(0.5, 1.0).invariant


@pytest.mark.parametrize("kernel", [mclmc(), mams()], ids=["mclmc", "mams"])
@pytest.mark.parametrize("event", [(), (1,), (1, 1)], ids=str)
def test_events_of_one_entry_are_refused(kernel, event):
    with pytest.raises(ValueError, match=r"turns in 2 or more dimensions, but .* have 1\. Use mala\(\) or hmc\(\)"):
        sample(kernel, lambda x: x.square().reshape(len(x), -1).sum(1), torch.zeros(3, *event), 1)


@pytest.mark.parametrize("kernel", [MCLMC, MAMS])
def test_wrong_settings_are_refused_at_construction(kernel):
    for wrong in ({"step_size": 0.0}, {"length": -1.0}, {"step_size": math.nan}, {"search": 10}):
        with pytest.raises(ValueError, match=r"needs (a|search of)"):
            kernel(**wrong)
    with pytest.raises(ValueError, match="one number per row"):
        sample(kernel(torch.ones(2), 1.0), gaussian, torch.zeros(3, 2), 1)


def test_a_step_to_nowhere_is_not_made_and_turns_around():
    def half(x):
        return torch.where(x[:, 0] > 0, x.square().sum(1) / 2, torch.inf)

    x = torch.tensor([[0.05, 0.0], [3.0, 0.0]])
    kernel = mclmc(0.2, 1e6)
    to_the_left = torch.tensor([[-1.0, 0.0]]).expand(2, 2)
    state, acceptance = next(chain(kernel, half, x, Replay([to_the_left])))
    assert acceptance.tolist() == [0.0, 1.0]
    assert torch.equal(state.x[0], x[0]) and state.x[1, 0] < 3
    assert state.direction[0, 0] == pytest.approx(1)
    state, acceptance = kernel.step(Neural(half), state, Replay([torch.zeros(2, 2)]))
    assert acceptance.tolist() == [1.0, 1.0] and state.x[0, 0] > 0.05


@pytest.mark.parametrize(
    "kernel", [mclmc(0.4, 2.0), MCLMC(), mams(0.4, 0.9)], ids=["mclmc", "searching-mclmc", "mams"]
)
def test_a_compiled_chain_follows_the_eager_one(kernel):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    seeded = [torch.Generator().manual_seed(1) for _ in range(2)]
    state, _ = next(chain(Compiled(kernel), gaussian, x, torch.Generator().manual_seed(1)))
    assert isinstance(state.bound, Bound)
    ends = [sample(each, gaussian, x, 6, rng) for each, rng in zip((kernel, Compiled(kernel)), seeded, strict=True)]
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-4)


def test_trajectories_of_each_row_their_own_run_eagerly():
    x = torch.zeros(4, 3)
    for kernel in (MAMS(), mams(torch.linspace(0.2, 0.4, 4), 0.9)):
        state, _ = next(chain(Compiled(kernel), gaussian, x, torch.Generator().manual_seed(1)))
        assert isinstance(state.bound, Eager) and state.bound.reason


def test_other_coordinates_are_another_mass(rng):
    scale = torch.tensor([0.1, 10.0, 3.0])
    x = torch.randn(5, 3, generator=rng)
    kernel = mams(0.7, 1.4)
    stretched = sample(
        Preconditioned(kernel, scale), lambda x: gaussian(x / scale), x * scale, 4, torch.Generator().manual_seed(2)
    )
    plain = sample(kernel, gaussian, x, 4, torch.Generator().manual_seed(2))
    torch.testing.assert_close(stretched, plain * scale, rtol=1e-4, atol=1e-4)
