"""Ising, Potts and Boltzmann machines against sums over bonds, and sweeps against enumerated transition matrices."""

import itertools
import math

import jaxtyping
import pytest
import torch
from torch import nn

import erg.energies.boltzmann
from erg.draws import Replay
from erg.energies import BoltzmannMachine, Graph, Independent, Ising, Lattice, Neural, Path, Potts, WeightedSum
from erg.energies.graphs import greedy_colours
from erg.samplers import Compiled, ais, chain, chromatic, gibbs, replica_exchange, sample
from erg.samplers.compilation.compiled import Bound, Eager
from erg.samplers.free import on_free_entries
from erg.support import Binary, OneHot, Spin
from tests.exact.pairwise import law_of, seeded, states_of, swept, transition_matrix

SHAPES = [((4,), True), ((2, 3), False), ((3, 3), True), ((2, 2), True), ((1, 2, 3), True), ((2, 2, 2), False)]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def written_out(x, shape, periodic, coupling, field, agree):
    """The energy of one state, bond by bond."""
    total = 0.0
    for site in itertools.product(*map(range, shape)):
        total -= field(site, x[site])
        for axis, side in enumerate(shape):
            there = list(site)
            there[axis] += 1
            if side == 1 or (there[axis] == side and not periodic):
                continue
            there[axis] %= side
            total -= float(coupling[(axis, *site)]) * agree(x[site], x[tuple(there)])
    return total


@pytest.mark.parametrize(("shape", "periodic"), SHAPES, ids=str)
def test_a_lattice_is_the_sum_over_its_bonds(shape, periodic):
    coupling, field = random(len(shape), *shape), random(*shape, seed=1)
    energy = Ising(Lattice(shape, periodic=periodic), coupling=coupling, field=field)
    x = Spin().initial((5, *shape), seeded(2)).double()
    expected = [
        written_out(row, shape, periodic, coupling, lambda site, s: float(field[site] * s), lambda s, t: float(s * t))
        for row in x
    ]
    torch.testing.assert_close(energy(x), torch.tensor(expected, dtype=torch.float64))
    potts_field = random(*shape, 3, seed=3)
    potts = Potts(Lattice(shape, periodic=periodic), 3, coupling=coupling, field=potts_field)
    x = OneHot().initial((5, *shape, 3), seeded(4)).double()
    expected = [
        written_out(
            row.argmax(-1), shape, periodic, coupling, lambda site, s: float(potts_field[(*site, int(s))]), agree
        )
        for row in x
    ]
    torch.testing.assert_close(potts(x), torch.tensor([float(e) for e in expected], dtype=torch.float64))


def agree(s, t):
    return float(s == t)


def test_a_graph_is_the_sum_over_its_edges():
    edges, coupling, field = [(0, 3), (3, 1), (1, 2), (4, 3)], random(4), random(5, seed=1)
    x = Spin().initial((6, 5), seeded()).double()
    expected = -(x @ field) - sum(w * x[:, i] * x[:, j] for w, (i, j) in zip(coupling, edges, strict=True))
    torch.testing.assert_close(Ising(Graph(5, edges), coupling=coupling, field=field)(x), expected)
    dense = torch.zeros(5, 5, dtype=torch.float64)
    for w, (i, j) in zip(coupling, edges, strict=True):
        dense[i, j] = dense[j, i] = w
    torch.testing.assert_close(BoltzmannMachine.of(dense, field, support=Spin())(x), expected)


@pytest.mark.parametrize("support", [Binary(), Spin()], ids=str)
def test_a_machine_is_its_quadratic_form(support):
    a = random(2, 3, 2, 3)
    couplings = (a + a.permute(2, 3, 0, 1)).reshape(6, 6).clone()
    couplings.fill_diagonal_(0)
    bias = random(2, 3, seed=1)
    machine = BoltzmannMachine.of(couplings, bias, support=support)
    x = support.initial((7, 2, 3), seeded()).double()
    s = x.flatten(1)
    expected = -torch.einsum("ni,ij,nj->n", s, couplings, s) / 2 - s @ bias.flatten()
    torch.testing.assert_close(machine(x), expected)
    torch.testing.assert_close(machine.couplings, couplings)


