"""Does every public objective keep its role, and is its gradient zero at the truth?"""

import inspect
from collections.abc import Mapping

import pytest
import torch
from torch import nn

import erg.objectives
from erg.energies import Energy
from erg.negatives import FromData, FromNoise
from erg.objectives import Conditional, Gradient, Magnitude, MaximumLikelihood, Weighted
from erg.objectives.penalties import Penalty
from erg.roles import Loss, Negatives, Objective
from erg.samplers import ula

SIGMAS = 5.0
MEANS = torch.tensor([-1.0, 0.5, 2.0])


class Exact(Negatives):
    """Exact samples of the model, in the place of chains."""

    def __init__(self, law):
        self.law = law

    @property
    def monitor(self) -> Mapping[str, torch.Tensor]:
        return {}

    def __call__(self, energy, x, rng=None):
        return self.law(x, rng)


class Skewed(Energy):
    """E = sum(a x + b e^-x): the truth is a = b = 1, where e^-x is exponentially distributed."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

    def forward(self, x):
        return (self.a * x + self.b * (-x).exp()).sum(1)


class Labelled(Energy):
    """E(x, y) = p (x - m_y)^2 / 2 with precision p = 1 and one mean per label."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(MEANS.clone()), nn.Parameter(torch.ones(2))

    def forward(self, x, y):
        return (self.b * (x - self.a[y][:, None]).square()).sum(1) / 2


def skewed_law(x, rng):
    return -torch.empty_like(x).exponential_(generator=rng).log()


class Case:
    """An objective whose negatives are exact, with a batch and the energy that is the truth."""

    def __init__(self, objective, conditional=False):
        self.objective, self.conditional = objective, conditional

    def energy(self):
        return Labelled() if self.conditional else Skewed()

    def batch(self, n, rng):
        if not self.conditional:
            return skewed_law(torch.empty(n, 2), rng)
        y = torch.arange(n) % 3
        return MEANS[y][:, None] + torch.randn(n, 2, generator=rng), y


class Shifted(Case):
    """The same model, but other data: no longer the truth."""

    def batch(self, n, rng):
        batch = super().batch(n, rng)
        return (batch[0] + 0.3, batch[1]) if self.conditional else batch + 0.3


LIKELIHOOD = MaximumLikelihood(Exact(skewed_law))
PER_LABEL = MaximumLikelihood(
    Exact(lambda x, rng: MEANS[torch.arange(len(x)) % 3][:, None] + torch.randn(x.shape, generator=rng))
)
CASES = {
    "MaximumLikelihood": Case(LIKELIHOOD),
    "Weighted": Case(Weighted({"first": (0.3, LIKELIHOOD), "second": (2.0, LIKELIHOOD)})),
    "Conditional": Case(Conditional(PER_LABEL), conditional=True),
}
# Of machines with layers: tests/exact/test_restricted.py, test_deep.py, test_labelled.py, test_sparsity.py.
LAYERED = {"Centred", "CrossEntropy", "Paired", "VariationalLikelihood"}
# Of discrete states: tests/exact/test_site_objectives.py, tests/learning/test_structure.py.
COUNTED = {"ExactLikelihood", "LatticeRecovery", "PseudoLikelihood", "RatioMatching", "SparseCouplings"}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def public(role):
    found = {name: getattr(erg.objectives, name) for name in erg.objectives.__all__}
    return {name for name, what in found.items() if inspect.isclass(what) and issubclass(what, role)}


def test_every_public_objective_and_penalty_has_a_case():
    assert public(Objective) == set(CASES) | LAYERED | COUNTED
    assert public(Penalty) - {"Penalty"} == {"Gradient", "Magnitude", "Sparsity"}


