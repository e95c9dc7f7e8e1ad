"""Are the formulas right, and what does a step cost? Truths are written out here, independent of the code."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from erg.draws import Replay
from erg.energies import Energy, Gaussian, Neural, Path, evaluate
from erg.negatives import Persistent
from erg.roles import Evaluated
from erg.samplers import (
    Constant,
    Cyclical,
    Geometric,
    Langevin,
    Metropolis,
    Polynomial,
    Scheduled,
    ais,
    chain,
    descent,
    mala,
    random_walk,
    sample,
    sgld,
    temperature,
    ula,
    with_setting,
)
from erg.samplers.compilation import compiled
from tests.contracts.kernels import KERNELS, run

every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
T = 0.7
CHAINS = 40
STEP_SIZES = torch.linspace(0.02, 0.4, CHAINS, dtype=torch.float64)


def skewed(x):
    return (x + (-x).exp() + 0.1 * x**4).sum(1)


def skewed_gradient(x):
    return 1 - (-x).exp() + 0.4 * x**3


def normal_log_density(x, mean, variance):
    return (-0.5 * (x - mean) ** 2 / variance - 0.5 * torch.log(2 * math.pi * variance)).sum(1)


@pytest.fixture
def noise(rng):
    """A start, the normal draws and the uniform draws of one step in three dimensions."""
    x, xi = torch.randn(2, CHAINS, 3, generator=rng, dtype=torch.float64)
    return x, xi, torch.rand(CHAINS, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("step_size", [STEP_SIZES, 0.23], ids=["per chain", "one"])
def test_mala_accepts_by_the_metropolis_hastings_ratio(step_size, noise):
    x, xi, u = noise
    kernel, column = mala(step_size), torch.as_tensor(step_size, dtype=torch.float64).expand(CHAINS)[:, None]
    proposed = x - column * skewed_gradient(x) / T + (2 * column).sqrt() * xi
    forward = normal_log_density(proposed, x - column * skewed_gradient(x) / T, 2 * column)
    backward = normal_log_density(x, proposed - column * skewed_gradient(proposed) / T, 2 * column)
    expected = (-skewed(proposed) / T + backward + skewed(x) / T - forward).exp().clamp(max=1)
    state, acceptance = next(chain(kernel, Neural(skewed) / T, x, Replay([xi, u])))
    assert ((expected > 0.05) & (expected < 0.95)).sum() > 5 and 5 < (u < expected).sum() < CHAINS - 5
    torch.testing.assert_close(acceptance, expected, atol=1e-12, rtol=1e-12)
    truth = torch.where((u < expected)[:, None], proposed, x)
    torch.testing.assert_close(state.x, truth, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(state.energy, skewed(truth) / T, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(state.gradient, skewed_gradient(truth) / T, atol=1e-12, rtol=1e-12)


def test_random_walk_accepts_by_the_metropolis_ratio(noise):
    x, xi, u = noise
    proposed = x + STEP_SIZES[:, None] * xi
    expected = ((skewed(x) - skewed(proposed)) / T).exp().clamp(max=1)
    state, acceptance = next(chain(random_walk(STEP_SIZES), Neural(skewed) / T, x, Replay([xi, u])))
    torch.testing.assert_close(acceptance, expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(state.x, torch.where((u < expected)[:, None], proposed, x), atol=1e-12, rtol=1e-12)


def test_unadjusted_moves_are_their_formulas(noise):
    x, xi, _ = noise
    g, h = skewed_gradient(x) / T, STEP_SIZES[:, None]
    energy = Neural(skewed) / T
    assert (g.abs() > 0.5).any() and (g.abs() < 0.5).any()
    for kernel, expected in (
        (ula(0.3), x - 0.3 * g + 0.6**0.5 * xi),
        (ula(STEP_SIZES), x - h * g + (2 * h).sqrt() * xi),
        (descent(STEP_SIZES), x - h * g),
        (sgld(0.4, 0.02), x - 0.4 * g + 0.02 * xi),
        (sgld(0.4, 0.0), x - 0.4 * g),
        (sgld(0.4, 0.02, clip=0.5), x - 0.4 * g.clamp(-0.5, 0.5) + 0.02 * xi),
        (sgld(0.4, 0.02, clip=0.5, box=(-0.6, 0.8)), (x - 0.4 * g.clamp(-0.5, 0.5) + 0.02 * xi).clamp(-0.6, 0.8)),
    ):
        torch.testing.assert_close(sample(kernel, energy, x, 1, Replay([xi])), expected, atol=1e-12, rtol=1e-12)


def test_small_energy_differences_of_large_float32_energies_decide_exactly():
    # Around 1e4 float32 resolves 1e-3; the ratio uses that difference, not a rounded exponential.
    energies = iter([torch.tensor([1e4]), torch.tensor([1e4 + 0.5])])
    x = torch.zeros(1, 1)
    _, acceptance = next(chain(random_walk(1.0), lambda x: next(energies), x, torch.Generator().manual_seed(0)))
    assert acceptance.item() == pytest.approx(math.exp(-0.5), rel=1e-6)


def test_bfloat16_energies_are_subtracted_in_float32():
    energies = iter([torch.tensor([2.0]).bfloat16(), torch.tensor([2.015625]).bfloat16()])
    x = torch.zeros(1, 1, dtype=torch.bfloat16)
    _, acceptance = next(chain(random_walk(1.0), lambda x: next(energies), x, torch.Generator().manual_seed(0)))
    assert acceptance.dtype == torch.float32
    assert acceptance.item() == pytest.approx(math.exp(-0.015625), rel=1e-6)


def test_the_density_of_a_bfloat16_proposal_is_taken_in_float32():
    """Summed over many entries in bfloat16 it would be off by more than a nat, and decide at random."""
    rng = torch.Generator().manual_seed(0)
    move = Langevin(0.05)
    here = evaluate(skewed, torch.randn(50, 784, generator=rng).bfloat16())
    there = evaluate(skewed, move.propose(here, rng))
    wide, far = (Evaluated(each.x.double(), each.energy.double(), each.gradient.double()) for each in (here, there))
    for one, other, exact, target in ((here, there, wide, far), (there, here, far, wide)):
        torch.testing.assert_close(
            move.log_prob(one, other).double(), move.log_prob(exact, target), rtol=0.0, atol=1e-3
        )


def test_sgld_is_langevin_at_the_converted_temperature(rng):
    a, s = 0.13, 0.6
    hot = temperature(a, s)
    assert hot == pytest.approx(0.36 / 0.26)
    x = torch.randn(6, 3, generator=rng, dtype=torch.float64)
    noise = [torch.randn(6, 3, generator=rng, dtype=torch.float64) for _ in range(5)]
    recipe = sample(sgld(a, s), skewed, x, 5, Replay(noise))
    langevin = sample(ula(a * hot), Neural(skewed) / hot, x, 5, Replay(noise))
    torch.testing.assert_close(recipe, langevin, atol=1e-12, rtol=1e-12)


class Counting(Energy):
    """Counts what it is asked, and notes whether weights or training mode took part."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Dropout(0.5), nn.Linear(8, 1), nn.Flatten(0))
        self.gradients = self.values = 0
        self.seen = set()

    def forward(self, x):
        wanted = torch.is_grad_enabled() and x.requires_grad
        self.gradients += wanted
        self.values += not wanted
        self.seen.add((self.training, any(p.requires_grad for p in self.parameters())))
        return self.network(x) + x.square().sum(1)