def test_the_optimiser_touches_allowed_couplings_only():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 1] = mask[1, 0] = mask[1, 3] = mask[3, 1] = True
    machine = BoltzmannMachine((4,), mask=mask)
    assert machine.weights.shape == (2,)
    optimizer = torch.optim.SGD(machine.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        machine(Binary().initial((8, 4), seeded())).square().sum().backward()
        optimizer.step()
    couplings = machine.couplings
    assert torch.equal(couplings, couplings.T) and (couplings[~mask] == 0).all() and (couplings[mask] != 0).all()


def dense(n=4, support=Spin(), seed=0, masked=False):
    a = 0.7 * random(n, n, seed=seed)
    a = (a + a.T).fill_diagonal_(0)
    mask = None
    if masked:
        mask = (torch.arange(n)[:, None] - torch.arange(n)).abs() == 1
        a = a * mask
    return BoltzmannMachine.of(a, random(n, seed=seed + 1), support=support, mask=mask)


ENERGIES = {
    "open lattice": lambda: Ising(
        Lattice((2, 2), periodic=False), coupling=random(2, 2, 2), field=random(2, 2, seed=1)
    ),
    "ring": lambda: Ising(Lattice((4,)), coupling=0.6, field=-0.3),
    "odd ring": lambda: Ising(Lattice((3,)), coupling=-0.5, field=random(3)),
    "star": lambda: Ising(Graph(4, [(0, 1), (0, 2), (0, 3)]), coupling=random(3)),
    "no bonds": lambda: Ising(Graph(3, []), field=random(3)),
    "potts triangle": lambda: Potts(
        Graph(3, [(0, 1), (1, 2), (0, 2)]), 3, coupling=random(3), field=random(3, 3, seed=1)
    ),
    "potts lattice": lambda: Potts(Lattice((2, 2)), 2, coupling=0.7, field=random(2, seed=1)),
    "dense spins": dense,
    "dense bits": lambda: dense(support=Binary()),
    "masked bits": lambda: dense(support=Binary(), masked=True),
    "coins": lambda: Independent(random(3), Spin()),
    "bits": lambda: Independent(random(3), Binary()),
    "dice": lambda: Independent(random(2, 3), OneHot()),
}
EVENTS = {"open lattice": (2, 2), "odd ring": (3,), "no bonds": (3,), "potts triangle": (3, 3),
          "potts lattice": (2, 2, 2), "coins": (3,), "bits": (3,), "dice": (2, 3)}  # fmt: skip
# Of the others the sweeps are looked at among the slow tests.
FEW = {"open lattice", "star", "potts triangle", "dense spins", "dice"}
every_energy = pytest.mark.parametrize("name", ENERGIES)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Four units are two blocks."""
    monkeypatch.setattr(erg.energies.boltzmann, "_BLOCK", 2)


def case(name):
    energy, event = ENERGIES[name](), EVENTS.get(name, (4,))
    return energy, states_of(energy.support, event)


@every_energy
def test_local_fields_are_minus_the_gradient(name):
    energy, states = case(name)
    x = states.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(x).sum(), x)
    values = states.shape[-1:] if energy.support == OneHot() else ()
    columns = states.movedim(0, -1).reshape(-1, *values, len(states))
    seen = torch.cat([group.sites for group in energy.groups])
    assert sorted(seen.tolist()) == list(range(len(columns)))
    for group in energy.groups:
        expected = -gradient.movedim(0, -1).reshape(columns.shape)[group.sites]
        torch.testing.assert_close(energy.local_field(columns, group.sites), expected)
        if group.couplings is not None:
            torch.testing.assert_close(group.couplings, energy.couplings[group.sites][:, group.sites])


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in FEW)) for n in ENERGIES])
def test_a_sweep_is_gibbs_site_by_site(name):
    energy, states = case(name)
    tempered, groups = energy / 0.7, [group.sites for group in energy.groups]
    found = transition_matrix(chromatic(), tempered, states, energy.support, groups)
    law = law_of(tempered, states)
    expected = swept(law, states, energy.support, torch.cat(groups).tolist())
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(law @ found, law, atol=1e-6, rtol=0.0)


@pytest.mark.slow
def test_sums_sweep_too():
    a, b = dense(3), dense(3, seed=5)
    reference = Independent(random(3, seed=9), Spin())
    states = states_of(Spin(), (3,))
    groups = [group.sites for group in a.groups]
    for energy in (
        a + 0.5 * b,
        Path(reference, a)(0.3),
        WeightedSum([a, reference], [1.5, nn.Parameter(torch.ones(()))]),
    ):
        found = transition_matrix(chromatic(), energy.double(), states, Spin(), groups)
        law = law_of(energy, states)
        torch.testing.assert_close(law @ found, law, atol=1e-6, rtol=0.0)


def test_each_chain_has_its_own_temperature():
    states, temperatures = states_of(Spin(), (4,)), torch.linspace(0.5, 3.0, 16, dtype=torch.float64)
    machine, uniform = dense(), torch.rand(16, 4, generator=seeded(), dtype=torch.float64)
    halves = [uniform[:, :2], uniform[:, 2:]]
    together = sample(chromatic(), machine / temperatures, states, 1, Replay(halves))
    for row in range(16):
        alone = sample(
            chromatic(), machine / float(temperatures[row]), states[row : row + 1], 1,
            Replay([half[row : row + 1] for half in halves]),
        )  # fmt: skip
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("name", ["open lattice", "dense spins", "masked bits", "potts triangle"])
@pytest.mark.parametrize("by_row", [False, True])
def test_held_entries_stay_and_the_others_have_their_law(name, by_row):
    energy, states = case(name)
    n, event = 4000, states.shape[1:]
    mask = torch.zeros(event, dtype=torch.bool)
    mask[1] = True
    values = states[3]
    held = energy.clamp(mask.expand(n, *event) if by_row else mask, values)
    possible = states[(torch.where(mask, states, values) == values).flatten(1).all(1)]
    law = law_of(energy, possible)
    chosen = possible[law.multinomial(n, replacement=True, generator=seeded(1))]
    start = torch.where(mask, states[0], chosen)
    assert on_free_entries(chromatic(), held, start) == chromatic() if by_row else True
    x = sample(chromatic(), held, start, 12, seeded(2))
    counts = (x[:, None] == possible).flatten(2).all(2).double().sum(0)
    assert counts.sum() == n
    assert float(((counts - n * law) / (n * law * (1 - law)).sqrt()).abs().max()) < 5


def test_annealing_and_replicas_take_sweeps():
    machine = dense(6)
    states = states_of(Spin(), (6,))
    truth = (-machine(states).detach()).logsumexp(0)
    path = Path(Independent.uniform((6,), Spin()), machine)
    log_z = ais(path, chromatic(), betas=100, chains=500, rng=seeded()).log_z
    assert abs(log_z.value - truth) < 4 * log_z.standard_error < 0.1
    law, n = law_of(machine, states), 4000
    start = states[law.multinomial(n, replacement=True, generator=seeded(1))]
    x = sample(replica_exchange(chromatic(), [1.0, 2.0]), machine, start, 10, seeded(2))
    counts, often = (x[:, None] == states).all(2).double().sum(0), n * law > 5
    assert often.sum() > 5
    assert float(((counts - n * law) / (n * law * (1 - law)).sqrt())[often].abs().max()) < 5


@pytest.mark.parametrize("name", ["ring", "dense spins", "potts triangle"])
def test_a_compiled_sweep_is_the_same(name):
    energy, states = case(name)
    energy, x = energy.float() / 0.8, states.float()
    state = next(itertools.islice(chain(Compiled(chromatic()), energy, x, seeded()), 2, None))[0]
    assert isinstance(state.bound, Bound), state.bound
    assert (state.x == sample(chromatic(), energy, x, 3, seeded())).float().mean() > 0.98


@pytest.mark.slow
def test_a_sweep_of_many_sites_in_turn_is_not_made_a_graph():
    machine, x = BoltzmannMachine((130,), support=Spin()), Spin().initial((3, 130), seeded())
    state, _ = next(chain(Compiled(chromatic()), machine, x, seeded(1)))
    assert isinstance(state.bound, Eager) and "130 sites one after the other" in state.bound.reason
    assert torch.equal(state.x, sample(chromatic(), machine, x, 1, seeded(1)))


@pytest.mark.parametrize("shape", [(4, 6), (3, 4), (5,), (2, 2, 2), (1, 4, 4)])
@pytest.mark.parametrize("periodic", [True, False])
def test_no_bond_joins_sites_of_one_colour(shape, periodic):
    lattice = Lattice(shape, periodic=periodic)
    if not periodic or all(side % 2 == 0 or side == 1 for side in shape):
        assert len(lattice.groups) == 2
    n = math.prod(shape)
    colour = torch.zeros(n, dtype=torch.long)
    for index, sites in enumerate(lattice.groups):
        colour[sites] = index
    for site in range(n):
        near = lattice.neighbours[site][lattice.present[site]]
        assert (colour[near] != colour[site]).all()


def test_greedy_colours_differ_between_neighbours():
    pairs = (torch.rand(30, 30, generator=seeded()) < 0.2).triu(1).nonzero()
    colours = greedy_colours(pairs, 30)
    assert (colours[pairs[:, 0]] != colours[pairs[:, 1]]).all() and int(colours.max()) < 9


BAD = torch.tensor([[0.0, math.inf], [math.inf, 0.0]])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Ising(Lattice((4,)), coupling=math.inf), "finite coupling"),
        (lambda: Ising(Lattice((4,)), coupling=torch.tensor([[1.0, math.nan, 0.0, 1.0]])), "finite coupling"),
        (lambda: Ising(Lattice((4,)), field=math.nan), "finite field"),
        (lambda: Ising(Lattice((4,)), coupling=torch.ones(3)), r"broadcasts to shape \(1, 4\), but got shape \(3,\)"),
        (lambda: Potts(Lattice((4,)), 1), "at least two categories, but got 1"),
        (lambda: Potts(Lattice((4,)), 3, field=torch.tensor([0.0, 1.0, -math.inf])), "finite field"),
        (lambda: Lattice(()), "at least one axis"),
        (lambda: Graph(3, [(0, 3)]), r"0 to 2, but got the edge \(0, 3\)"),
        (lambda: Graph(3, [(1, 1)]), r"the edge \(1, 1\)"),
        (lambda: Graph(3, [(0, 1), (1, 0)]), "each edge once"),
        (lambda: BoltzmannMachine.of(BAD, torch.zeros(2)), "finite coupling, but got values"),
        (lambda: BoltzmannMachine.of(BAD.nan_to_num(posinf=1.0), torch.tensor([0.0, math.nan])), "finite bias"),
        (lambda: BoltzmannMachine.of(torch.tensor([[0.0, 1.0], [0.5, 0.0]]), torch.zeros(2)), "symmetric couplings"),
        (lambda: BoltzmannMachine.of(torch.eye(2), torch.zeros(2)), "zeros on the diagonal"),
        (lambda: BoltzmannMachine.of(torch.zeros(3, 3), torch.zeros(2)), r"shape \(2, 2\), but got \(3, 3\)"),
        (lambda: BoltzmannMachine((2,), mask=torch.tensor([[False, True], [False, False]])), "symmetric mask"),
        (lambda: BoltzmannMachine((3,), mask=torch.ones(2, 2, dtype=torch.bool)), r"shape \(3, 3\)"),
        (
            lambda: BoltzmannMachine.of(
                1 - torch.eye(2), torch.zeros(2), mask=torch.zeros(2, 2, dtype=torch.bool)
            ),
            "zero where the mask is false",
        ),
    ],
)  # fmt: skip
def test_bad_couplings_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_wrong_kinds_are_refused():
    jaxtyping.config.update("jaxtyping_disable", True)  # users run without the checks of annotations
    with pytest.raises(TypeError, match="lives on Binary or Spin, but got OneHot"):
        BoltzmannMachine((2, 3), support=OneHot())
    with pytest.raises(TypeError, match=r"boolean mask, but got torch\.float32; pass mask\.bool"):
        BoltzmannMachine((2,), mask=torch.ones(2, 2))


def test_energies_without_fields_are_refused():
    energy = Neural(lambda x: x.sum(1), support=Spin())
    for each in (energy, energy / 2.0, energy + dense()):
        with pytest.raises(TypeError, match=r"Neural has none\. Use gibbs\(\) or dmala\(\)"):
            sample(chromatic(), each, torch.ones(2, 4), 1)
    with pytest.raises(TypeError, match="colours, but these differ"):
        sample(chromatic(), dense() + Ising(Lattice((4,))), torch.ones(2, 4), 1)
    with pytest.raises(ValueError, match="events of shape"):
        sample(chromatic(), Ising(Lattice((4,))), torch.ones(2, 5), 1)
    assert sample(gibbs(), energy, torch.ones(2, 4), 1).shape == (2, 4)
