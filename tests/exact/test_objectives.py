"""Is the likelihood's gradient the one of -log p? Enumeration and quadrature, written out here."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from erg.energies import Energy, Neural
from erg.negatives import FromNoise, Repeated
from erg.objectives import Conditional, Gradient, Magnitude, MaximumLikelihood
from erg.objectives.likelihood import Phases
from erg.roles import Negatives
from erg.samplers import mala
from erg.support import Binary


class Fixed(Negatives):
    """Given states, in the place of chains."""

    def __init__(self, states):
        self.states = states

    @property
    def monitor(self) -> Mapping[str, torch.Tensor]:
        return {}

    def __call__(self, energy, x, rng=None):
        return self.states


class Pairs(Energy):
    """E = b.x + x.W.x over four bits."""

    support = Binary()

    def __init__(self, rng):
        super().__init__()
        self.b = nn.Parameter(torch.randn(4, generator=rng, dtype=torch.float64))
        self.w = nn.Parameter(torch.randn(4, 4, generator=rng, dtype=torch.float64))

    def forward(self, x):
        return x @ self.b + ((x @ self.w) * x).sum(1)


class Quartic(Energy):
    """E = a x^4 + b x^2 + c x on the line."""

    def __init__(self):
        super().__init__()
        self.abc = nn.Parameter(torch.tensor([0.3, -0.8, 0.4], dtype=torch.float64))

    def forward(self, x):
        return x[:, 0] ** 4 * self.abc[0] + x[:, 0] ** 2 * self.abc[1] + x[:, 0] * self.abc[2]


def gradients(value, energy):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(energy.parameters()))])


def expected_loss_gradient(energy, data, states, probabilities):
    """The mean gradient of the objective when its negatives follow the model: one state at a time, weighted."""
    each = [gradients(MaximumLikelihood(Fixed(state[None]))(energy, data).value, energy) for state in states]
    return (probabilities[:, None] * torch.stack(each)).sum(0)


def test_the_gradient_by_enumeration(rng):
    energy = Pairs(rng)
    states = torch.tensor([[n >> i & 1 for i in range(4)] for n in range(16)], dtype=torch.float64)
    data = states[[3, 3, 7, 12, 0]]
    energies = energy(states)
    truth = gradients((energy(data) + torch.log((-energies).exp().sum())).mean(), energy)
    found = expected_loss_gradient(energy, data, states, torch.softmax(-energies, 0).detach())
    assert truth.abs().max() > 0.1
    torch.testing.assert_close(found, truth, atol=1e-12, rtol=1e-10)


def test_the_gradient_by_quadrature():
    energy = Quartic()
    grid = torch.linspace(-5, 5, 201, dtype=torch.float64)[:, None]
    data = torch.tensor([[0.3], [-1.7], [2.2]], dtype=torch.float64)
    width = grid[1] - grid[0]
    log_z = (-energy(grid)).logsumexp(0) + width.log()
    truth = gradients((energy(data) + log_z).mean(), energy)
    probabilities = (-energy(grid) - log_z).exp().detach() * width
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-12)
    found = expected_loss_gradient(energy, data, grid, probabilities)
    torch.testing.assert_close(found, truth, atol=1e-10, rtol=1e-10)


def test_no_gradient_flows_through_the_negatives(rng):
    energy = Quartic()
    x = torch.randn(6, 1, generator=rng, dtype=torch.float64)
    moved = (x - 0.1 * energy.abc[0]).expand(6, 1)
    attached = gradients(MaximumLikelihood(Fixed(moved))(energy, x).value, energy)
    detached = gradients(MaximumLikelihood(Fixed(moved.detach()))(energy, x).value, energy)
    assert torch.equal(attached, detached)


class Labelled(Energy):
    """E(x, y) = p_y (x - m_y)^2 / 2, so that every condition has its own energy and slope."""

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.tensor([0.5, 1.5, 3.0], dtype=torch.float64))
        self.m = torch.tensor([-2.0, 0.5, 4.0], dtype=torch.float64)

    def forward(self, x, y):
        return self.p[y] * (x[:, 0] - self.m[y]).square() / 2


def test_penalties_are_their_formulas(rng):
    """At E = p (x - m)^2 / 2: the slope is p (x - m), and its square has the p-gradient 2 p (x - m)^2."""
    energy = Labelled()
    data, model = (torch.randn(n, 1, generator=rng, dtype=torch.float64) for n in (6, 4))
    given = energy.given(1)
    p, r, s = energy.p[1], data[:, 0] - 0.5, model[:, 0] - 0.5
    phases = Phases(data, model, given(data), given(model))
    for penalty, expected in (
        (Magnitude(), (p * r**2 / 2).square().mean() + (p * s**2 / 2).square().mean()),
        (Gradient(), (p * torch.cat([r, s])).square().mean()),
    ):
        found = penalty(given, phases)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(gradients(found, energy), gradients(expected, energy), atol=1e-12, rtol=1e-12)


def test_the_gradient_penalty_sums_over_pixels_not_over_the_last_axis_only():
    x = torch.ones(2, 3, 4, 4, dtype=torch.float64)
    energy = Neural(lambda x: 3 * x.flatten(1).sum(1))
    assert Gradient()(energy, Phases(x, x, energy(x), energy(x))) == 9 * 48


@pytest.mark.parametrize("times", [1, 3])
def test_each_negative_is_scored_under_the_condition_of_its_row(times, rng):
    """Slopes at exact modes vanish only when data and negatives keep their own labels."""
    energy = Labelled()
    y = torch.tensor([0, 1, 2, 1])
    at_modes = energy.m[y][:, None]
    negatives = Fixed(at_modes.repeat_interleave(times, 0))
    objective = Conditional(MaximumLikelihood(negatives, {"gradient": (1.0, Gradient())}))
    terms = objective(energy, (at_modes, y), rng).terms
    assert terms["energy/data"] == terms["energy/model"] == terms["penalty/gradient"] == 0


def test_a_condition_inside_a_sum_goes_with_its_row_too(rng):
    energy, y = Labelled(), torch.tensor([0, 1, 2, 1])
    at_modes = energy.m[y][:, None]
    objective = MaximumLikelihood(Fixed(at_modes.repeat_interleave(3, 0)))
    terms = objective(energy.given(y) + Labelled().given(y), at_modes, rng).terms
    assert terms["energy/data"] == terms["energy/model"] == 0


def test_several_negatives_a_row_train_a_conditional_energy(rng):
    energy = Labelled()
    y = torch.arange(3).repeat(20)
    x = energy.m[y][:, None] + torch.randn(60, 1, generator=rng, dtype=torch.float64)
    objective = Conditional(MaximumLikelihood(Repeated(FromNoise(mala(0.5), steps=50), times=4)))
    loss = objective(energy, (x, y), rng)
    # Half a nat a dimension is the model's mean energy under its own law, whatever the label.
    assert abs(loss.terms["energy/model"] - 0.5) < 5 * (0.5 / 240) ** 0.5
