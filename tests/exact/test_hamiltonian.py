"""Do the integrators keep volume and run backwards, is the acceptance its formula, and what does a step cost?"""

import math

import pytest
import torch
from torch.autograd.functional import jacobian

from erg.draws import Replay
from erg.energies import Counted, Neural
from erg.roles import Evaluated
from erg.samplers import HMC, Compiled, LowPrecision, Parallel, chain, hmc, sample, underdamped
from erg.samplers.compilation.compiled import Bound, Running
from erg.samplers.hamiltonian import hmc as hamiltonian
from erg.samplers.hamiltonian.hmc import drift, leapfrog, slope
from erg.support import Box, Real

T = 0.7
CHAINS = 40
STEP_SIZES = torch.linspace(0.05, 0.9, CHAINS, dtype=torch.float64)
SUPPORTS = {"real": Real(), "box": Box(-0.9, 0.6)}


def skewed(x):
    return (x + (-x).exp() + 0.1 * x**4).sum(1) / T + (x[:, 0] * x[:, 1]).sin()


def skewed_gradient(x):
    gradient = (1 - (-x).exp() + 0.4 * x**3) / T
    product = (x[:, :1] * x[:, 1:2]).cos()
    return gradient + torch.cat([product * x[:, 1:2], product * x[:, :1], torch.zeros_like(x[:, 2:])], 1)


def differentiable(energy, x):
    """`evaluate` for those who want the derivative of a whole step."""
    value = energy(x)
    return Evaluated(x, value, torch.autograd.grad(value.sum(), x, create_graph=True)[0])


def volume(step, entries):
    """|det| of the Jacobian of one row's (x, p) -> (x', p')."""
    start = torch.linspace(-0.5, 0.4, 2 * entries, dtype=torch.float64).roll(3)

    def flow(both):
        x, p = step(both[None, :entries], both[None, entries:])
        return torch.cat([x[0], p[0]])

    moved = flow(start.clone().requires_grad_())
    assert not torch.allclose(moved, start, atol=0.1)
    return float(jacobian(flow, start).det().abs())


@pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)
@pytest.mark.parametrize("size", [0.4, -0.7])
def test_leapfrogs_keep_volume(support, size, monkeypatch):
    monkeypatch.setattr(hamiltonian, "evaluate", differentiable)

    def step(x, p):
        here = slope(skewed, x)
        for _ in range(4):
            here, p = leapfrog(skewed, here, p, size, support=support)
        return here.x, p

    assert volume(step, 3) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)
def test_friction_alone_shrinks_volume(support, monkeypatch):
    monkeypatch.setattr(hamiltonian, "evaluate", differentiable)
    kernel = underdamped(0.4, 0.8)
    noise = torch.tensor([[0.3, -1.2, 0.8]], dtype=torch.float64)
    energy = Neural(skewed, support=support)

    def step(x, v):
        state = kernel.init(energy, x)._replace(velocity=v, started=torch.tensor([True]))
        state, _ = kernel.step(energy, state, Replay([noise]))
        return state.x, state.velocity

    assert volume(step, 3) == pytest.approx(math.exp(-3 * 0.8 * 0.4), rel=1e-12)


@pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)
@pytest.mark.parametrize("back", ["momentum turned", "negative step"])
def test_leapfrogs_run_backwards(support, back, rng):
    x = support.initial((CHAINS, 3), rng, like=torch.zeros((), dtype=torch.float64)) * 0.6
    p = torch.randn(CHAINS, 3, generator=rng, dtype=torch.float64)
    here, moved = slope(skewed, x), p
    for _ in range(7):
        here, moved = leapfrog(skewed, here, moved, 0.3, support=support)
    assert support.contains(here.x).all() and (here.x - x).abs().amax() > 0.5
    sign = -1 if back == "momentum turned" else 1
    moved = sign * moved
    for _ in range(7):
        here, moved = leapfrog(skewed, here, moved, -0.3 * sign, support=support)
    torch.testing.assert_close(here.x, x, atol=1e-12, rtol=0)
    torch.testing.assert_close(sign * moved, p, atol=1e-12, rtol=0)


@pytest.mark.parametrize("h", [0.01, 0.3, 2.0, 11.0, -5.0])
def test_walls_reflect(h, rng):
    # Step by step: fly to the nearest wall, turn round, until the time is used up.
    def bounce(x, p, time):
        if time < 0:
            x, p = bounce(x, -p, -time)
            return x, -p
        while True:
            wall = 0.6 if p > 0 else -0.9
            arrival = (wall - x) / p
            if arrival >= time:
                return x + p * time, p
            x, p, time = wall, -p, time - arrival

    x = Box(-0.9, 0.6).initial((CHAINS, 1), rng, like=torch.zeros((), dtype=torch.float64))
    p = torch.randn(CHAINS, 1, generator=rng, dtype=torch.float64)
    expected = torch.tensor([bounce(float(a), float(b), h) for a, b in zip(x, p, strict=True)], dtype=torch.float64)
    moved = torch.cat(drift(x, p, h, support=Box(-0.9, 0.6)), 1)
    torch.testing.assert_close(moved, expected, atol=1e-12, rtol=0)


