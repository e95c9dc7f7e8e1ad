"""Is NUTS the recursive algorithm, and does that algorithm keep the law? What does a step cost?

The reference builds trees by recursion on lists of leaves, row by row. It is shown to keep exp(-H) on a trajectory
by enumeration of every coin and every choice, and the kernel is shown to go where the reference goes.
"""

import itertools
import math
from typing import NamedTuple

import pytest
import torch

from erg.draws import Replay
from erg.energies import Counted, Neural
from erg.networks import MLP
from erg.samplers import Compiled, Parallel, Preconditioned, Scheduled, chain, nuts, replica_exchange, sample
from erg.samplers.compilation.compiled import Eager
from erg.samplers.compilation.pieces import Pieces
from erg.samplers.hamiltonian.nuts import NUTS
from erg.samplers.hamiltonian.tree import _pick

CHAINS = 60
T = 0.7
STEP_SIZES = torch.linspace(0.03, 1.6, CHAINS, dtype=torch.float64)


def skewed(x):
    return (x + (-x).exp() + 0.1 * x**4).sum(1) / T + (2 * x[:, 0] * x[:, 1]).sin()


class Leaf(NamedTuple):
    x: torch.Tensor
    p: torch.Tensor

    @property
    def hamiltonian(self):
        return float(skewed(self.x[None])[0] + self.p.square().sum() / 2)


