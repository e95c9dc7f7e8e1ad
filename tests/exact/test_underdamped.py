"""Is BAOAB its formulas, has it the stationary law of a linear recursion, and is a search its formulas?"""

import math

import pytest
import torch

from erg.draws import Replay
from erg.energies import Counted, Gaussian, Neural
from erg.samplers import Compiled, Underdamped, chain, sample, underdamped
from erg.samplers.compilation.compiled import Bound, Running
from erg.samplers.tuning.work import beyond_rounding

T = 0.7


def skewed(x):
    return (x + (-x).exp() + 0.1 * x**4).sum(1) / T


def skewed_gradient(x):
    return (1 - (-x).exp() + 0.4 * x**3) / T


@pytest.mark.parametrize("per_chain", [False, True])
def test_steps_are_kick_drift_noise_drift_kick(per_chain, rng):
    x, *noise = torch.randn(4, 30, 3, generator=rng, dtype=torch.float64)
    h = torch.linspace(0.1, 0.5, 30, dtype=torch.float64) if per_chain else 0.3
    friction = torch.linspace(2.0, 0.4, 30, dtype=torch.float64) if per_chain else 1.7
    states = chain(underdamped(h, friction), skewed, x, Replay(noise))
    h, friction = (torch.as_tensor(value, dtype=torch.float64).expand(30)[:, None] for value in (h, friction))
    v = noise[0]  # the first noise is the starting velocity, and there is no friction yet
    for step, xi in enumerate(noise):
        v = v - h / 2 * skewed_gradient(x)
        x = x + h / 2 * v
        if step:
            v = (-friction * h).exp() * v + (1 - (-2 * friction * h).exp()).sqrt() * xi
        x = x + h / 2 * v
        v = v - h / 2 * skewed_gradient(x)
        state, acceptance = next(states)
        torch.testing.assert_close(state.x, x, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(state.velocity, v, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(state.here.energy, skewed(x), atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(state.here.gradient, skewed_gradient(x), atol=1e-12, rtol=1e-12)
        assert (acceptance == 1).all()


def stationary(kernel, variance):
    """The covariance of (x, v) that one step of the kernel keeps, for E = x^2 / (2 variance)."""
    energy = Gaussian(torch.zeros(1, dtype=torch.float64), torch.tensor([variance], dtype=torch.float64))
    # One row for each of x, v and the noise: the step is linear in them.
    x, v, xi = torch.eye(3, dtype=torch.float64)[:, :, None]
    state = kernel.init(energy, x)._replace(velocity=v, started=torch.ones(3, dtype=torch.bool))
    after, _ = kernel.step(energy, state, Replay([xi]))
    matrix = torch.cat([after.x, after.velocity], 1).T
    moves, noise = matrix[:, :2], matrix[:, 2:]
    # C = A C A' + b b' is linear in C.
    system = torch.eye(4, dtype=torch.float64) - torch.kron(moves, moves)
    return torch.linalg.solve(system, (noise @ noise.T).reshape(4)).reshape(2, 2)


@pytest.mark.parametrize("friction", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("h, variance", [(0.5, 1.0), (1.0, 1.0), (1.9, 1.0), (0.7, 0.36), (0.4, 2.5)])
def test_positions_on_a_gaussian_are_exact_at_every_step_size(h, friction, variance):
    found = stationary(underdamped(h, friction), variance)
    expected = torch.tensor([[variance, 0.0], [0.0, 1 - h**2 / (4 * variance)]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("h, expected", [(0.5, 1.09), (1.0, 2.0)])
def test_symplectic_euler_is_what_it_is_better_than(h, expected):
    # v' = (1 - h) v - h x + sqrt(2h) xi, x' = x + h v': friction 1, published as exact.
    moves = torch.tensor([[1 - h**2, h * (1 - h)], [-h, 1 - h]], dtype=torch.float64)
    noise = math.sqrt(2 * h) * torch.tensor([[h], [1.0]], dtype=torch.float64)
    system = torch.eye(4, dtype=torch.float64) - torch.kron(moves, moves)
    found = torch.linalg.solve(system, (noise @ noise.T).reshape(4))[0]
    assert float(found) == pytest.approx(expected, abs=0.005)


def test_a_step_is_a_gradient(rng):
    energy = Counted(skewed)
    sample(underdamped(0.1, 1.0), energy, torch.zeros(4, 3), 7, rng)
    assert (energy.gradients, energy.values) == (8, 0)


def test_it_compiles(rng):
    x, kernel = torch.randn(20, 3, generator=rng), underdamped(0.2, 1.3)
    state, _ = next(chain(Compiled(kernel), skewed, x, torch.Generator().manual_seed(1)))
    assert isinstance(state, Running) and isinstance(state.bound, Bound)
    ends = [sample(k, skewed, x, 9, torch.Generator().manual_seed(1)) for k in (kernel, Compiled(kernel))]
    torch.testing.assert_close(*ends, atol=1e-5, rtol=1e-5)


# A search.


def energies(x, v):
    return skewed(x) + v.square().sum(1) / 2


@pytest.mark.parametrize("friction", [None, 1.7])
def test_the_first_errors_give_the_step_size_and_the_mean_of_later_ones(friction, rng):
    n, d, h, decay = 30, 3, 0.25, 149 / 151
    x, *noise = torch.randn(6, n, d, generator=rng, dtype=torch.float64)
    x = 0.3 * x
    states = chain(underdamped(friction=friction), skewed, x, Replay(noise))
    h, weight, errors = torch.full((n,), h).double(), torch.zeros(n).double(), torch.zeros(n).double()
    v = noise[0]
    for step, xi in enumerate(noise):
        size = h[:, None]
        gamma = friction or 1 / (10 * size)
        start, rounding = energies(x, v), skewed(x).abs() + v.square().sum(1) / 2
        v = v - size / 2 * skewed_gradient(x)
        x = x + size / 2 * v
        before = v.square().sum(1) / 2
        if step:
            v = (-gamma * size).exp() * v + (1 - (-2 * gamma * size).exp()).sqrt() * xi
        after = v.square().sum(1) / 2
        x = x + size / 2 * v
        v = v - size / 2 * skewed_gradient(x)
        work = energies(x, v) - start - (after - before)
        rounding = rounding + skewed(x).abs() + v.square().sum(1) / 2
        work = (work.abs() - 4 * 2.0**-52 * rounding).clamp(min=0)
        ratio = work.square() / (1e-3 * d)
        trust = (-0.5 * (ratio.log() / 9).square()).exp()
        weight, errors = decay * weight + trust, decay * errors + trust * ratio
        new = h * (weight / errors) ** (1 / 6)
        errors, h = errors * (new / h) ** 6, new
        state, acceptance = next(states)
        torch.testing.assert_close(state.x, x, atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(state.search.step_size, h, atol=1e-10, rtol=1e-8)
        length = torch.full_like(h, 1 / friction) if friction else 10 * h
        torch.testing.assert_close(state.search.length, length, atol=0, rtol=1e-8)
        assert (acceptance == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_rounding_may_have_made_is_no_work(dtype):
    parts = torch.tensor([1000.0, 1000.0, 0.0]).to(dtype), torch.tensor([-1000.0, 24.0, 0.0])
    rounding = 4 * (parts[0].float() * torch.finfo(dtype).eps + parts[1].abs() * 2.0**-23)
    work = torch.tensor([-200.0, 0.9 * float(rounding[1]), 0.3])
    found = beyond_rounding(work, *parts)
    torch.testing.assert_close(found, torch.tensor([-200.0 + float(rounding[0]), 0.0, 0.3]))


@pytest.mark.parametrize("friction, power", [(1e-6, 6), (1.0, 5)])
def test_the_squared_work_grows_with_its_power_of_the_step_size(friction, power, rng):
    x, v, xi = torch.randn(3, 4000, 5, generator=rng, dtype=torch.float64)
    energy = Gaussian(torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64))

    def worked(h):
        """The mean over rows of the squared work a dimension, from the step size that one error leads to."""
        state = Underdamped(friction=friction).init(energy, x)
        state = state._replace(velocity=v, started=torch.ones(4000, dtype=torch.bool))
        state = state._replace(search=state.search._replace(step_size=torch.full((4000,), h, dtype=torch.float64)))
        after, _ = Underdamped(friction=friction).step(energy, state, Replay([xi]))
        return 1e-3 * (h / after.search.step_size).pow(6).mean()

    assert worked(0.1) / worked(0.05) == pytest.approx(2**power, rel=0.1)
    # Of leapfrog, h^6 / 16; noise between its halves adds h^4 (1 - exp(-2 gamma h)) / 16, about gamma h^5 / 8.
    expected = 1e-6 / 16 - 1e-4 * math.expm1(-0.2 * friction) / 16
    assert worked(0.1) == pytest.approx(expected, rel=0.1)


def test_a_step_that_leads_nowhere_is_not_made_while_a_row_searches():
    def half(x):
        return torch.where(x[:, 0] > 0, x.square().sum(1) / 2, torch.inf)

    x = torch.tensor([[0.05, 0.0], [3.0, 0.0]], dtype=torch.float64)
    kernel = underdamped(friction=1.0)
    to_the_left = torch.tensor([[-1.0, 0.0]], dtype=torch.float64).expand(2, 2)
    state, acceptance = next(chain(kernel, half, x, Replay([to_the_left])))
    assert acceptance.tolist() == [0.0, 1.0]
    assert torch.equal(state.x[0], x[0]) and state.x[1, 0] < 3
    assert state.search.step_size[0] == pytest.approx(0.2) and torch.equal(state.velocity[0], to_the_left[0])
    away = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(2, 2)
    state = state._replace(velocity=away)
    state, acceptance = kernel.step(Neural(half), state, Replay([to_the_left]))
    assert acceptance.tolist() == [1.0, 1.0]


def test_a_step_of_a_thousand_nats_is_not_made_and_the_next_are_smaller():
    def wall(x):
        return 1e4 * x.square().sum(1)

    x = torch.full((1, 4), 0.5, dtype=torch.float64)
    still = torch.zeros(1, 4, dtype=torch.float64)
    state, acceptance = next(chain(underdamped(friction=1.0), wall, x, Replay([still])))
    assert acceptance.tolist() == [0.0] and torch.equal(state.x, x)
    assert state.search.step_size[0] < 0.025 and state.search.ceiling[0] == torch.inf


def test_a_row_from_nowhere_goes_on_until_it_is_somewhere(rng):
    def inside(x):
        return torch.where(x.abs().amax(1) < 2, x.square().sum(1) / 2, torch.inf)

    states = chain(underdamped(), inside, torch.full((50, 2), 2.3), rng)
    for _ in range(60):
        state, _ = next(states)
    arrived = state.here.energy.isfinite()
    assert arrived.float().mean() > 0.2 and state.x.isfinite().all()
    for _ in range(20):
        state, acceptance = next(states)
        assert state.here.energy[arrived].isfinite().all() and (acceptance[~state.here.energy.isfinite()] == 0).all()


def test_no_search_where_nothing_is_missing(rng):
    x = torch.zeros(4, 3)
    given = underdamped(0.2, 1.0)
    assert given.init(skewed, x).search is None and given.adapted(given.init(skewed, x)) is given
    energy = Counted(skewed)
    state, _ = next(chain(underdamped(0.2), energy, x, rng))
    assert energy.gradients == 2
    assert torch.equal(state.search.step_size, torch.full((4,), 0.2))
    per_chain = Underdamped(friction=torch.tensor([0.5, 1.0, 2.0, 4.0]))
    torch.testing.assert_close(1 / per_chain.init(skewed, x).search.length, per_chain.friction)


def test_a_search_compiles(rng):
    x, kernel = torch.randn(20, 3, generator=rng), underdamped()
    state, _ = next(chain(Compiled(kernel), skewed, x, torch.Generator().manual_seed(1)))
    assert isinstance(state, Running) and isinstance(state.bound, Bound)
    ends = [sample(k, skewed, x, 9, torch.Generator().manual_seed(1)) for k in (kernel, Compiled(kernel))]
    torch.testing.assert_close(*ends, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrong", [(0.0, 1.0), (0.1, torch.tensor([0.0])), (None, -1.0)], ids=str)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="Underdamped needs a positive, finite"):
        Underdamped(*wrong)
    with pytest.raises(ValueError, match="Underdamped needs search of at least 80, but got 10"):
        Underdamped(search=10)