@pytest.mark.parametrize("iterate", [False, True], ids=["sample", "chain"])
@pytest.mark.parametrize(
    "kernel, gradients, values",
    [(mala(0.1), 8, 0), (ula(0.1), 7, 0), (random_walk(0.5), 0, 8), (sgld(0.1, 0.1), 7, 0), (descent(0.1), 7, 0)],
    ids=["mala", "ula", "random_walk", "sgld", "descent"],
)
def test_evaluations_of_seven_steps(kernel, gradients, values, iterate, rng):
    energy, x = Counting(), torch.zeros(4, 2)
    end = run(kernel, energy, x, 7, rng)[-1][0].x if iterate else sample(kernel, energy, x, 7, rng)
    assert end.shape == x.shape
    assert (energy.gradients, energy.values) == (gradients, values)


@every_kernel
def test_no_weight_gradient_and_no_training_mode_while_sampling(kernel, rng):
    compiled._steps.clear()  # a step compiled by another test would not enter Python
    energy = Counting().train()
    sample(kernel, energy, torch.zeros(4, 2), 3, rng)
    run(kernel, energy, torch.zeros(4, 2), 3, rng)
    assert energy.seen == {(False, False)}
    assert all(p.grad is None for p in energy.parameters())


def partly_frozen() -> Counting:
    """A network with one frozen layer, in training mode but for one part."""
    energy = Counting().train()
    energy.network[0].requires_grad_(False)
    energy.network[3].eval()
    return energy


