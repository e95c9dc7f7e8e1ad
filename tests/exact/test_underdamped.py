"""Is BAOAB its formulas, and does it have the stationary law that a linear recursion must have?"""

import math

import pytest
import torch

from erg.draws import Replay
from erg.energies import Counted, Gaussian
from erg.samplers import Compiled, Underdamped, chain, sample, underdamped
from erg.samplers.compilation.compiled import Bound, Running

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


@pytest.mark.parametrize("wrong", [lambda: Underdamped(0.0, 1.0), lambda: Underdamped(0.1, torch.tensor([0.0]))])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="Underdamped needs a positive, finite"):
        wrong()