@every_case
def test_a_differentiable_scalar_with_detached_terms(case, rng):
    energy, state = case.energy().train(), torch.get_rng_state()
    batch = case.batch(12, rng)
    before = [part.clone() for part in (batch if case.conditional else [batch])]
    loss = case.objective(energy, batch, rng)
    assert isinstance(loss, Loss) and loss.value.shape == () and loss.value.requires_grad
    assert loss.terms and all(value.shape == () and not value.requires_grad for value in loss.terms.values())
    loss.value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in energy.parameters())
    assert energy.training and all(p.requires_grad for p in energy.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, batch if case.conditional else [batch], strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@every_case
def test_same_seed_same_loss(case):
    batch = case.batch(12, torch.Generator().manual_seed(3))
    values = [case.objective(case.energy(), batch, torch.Generator().manual_seed(s)).value for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def gradient_z_score(case, energy, *, updates=100, seed=0):
    """By how many standard errors the mean gradient over independent batches is not zero, worst entry."""
    rng, gradients = torch.Generator().manual_seed(seed), []
    for _ in range(updates):
        loss = case.objective(energy, case.batch(99, rng), rng)
        gradients.append(torch.cat(torch.autograd.grad(loss.value, list(energy.parameters()))))
    gradients = torch.stack(gradients)
    return float((gradients.mean(0).abs() / (gradients.std(0) / updates**0.5)).max())


@every_case
def test_the_gradient_is_zero_at_the_truth_and_only_there(case):
    assert gradient_z_score(case, case.energy()) < SIGMAS
    assert gradient_z_score(Shifted(case.objective, case.conditional), case.energy()) > SIGMAS


def test_what_is_logged(rng):
    x = torch.randn(8, 2, generator=rng).requires_grad_()
    likelihood = MaximumLikelihood(
        FromData(ula(0.1), steps=2), {"magnitude": (0.1, Magnitude()), "gradient": (0.2, Gradient())}
    )
    loss = likelihood(Skewed(), x, rng)
    assert {"energy/data", "energy/model", "energy/gap", "chain/acceptance", "chain/finite", "chain/moved"} <= set(
        loss.terms
    )
    assert {"penalty/magnitude", "penalty/gradient"} <= set(loss.terms)
    assert not any(value.requires_grad for value in loss.terms.values())
    gap = loss.terms["energy/model"] - loss.terms["energy/data"]
    torch.testing.assert_close(loss.terms["energy/gap"], gap)
    penalties = 0.1 * loss.terms["penalty/magnitude"] + 0.2 * loss.terms["penalty/gradient"]
    torch.testing.assert_close(loss.value.detach(), penalties - gap)


def test_a_weighted_sum_logs_every_term_under_its_name(rng):
    x = skewed_law(torch.empty(8, 2), rng)
    loss = Weighted({"first": (0.3, LIKELIHOOD), "second": (-2.0, LIKELIHOOD)})(Skewed(), x, rng)
    keys = {"value", *LIKELIHOOD(Skewed(), x, rng).terms}
    assert set(loss.terms) == {f"{name}/{key}" for name in ("first", "second") for key in keys}
    torch.testing.assert_close(loss.value, 0.3 * loss.terms["first/value"] - 2.0 * loss.terms["second/value"])
    with pytest.raises(ValueError, match="at least one objective"):
        Weighted({})


@pytest.mark.parametrize("plain", [True, False], ids=["module", "energy"])
def test_a_column_of_energies_is_refused(plain, rng):
    class Column(nn.Linear if plain else Energy):
        def forward(self, x):
            return x[:, :1] * 2

    energy = Column(2, 1) if plain else Column()
    with pytest.raises(ValueError, match=r"\(8, 1\); return energy\.squeeze"):
        MaximumLikelihood(Exact(lambda x, rng: x))(energy, torch.zeros(8, 2), rng)


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ([torch.zeros(4, 2)], "list"),
        ((torch.zeros(4, 2), torch.zeros(4)), "tuple"),
        (torch.zeros(4, 2).long(), "int64"),
    ],
)
def test_what_a_loader_yields_beside_rows_is_refused_with_a_way_out(batch, got):
    objective = MaximumLikelihood(FromData(ula(0.1), steps=1))
    with pytest.raises(TypeError, match=rf"got .*{got}; take x out of a loader's pairs"):
        # Without the shape checks of the tests, which users do not have.
        inspect.unwrap(MaximumLikelihood.__call__)(objective, lambda x: x.square().sum(1), batch)


def test_dropout_acts_on_the_loss_and_not_on_the_chains(rng):
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append(self.training)
            return x.square().sum(1)

    MaximumLikelihood(FromNoise(ula(0.1), steps=3))(Watched().train(), torch.zeros(4, 2), rng)
    assert seen == [False] * 3 + [True] * 2