@pytest.fixture
def noise(rng):
    """A start, the momenta, and the uniform draws of one step in three dimensions."""
    x, p = torch.randn(2, CHAINS, 3, generator=rng, dtype=torch.float64)
    u, v = torch.rand(2, CHAINS, generator=rng, dtype=torch.float64)
    return x, p, u, v


@pytest.mark.parametrize("jitter", [0.0, 0.6])
@pytest.mark.parametrize("step_size", [STEP_SIZES, 0.6], ids=["per chain", "one"])
def test_hmc_accepts_by_the_change_of_the_hamiltonian(step_size, jitter, noise):
    x, p, u, v = noise
    h = torch.as_tensor(step_size, dtype=torch.float64).expand(CHAINS) * (1 + jitter * (2 * v - 1))
    h = h[:, None]
    end, moved = x, p
    for _ in range(5):
        half = moved - h / 2 * skewed_gradient(end)
        end = end + h * half
        moved = half - h / 2 * skewed_gradient(end)
    before, after = (skewed(y) + q.square().sum(1) / 2 for y, q in ((x, p), (end, moved)))
    expected = (before - after).exp().clamp(max=1).nan_to_num(nan=0.0)
    replay = Replay([v, p, u] if jitter else [p, u])
    state, acceptance = next(chain(hmc(step_size, 5, jitter=jitter), skewed, x, replay))
    assert ((expected > 0.05) & (expected < 0.95)).sum() > 5 and 2 < (u < expected).sum() < CHAINS - 2
    torch.testing.assert_close(acceptance, expected, atol=1e-11, rtol=1e-10)
    truth = torch.where((u < expected)[:, None], end, x)
    torch.testing.assert_close(state.x, truth, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(state.energy, skewed(truth), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(state.gradient, skewed_gradient(truth), atol=1e-10, rtol=1e-10)


def test_a_row_that_meets_a_non_finite_energy_on_its_way_is_rejected():
    def moat(x):  # a NaN strip with the same slope of 0 on both sides: trajectories are straight lines
        return torch.where((x[:, 0] > 1) & (x[:, 0] < 2), torch.nan, 0.0 * x[:, 0])

    x = torch.zeros(3, 1)
    momenta = torch.tensor([[3.0], [0.5], [-3.0]])
    state, acceptance = next(chain(hmc(0.5, 2), moat, x, Replay([momenta, torch.zeros(3)])))
    # The first row would end at 3, beyond the strip, by way of 1.5.
    assert torch.equal(state.x, torch.tensor([[0.0], [0.5], [-3.0]]))
    assert torch.equal(acceptance, torch.tensor([0.0, 1.0, 1.0]))


@pytest.mark.parametrize("leapfrogs", [1, 2, 7])
def test_leapfrogs_are_gradients(leapfrogs, rng):
    energy = Counted(Neural(skewed))
    sample(hmc(0.1, leapfrogs), energy, torch.zeros(4, 3), 6, rng)
    assert (energy.gradients, energy.values) == (1 + 6 * leapfrogs, 0)


@pytest.mark.parametrize("kernel", [hmc(0.3, 3, jitter=0.4), hmc(STEP_SIZES.float(), 2)], ids=["jitter", "per chain"])
@pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)
def test_hmc_compiles(kernel, support, rng):
    energy, x = Neural(skewed, support=support), torch.randn(CHAINS, 3, generator=rng).clamp(-0.9, 0.6)
    state, _ = next(chain(Compiled(kernel), energy, x, torch.Generator().manual_seed(1)))
    assert isinstance(state, Running) and isinstance(state.bound, Bound)
    ends = [sample(k, energy, x, 5, torch.Generator().manual_seed(1)) for k in (kernel, Compiled(kernel))]
    torch.testing.assert_close(*ends, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrap", [LowPrecision, lambda kernel: Parallel(kernel, 2)], ids=["low", "parallel"])
def test_hmc_inside_wrappers_is_hmc(wrap, rng):
    x = torch.randn(CHAINS, 3, generator=rng)
    ends = [sample(k, skewed, x, 3, torch.Generator().manual_seed(1)) for k in (hmc(0.2, 3), wrap(hmc(0.2, 3)))]
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: HMC(0.0, 3),
        lambda: HMC(torch.tensor([0.1, -1.0]), 3),
        lambda: HMC(0.1, 0),
        lambda: HMC(0.1, 3, jitter=1.0),
        lambda: HMC(0.1, 3, jitter=-0.1),
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="HMC needs"):
        wrong()