def next_leaf(leaf, h):
    def gradient(x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(skewed(x[None])[0], x)[0]

    half = leaf.p - h / 2 * gradient(leaf.x)
    x = leaf.x + h * half
    return Leaf(x, half - h / 2 * gradient(x))


def turning(first, second):
    """Whether two adjacent stretches turn together, or one of them with the nearest leaf of the other."""

    def going(leaves):
        rho = sum(leaf.p for leaf in leaves)
        return float(rho @ leaves[0].p) > 0 and float(rho @ leaves[-1].p) > 0

    return not (going(first + second) and going([*first, second[0]]) and going([first[-1], *second]))


def build(leaf, depth, following, start):
    """The leaves of a branch, and whether it neither turned nor diverged."""
    if depth == 0:
        new = following(leaf)
        return [new], start - new.hamiltonian > -1000
    first, whole = build(leaf, depth - 1, following, start)
    if not whole:
        return first, False
    second, whole = build(first[-1], depth - 1, following, start)
    return first + second, whole and not turning(first, second)


def trees(leaf, ways, forth, back):
    """Yields, for each doubling, the branch, whether it is whole, and whether the tree grows on."""
    tree = [leaf]
    for depth, way in enumerate(ways):
        forwards = way < 0.5
        edge = tree[-1] if forwards else tree[0]
        branch, whole = build(edge, depth, forth if forwards else back, leaf.hamiltonian)
        ordered = branch if forwards else branch[::-1]
        halves = (tree, ordered) if forwards else (ordered, tree)
        grows = whole and not turning(*halves)
        yield branch, whole
        tree = halves[0] + halves[1]
        if not grows:
            return


def reference(x, p, h, chances):
    """Where one row goes, its depth, and min(1, exp(H_0 - H)) of every leaf."""
    chosen = start = Leaf(x, p)
    ratios, depth, total = [], 0, 1.0
    ways, which, whether = chances.T.tolist()
    for branch, whole in trees(start, ways, lambda z: next_leaf(z, h), lambda z: next_leaf(z, -h)):
        weights = [math.exp(start.hamiltonian - leaf.hamiltonian) for leaf in branch]
        ratios += [min(1.0, weight) for weight in weights]
        u, taken = which[depth], branch[0]
        for leaf, weight, cumulated in zip(branch, weights, itertools.accumulate(weights), strict=True):
            probability = weight / cumulated if cumulated else 0.0
            if u < probability:
                u, taken = u / probability, leaf
            else:
                u = (u - probability) / (1 - probability)
        if whole and whether[depth] < sum(weights) / total:
            chosen = taken
        total += sum(weights)
        depth += 1
    return chosen.x, depth, ratios


def test_the_kernel_goes_where_the_recursion_goes(rng):
    x, p = torch.randn(2, CHAINS, 3, generator=rng, dtype=torch.float64)
    chances = torch.rand(CHAINS, 6, 3, generator=rng, dtype=torch.float64)
    state, acceptance = next(chain(nuts(STEP_SIZES, max_depth=6), skewed, x, Replay([p, chances])))
    truth = [reference(*row) for row in zip(x, p, STEP_SIZES.tolist(), chances, strict=True)]
    ends, depths, ratios = zip(*truth, strict=True)
    torch.testing.assert_close(state.x, torch.stack(ends), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(state.here.energy, skewed(torch.stack(ends)), atol=1e-8, rtol=1e-8)
    assert state.depth.tolist() == list(depths)
    assert state.leaves.tolist() == [len(row) for row in ratios]
    means = torch.tensor([sum(row) / len(row) for row in ratios], dtype=torch.float64)
    torch.testing.assert_close(acceptance, means, atol=1e-9, rtol=1e-9)
    # The comparison means something: trees of many depths, and some branches that ended early.
    assert set(depths) >= {1, 2, 3, 4, 5}
    assert sum(len(row) != 2**depth - 1 for row, depth in zip(ratios, depths, strict=True)) > 1


def transitions(leaf, ways, h, place):
    """The probability of ending at each place of a trajectory, for given coins."""
    law, total = {place[leaf.x.item()]: 1.0}, 1.0
    start = leaf.hamiltonian
    for branch, whole in trees(leaf, ways, lambda z: next_leaf(z, h), lambda z: next_leaf(z, -h)):
        weights = [math.exp(start - other.hamiltonian) for other in branch]
        if whole:
            moved = min(1.0, sum(weights) / total)
            law = {k: (1 - moved) * probability for k, probability in law.items()}
            for other, weight in zip(branch, weights, strict=True):
                key = place[min(place, key=lambda x: abs(x - other.x.item()))]
                law[key] = law.get(key, 0.0) + moved * weight / sum(weights)
        total += sum(weights)
    return law


@pytest.mark.parametrize("h", [0.35, 0.8])
def test_the_recursion_keeps_the_law_on_a_trajectory(h, monkeypatch):
    monkeypatch.setattr(f"{__name__}.skewed", lambda x: (x + (-x).exp() + 0.1 * x**4).sum(1) / T)
    depth = 3
    reach = 2**depth - 1
    middle = Leaf(torch.tensor([0.4], dtype=torch.float64), torch.tensor([1.1], dtype=torch.float64))
    leaves = [middle]
    for _ in range(2 * reach):
        leaves = [next_leaf(leaves[0], -h), *leaves, next_leaf(leaves[-1], h)]
    place = {leaf.x.item(): index for index, leaf in enumerate(leaves)}
    assert len(place) == len(leaves)
    target = 2 * reach
    arriving, seen = 0.0, set()
    for index in range(target - reach, target + reach + 1):
        for ways in itertools.product((0.0, 1.0), repeat=depth):
            law = transitions(leaves[index], ways, h, place)
            assert sum(law.values()) == pytest.approx(1)
            share = law.get(target, 0.0) / 2**depth
            arriving += math.exp(-leaves[index].hamiltonian) * share
            seen |= {index} if share else set()
    assert arriving == pytest.approx(math.exp(-middle.hamiltonian), rel=1e-12)
    assert len(seen) > 3


def test_one_uniform_serves_all_choices_of_a_branch(rng):
    weights = torch.rand(512, generator=rng, dtype=torch.float64) + 0.01
    u = torch.rand(20_000, generator=rng, dtype=torch.float64)
    chosen, total = torch.zeros(len(u), dtype=torch.long), 0.0
    for leaf, weight in enumerate(weights.tolist()):
        total += weight
        picked, u = _pick(u, torch.full_like(u, weight / total))
        chosen[picked] = leaf
    expected = weights / total * len(u)
    excess = ((torch.bincount(chosen, minlength=512) - expected).square() / expected).sum() - 511
    assert abs(float(excess)) < 5 * math.sqrt(2 * 511)
    # What is left is uniform, whatever was chosen.
    for rest in (u, u[chosen < 200], u[chosen >= 200]):
        assert abs(float(rest.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / len(rest))
        assert abs(float(rest.square().mean()) - 1 / 3) < 5 * math.sqrt(4 / 45 / len(rest))


def test_one_chain_costs_its_leaves(rng):
    energy = Counted(Neural(skewed))
    leaves = 0
    for state, _ in itertools.islice(chain(nuts(0.15), energy, torch.zeros(1, 3), rng), 20):
        spent, leaves = int(state.leaves) - leaves, int(state.leaves)
        assert (energy.gradients, energy.values) == (1 + leaves, 0)
        assert 2 ** (int(state.depth) - 1) <= spent <= 2 ** int(state.depth) - 1


def test_a_batch_costs_its_longest_tree(rng):
    energy = Counted(Neural(skewed))
    state, _ = next(chain(nuts(STEP_SIZES.float()), energy, torch.zeros(CHAINS, 3), rng))
    assert energy.gradients == 1 + int(state.leaves.max())
    assert len(state.leaves.unique()) > 5


def test_trees_end_at_their_depth(rng):
    energy = Counted(lambda x: x.square().sum(1) / 2)
    state, _ = next(chain(nuts(1e-4, max_depth=5), energy, torch.zeros(3, 2), rng))
    assert state.depth.tolist() == [5, 5, 5] and state.leaves.tolist() == [31, 31, 31]
    assert energy.gradients == 32


def test_divergences_are_counted_and_not_taken(rng):
    def cliff(x):
        return torch.where(x[:, 0] > 1, 2000.0, 0.0) + 0.1 * x.square().sum(1)

    x = torch.tensor([[0.9], [-0.5], [0.9], [3.0]])
    momenta = torch.tensor([[1.0], [0.0], [-1.0], [0.2]])
    forwards = torch.zeros(4, 1, 3, dtype=torch.float64)
    state, acceptance = next(chain(nuts(0.3, max_depth=1), cliff, x, Replay([momenta, forwards])))
    assert state.divergences.tolist() == [1, 0, 0, 0]
    assert state.x[0] == 0.9 and acceptance[0] == 0
    assert (state.x[1:] != x[1:]).all() and (acceptance[1:] > 0.9).all()
    # An error of less than 1000 is a bad leaf, but no divergence.
    state, acceptance = next(chain(nuts(0.3, max_depth=1), lambda x: 0.4 * cliff(x), x, Replay([momenta, forwards])))
    assert state.divergences.tolist() == [0, 0, 0, 0] and acceptance[0] < 1e-30


def follows(kernel, energy, x, *, steps=4):
    """Whether the compiled kernel goes where the kernel goes; what it ran on."""
    rng = [torch.Generator().manual_seed(1) for _ in range(2)]
    ways = [chain(k, energy, x, g) for k, g in zip((kernel, Compiled(kernel)), rng, strict=True)]
    for (plain, rate), (state, compiled_rate) in itertools.islice(zip(*ways, strict=True), steps):
        torch.testing.assert_close(state.x, plain.x)
        torch.testing.assert_close(compiled_rate, rate)
    return state.bound


@pytest.mark.parametrize(
    "kernel",
    [
        nuts(0.5, max_depth=5),
        nuts(torch.linspace(0.1, 0.9, CHAINS, dtype=torch.float64), max_depth=5),
        Preconditioned(nuts(0.5, max_depth=4), torch.tensor([0.5, 1.0, 2.0])),
    ],
)
def test_its_parts_are_compiled(kernel, rng):
    x = torch.randn(CHAINS, 3, generator=rng, dtype=torch.float64)
    assert isinstance(follows(kernel, skewed, x), Pieces)


@pytest.mark.slow
def test_its_parts_are_compiled_to_fused_code(rng, compiler):
    x = torch.randn(CHAINS, 3, generator=rng, dtype=torch.float64)
    assert isinstance(follows(nuts(0.5, max_depth=3), skewed, x, steps=2), Pieces)


def test_compiled_parts_read_new_weights_and_step_sizes(rng):
    x = torch.randn(CHAINS, 3, generator=rng, dtype=torch.float64)
    energy = MLP((3,), hidden=(8,)).double()
    for step_size in (0.3, 0.6):
        for parameter in energy.parameters():
            parameter.data.normal_(generator=rng)
        assert isinstance(follows(nuts(step_size, max_depth=3), energy, x), Pieces)
    shrinking = Scheduled(Compiled(nuts(0.5, max_depth=3)), {"step_size": lambda step: 0.5 / (1 + step)})
    plain = Scheduled(nuts(0.5, max_depth=3), shrinking.schedules)
    ends = [sample(k, skewed, x, 3, torch.Generator().manual_seed(1)) for k in (plain, shrinking)]
    torch.testing.assert_close(*ends)


def test_it_says_why_it_does_not_compile(rng):
    def branching(x):
        return skewed(x) if float(x.detach().sum()) > 0 else skewed(x).clone()

    bound = follows(nuts(0.5, max_depth=3), branching, torch.randn(CHAINS, 3, generator=rng))
    assert isinstance(bound, Eager) and "depends on values" in bound.reason


def test_inside_of_other_kernels_it_is_compiled_next_to_itself(rng):
    x, temperatures = torch.randn(CHAINS, 3, generator=rng), [1.0, 2.0]
    outside = follows(replica_exchange(nuts(0.5, max_depth=3), temperatures), skewed, x, steps=2)
    assert isinstance(outside, Eager) and "depends on values" in outside.reason
    steps = chain(replica_exchange(Compiled(nuts(0.5, max_depth=3)), temperatures), skewed, x, rng)
    assert isinstance(next(steps)[0].inner.bound, Pieces)


def test_divided_over_threads_it_is_the_same(rng):
    x, kernel = torch.randn(CHAINS, 3, generator=rng), nuts(0.5, max_depth=3)
    ways = (kernel, Parallel(kernel, 2), Parallel(Compiled(kernel), 2))
    ends = [sample(k, skewed, x, 3, torch.Generator().manual_seed(1)) for k in ways]
    torch.testing.assert_close(ends[0], ends[1])
    torch.testing.assert_close(ends[0], ends[2])


@pytest.mark.parametrize("wrong", [lambda: NUTS(-0.1), lambda: NUTS(torch.tensor([0.0])), lambda: NUTS(0.1, 0)])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="NUTS needs"):
        wrong()