def flags(energy):
    return [p.requires_grad for p in energy.parameters()], [m.training for m in energy.modules()]


@every_kernel
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
def test_flags_are_as_before(kernel, grad, rng):
    energy = partly_frozen()
    before = flags(energy)
    assert {True, False} <= set(before[0]) and {True, False} <= set(before[1])
    with torch.set_grad_enabled(grad):
        sample(kernel, energy, torch.zeros(4, 2), 2, rng)
        assert flags(energy) == before
        for _ in itertools.islice(chain(kernel, energy, torch.zeros(4, 2), rng), 2):
            assert flags(energy) == before, "the caller of a chain sees flags of a sampler"
    assert flags(energy) == before


@every_kernel
def test_flags_are_as_before_after_an_exception(kernel, rng):
    energy = partly_frozen()
    before = flags(energy)
    energy.register_forward_hook(lambda module, args, out: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample(kernel, energy, torch.zeros(4, 2), 2, rng)
    assert flags(energy) == before
    with pytest.raises(ZeroDivisionError):
        next(chain(kernel, energy, torch.zeros(4, 2), rng))
    assert flags(energy) == before


@every_kernel
def test_layers_with_state_do_not_move_while_sampling(kernel):
    layers = nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1), nn.Flatten(0)
    network = nn.Sequential(*layers).train()
    nn.utils.parametrizations.spectral_norm(network[0])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(6, 2)
    first = sample(kernel, network, x, 4, torch.Generator().manual_seed(1))
    assert torch.equal(first, sample(kernel, network, x, 4, torch.Generator().manual_seed(1)))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("kernel", [mala(0.2), random_walk(0.3)], ids=["mala", "random_walk"])
def test_nothing_is_remembered_across_an_update(kernel):
    energy = Counting().double()
    x = torch.zeros(4, 2, dtype=torch.float64)
    sample(kernel, energy, x, 3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        energy.network[0].weight.mul_(3)
    fresh = Counting().double()
    fresh.load_state_dict(energy.state_dict())
    ends = [sample(kernel, e, x, 3, torch.Generator().manual_seed(0)) for e in (energy, fresh)]
    assert torch.equal(*ends)


@every_kernel
def test_held_entries_are_returned_at_their_values(kernel, rng):
    mask = torch.tensor([True, False, False])
    held = Neural(skewed).clamp(mask, torch.tensor([2.5, 0.0, 0.0]))
    end = sample(kernel, held, torch.ones(5, 3), 4, rng)
    assert (end[:, 0] == 2.5).all()
    assert (end[:, 1:] != 1).any(1).float().mean() > 0.5


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (Constant(0.3), {0: 0.3, 17: 0.3}),
        (Polynomial(0.4, delay=20, power=0.55), {0: 0.4, 20: 0.4 * 2**-0.55, 100: 0.4 * 6**-0.55}),
        (Cyclical(0.9, 0.1, period=6), {0: 0.9, 2: 0.7, 3: 0.5, 4: 0.3, 6: 0.9, 15: 0.5}),
        (Geometric(0.01, 0.16, steps=4), {0: 0.01, 1: 0.02, 2: 0.04, 4: 0.16, 90: 0.16}),
        (Geometric(8.0, 1.0, steps=3), {0: 8.0, 1: 4.0, 2: 2.0, 3: 1.0, 50: 1.0}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_schedules(schedule, expected):
    for step, value in expected.items():
        assert schedule(step) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Polynomial(-1.0, delay=20),
        lambda: Polynomial(1.0, delay=0),
        lambda: Cyclical(0.1, 0.9, period=6),
        lambda: Cyclical(0.9, 0.1, period=0),
        lambda: Geometric(0.0, 1.0, steps=3),
        lambda: Geometric(0.1, 1.0, steps=0),
        lambda: ula(0.0),
        lambda: mala(float("nan")),
        lambda: mala(torch.tensor([0.1, -0.1])),
        lambda: random_walk(float("inf")),
        lambda: descent(-1.0),
        lambda: sgld(0.0, 0.1),
        lambda: sgld(1.0, -0.1),
        lambda: sgld(1.0, 0.1, clip=0.0),
        lambda: sgld(1.0, 0.1, box=(1.0, -1.0)),
        lambda: Scheduled(ula(0.1), {"noise": Constant(1.0)}),
    ],
)
def test_wrong_settings_are_refused_at_construction(wrong):
    with pytest.raises(ValueError, match=r"needs|has no setting"):
        wrong()


