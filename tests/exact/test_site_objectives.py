"""Pseudo-likelihood, ratio matching and exact likelihood against sums over all states, and zero at the truth."""

import itertools

import jaxtyping
import pytest
import torch
from torch import nn

from erg.energies import BoltzmannMachine, Energy, Graph, Independent, Ising, Lattice, Neural, Potts
from erg.evaluation.partition import log_partition
from erg.objectives import ExactLikelihood, PseudoLikelihood, RatioMatching
from erg.roles import Loss
from erg.support import Binary, OneHot, Real, Spin
from tests.exact.pairwise import law_of, level, seeded, site_rows, states_of


class Cubic(Energy):
    """Fields, couplings and a product of three: no local fields are offered."""

    def __init__(self, support):
        super().__init__()
        self.support = support
        self.a, self.b = nn.Parameter(torch.tensor([0.4, -0.7]).double()), nn.Parameter(torch.tensor(0.6).double())

    def forward(self, x):
        s = x.flatten(1)
        return self.a[0] * s.sum(1) + self.a[1] * s[:, 0] * s[:, -1] + self.b * s[:, 0] * s[:, 1] * s[:, -2]


def machine(support):
    a = torch.randn(4, 4, generator=seeded(1)).double() * 0.6
    return BoltzmannMachine.of((a + a.T).fill_diagonal_(0), torch.linspace(-0.5, 0.4, 4).double(), support=support)


def potts():
    coupling, field = torch.randn(3, generator=seeded()).double(), torch.randn(3, 3, generator=seeded(2)).double()
    graph = Graph(3, [(0, 1), (1, 2), (0, 2)])
    return Potts(graph, 3, coupling=nn.Parameter(coupling), field=nn.Parameter(field))


MODELS = {
    "bits": (lambda: machine(Binary()), (4,)),
    "spins": (lambda: machine(Spin()), (4,)),
    "tempered": (lambda: machine(Spin()) / 0.7, (4,)),
    "lattice": (lambda: Ising(Lattice((2, 2)), coupling=nn.Parameter(torch.tensor(0.3).double()), field=0.2), (2, 2)),
    "potts": (potts, (3, 3)),
    "cubic bits": (lambda: Cubic(Binary()), (4,)),
    "cubic spins": (lambda: Cubic(Spin()), (2, 2)),
    "cubic categories": (lambda: Cubic(OneHot()), (2, 3)),
}
OBJECTIVES = {"PseudoLikelihood": PseudoLikelihood(), "RatioMatching": RatioMatching(), "Exact": ExactLikelihood()}
SOME = {
    "PseudoLikelihood, some": PseudoLikelihood(sites=3),
    "RatioMatching, some": RatioMatching(sites=2),
}
every_model = pytest.mark.parametrize("name", MODELS)


def pairs(objectives):
    every = itertools.product(objectives, MODELS)
    return [(o, m) for o, m in every if not (o.startswith("RatioMatching") and m in ("potts", "cubic categories"))]


WHOLE = pairs(OBJECTIVES)
PARTS = [pair for pair in pairs(SOME) if pair[1] in ("spins", "potts", "cubic bits")]
every_pair = pytest.mark.parametrize(("objective", "model"), WHOLE + PARTS)


def conditional_logs(energy, states, support):
    """log p(x_i | others) of every state and site, from the law of all states alone."""
    law, sites = law_of(energy, states), site_rows(states, support)
    found = []
    for site in range(sites.shape[1]):
        others = [index for index in range(sites.shape[1]) if index != site]
        alike = (sites[:, None, others] == sites[None, :, others]).flatten(2).all(2)
        found.append((law / (alike * law).sum(1)).log())
    return torch.stack(found, 1)


@every_pair
def test_the_value_is_that_of_the_definition(objective, model):
    make, event = MODELS[model]
    energy = make()
    states = states_of(energy.support, event)
    logs, law = conditional_logs(energy, states, energy.support), law_of(energy, states)
    each = {
        "PseudoLikelihood": -logs.sum(1),
        "RatioMatching": (1 - logs.exp()).square().sum(1),
        "Exact": -law.log(),
    }[objective.split(",")[0]]
    batch = states[torch.tensor([0, 3, 5, 7])]
    call = (OBJECTIVES | SOME)[objective]
    if objective in SOME:  # an unbiased part of it
        values = torch.stack([call(energy, batch, seeded(s)).value for s in range(100)]).detach()
        assert abs(values.mean() - each[[0, 3, 5, 7]].mean()) < 5 * values.std() / 10
    else:
        torch.testing.assert_close(call(energy, batch).value.detach(), each[[0, 3, 5, 7]].mean())