def test_step_sizes_for_another_number_of_chains_are_refused():
    with pytest.raises(ValueError, match=r"one number per row, shape \(3,\), but got shape \(2,\)"):
        sample(ula(torch.tensor([0.1, 0.2])), skewed, torch.zeros(3, 2), 1)


def test_metropolis_refuses_what_has_no_density():
    with pytest.raises(TypeError):
        Metropolis(sgld(1.0, 0.1).move)


def test_a_scheduled_kernel_takes_the_setting_of_each_step(noise):
    x, xi, _ = noise
    sizes = Geometric(0.05, 0.2, steps=2)
    scheduled = Scheduled(ula(0.9), {"step_size": sizes})
    expected = x
    for h in (0.05, 0.1, 0.2, 0.2):
        expected = expected - h * skewed_gradient(expected) + (2 * h) ** 0.5 * xi
    torch.testing.assert_close(sample(scheduled, skewed, x, 4, Replay([xi] * 4)), expected, atol=1e-12, rtol=1e-12)
    assert torch.equal(*(sample(scheduled, skewed, x, 2, Replay([xi] * 2)) for _ in range(2))), "a hidden counter"


def test_schedules_begin_anew_with_every_update_and_every_beta():
    asked = []
    scheduled = Scheduled(mala(0.9), {"step_size": lambda step: asked.append(step) or 0.1})
    law, rng = Gaussian.standard(2), torch.Generator().manual_seed(0)
    negatives = Persistent(scheduled, steps=3, size=4)
    for _ in range(5):
        negatives(law, torch.zeros(4, 2), rng)
    assert set(asked) == {0, 1, 2}
    asked.clear()
    ais(Path(law, law / 2), scheduled, betas=5, chains=4, steps=1, rng=rng)
    assert set(asked) == {0}


def test_settings_are_changed_wherever_they_are():
    halve = lambda value: value / 2  # noqa: E731
    assert with_setting(mala(0.4), "step_size", halve) == mala(0.2)
    assert with_setting(mala(0.4), "step_size", lambda value: value) == mala(0.4)
    size = 0.1
    assert Scheduled(ula(size), {"step_size": Constant(size)}).at(5) == ula(0.1)
    scheduled = Scheduled(sgld(1.0, 0.1), {"noise": Geometric(0.1, 0.4, steps=2)})
    assert with_setting(scheduled, "noise", halve).at(2).move == replace(scheduled.kernel.move, noise=0.2)
    assert with_setting(scheduled, "step_size", halve).at(1).move.step_size == 0.5
    with pytest.raises(ValueError, match="Metropolis has no setting called 'noise'"):
        with_setting(Metropolis(Langevin(0.1)), "noise", halve)