@pytest.mark.parametrize(("objective", "model"), WHOLE)
def test_the_gradient_is_zero_at_the_truth_and_only_there(objective, model):
    make, event = MODELS[model]
    energy, call = make(), OBJECTIVES[objective]
    states = states_of(energy.support, event)
    law, parameters = law_of(energy, states), list(energy.parameters())

    def mean_gradient(weights):
        """The gradient of the expected loss, exactly: the loss of a row is that of a batch of one."""
        losses = torch.stack([call(energy, row[None]).value for row in states])
        return torch.cat([g.flatten() for g in torch.autograd.grad((weights * losses).sum(), parameters)])

    assert mean_gradient(law).abs().max() < 1e-10
    other = (1.3 * law.log()).softmax(0).roll(1)
    assert mean_gradient(other).abs().max() > 1e-3


@every_pair
def test_the_role_is_kept(objective, model):
    make, event = MODELS[model]
    energy, call = make().train(), (OBJECTIVES | SOME)[objective]
    batch = states_of(energy.support, event)[:6]
    before, state = batch.clone(), torch.get_rng_state()
    loss = call(energy, batch, seeded())
    assert isinstance(loss, Loss) and loss.value.shape == () and loss.value.requires_grad
    assert loss.terms and all(term.shape == () and not term.requires_grad for term in loss.terms.values())
    loss.value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.requires_grad for p in energy.parameters())
    assert energy.training and torch.equal(batch, before) and torch.equal(torch.get_rng_state(), state)
    values = [call(make(), batch, seeded(s)).value.item() for s in (1, 1, 2)]
    assert values[0] == values[1] and (values[1] != values[2]) == (objective in SOME)


@every_model
def test_fields_and_changes_agree(name):
    make, event = MODELS[name]
    energy = make()
    plain = Neural(lambda x: energy(x), support=energy.support)  # hides the fields
    states = states_of(energy.support, event)
    for call in (PseudoLikelihood(), PseudoLikelihood(sites=2)):
        torch.testing.assert_close(call(energy, states, seeded()).value, call(plain, states, seeded()).value)


@every_model
def test_log_z_is_that_of_enumeration(name, monkeypatch):
    import erg.objectives.exact

    monkeypatch.setattr(erg.objectives.exact, "_CHUNK", 5)
    make, event = MODELS[name]
    energy = make()
    loss = ExactLikelihood()(energy, states_of(energy.support, event)[:2])
    assert loss.terms["log_z"].item() == pytest.approx(log_partition(energy, event).value, abs=1e-5)
    assert level(states_of(energy.support, event)[:1], energy.support).sum() == 0


def test_what_does_not_fit_is_refused():
    jaxtyping.config.update("jaxtyping_disable", True)  # users run without the checks of annotations
    bits = machine(Binary())
    for objective in (PseudoLikelihood(), RatioMatching()):
        with pytest.raises(ValueError, match=r"rows on Binary\(\), but 1 of 2 have other values; binarise"):
            objective(bits, torch.tensor([[0.0, 1, 1, 0], [0.5, 0, 1, 0]]))
        with pytest.raises(TypeError, match="but this energy lives on Real"):
            objective(Neural(lambda x: x.sum(1), support=Real()), torch.zeros(2, 4))
        with pytest.raises(TypeError, match="holds some entries"):
            objective(bits.clamp(torch.tensor([True, False, False, False]), 1.0), torch.zeros(2, 4))
    with pytest.raises(TypeError, match=r"on Binary or Spin, but this energy lives on OneHot"):
        RatioMatching()(potts(), torch.eye(3).double()[None])
    for make in (lambda: PseudoLikelihood(sites=0), lambda: RatioMatching(sites=0)):
        with pytest.raises(ValueError, match="one site of each row at least, but got sites=0"):
            make()
    with pytest.raises(ValueError, match=r"at most 2\^24 states, .* but Spin\(30,\)"):
        ExactLikelihood()(Independent.uniform((30,), Spin()), torch.ones(2, 30))
    with pytest.raises(TypeError, match="this energy lives on Real"):
        ExactLikelihood()(Neural(lambda x: x.sum(1)), torch.ones(2, 3))
    with pytest.raises(TypeError, match="counted over and over"):
        ExactLikelihood()(bits.clamp(torch.tensor([True, False, False, False]), 1.0), torch.zeros(2, 4))
