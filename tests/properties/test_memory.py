"""Recall: the energy never rises, what is known is held, and the end is a fixed point."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erg.applications import Sweeps, Synchronous, recall
from erg.energies import ContinuousMemory, DenseMemory, Exponential, Hopfield, Neural, Polynomial, Rectified
from erg.support import Binary, Box, Spin

SHAPE = (3, 4)
MAKERS = {
    "hebbian": lambda patterns, support: Hopfield.hebbian(patterns, support=support),
    "pseudo-inverse": lambda patterns, support: Hopfield.pseudo_inverse(patterns, support=support),
    "cubic": lambda patterns, support: DenseMemory(patterns, Polynomial(3), support=support),
    "rectified": lambda patterns, support: DenseMemory(patterns, Rectified(3), support=support),
    "exponential": lambda patterns, support: DenseMemory(patterns, Exponential(0.4), support=support),
    "rugged": lambda patterns, support: Neural(rugged, support=support),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
supports = st.sampled_from([Spin(), Binary()])
updates = st.sampled_from([Sweeps(), Synchronous()])
seeds = st.integers(0, 2**31)


def rugged(x):
    """Neither concave nor a memory."""
    x = x.flatten(1)
    return (7.3 * x * torch.arange(1, 13, dtype=x.dtype)).sin().sum(1) + x[:, 0] * x[:, 5] * x[:, 7]


def drawn(support, count, seed):
    return support.initial((count, *SHAPE), torch.Generator().manual_seed(seed)).double()


@makers
@settings(deadline=None, max_examples=25)
@given(support=supports, update=updates, seed=seeds, known=st.floats(0, 1))
def test_the_energy_never_rises_and_what_is_known_stays(make, support, update, seed, known):
    energy, x = make(drawn(support, 5, seed), support).double(), drawn(support, 8, seed + 1)
    mask = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(seed)) < known
    for _ in range(4):
        found = recall(energy, x, mask, update=update, steps=1)
        assert bool((energy(found.x) <= energy(x) + 1e-12).all())
        assert torch.equal(found.x[mask], x[mask]) and support.contains(found.x).all()
        x = found.x


@makers
@settings(deadline=None, max_examples=15)
@given(support=supports, seed=seeds)
def test_sweeps_end_where_no_single_change_helps(make, support, seed):
    energy, x = make(drawn(support, 5, seed), support).double(), drawn(support, 4, seed + 1)
    found = recall(energy, x, update=Sweeps())
    assert found.converged.all()
    low, high = support.values
    for site in range(12):
        other = found.x.clone()
        flat = other.flatten(1)
        flat[:, site] = low + high - flat[:, site]
        assert bool((energy(flat.reshape(x.shape)) >= energy(found.x) - 1e-12).all())


@settings(deadline=None, max_examples=25)
@given(seed=seeds, sharpness=st.floats(0.1, 20), known=st.floats(0, 1))
def test_the_continuous_energy_never_rises(seed, sharpness, known):
    rng = torch.Generator().manual_seed(seed)
    patterns, x = (torch.randn(n, *SHAPE, generator=rng, dtype=torch.float64) for n in (5, 8))
    energy, mask = ContinuousMemory(patterns, sharpness=sharpness), torch.rand(SHAPE, generator=rng) < known
    for _ in range(4):
        found = recall(energy, x, mask, steps=1)
        assert bool((energy(found.x) <= energy(x) + 1e-10).all())
        assert torch.equal(found.x[:, mask], x[:, mask])
        x = found.x


@settings(deadline=None, max_examples=25)
@given(support=supports, seed=seeds)
def test_gaps_give_the_sweeps_that_energies_give(support, seed):
    energy, x = Hopfield.hebbian(drawn(support, 3, seed), support=support), drawn(support, 6, seed + 1)
    slow = recall(Neural(energy, support=support), x, update=Sweeps())
    fast = recall(energy, x, update=Sweeps())
    assert torch.equal(slow.x, fast.x) and torch.equal(slow.steps, fast.steps)


class TestRecall:
    @pytest.mark.parametrize("support", [Spin(), Binary()], ids=str)
    def test_a_dense_memory_recalls_from_half_where_the_classical_one_fails(self, support):
        patterns = support.initial((300, 64), torch.Generator().manual_seed(0))
        mask = torch.arange(64) < 32
        query = torch.where(mask, patterns, sum(support.values) / 2)
        dense = recall(DenseMemory(patterns, Exponential(), support=support), query, mask)
        assert bool((dense.x == patterns).all()) and dense.converged.all() and int(dense.steps.max()) <= 2
        classical = recall(Hopfield.hebbian(patterns, support=support), query, mask)
        assert float((classical.x == patterns).all(1).float().mean()) < 0.05

    def test_the_classical_memory_recalls_a_few(self):
        patterns = Spin().initial((5, 200), torch.Generator().manual_seed(0))
        damaged = patterns * torch.where(torch.arange(200) % 5 == 0, -1.0, 1.0)
        for energy in (Hopfield.hebbian(patterns), Hopfield.pseudo_inverse(patterns)):
            assert torch.equal(recall(energy, damaged).x, patterns)

    def test_a_continuous_memory_recalls_in_one_step(self):
        patterns = torch.randn(50, 100, generator=torch.Generator().manual_seed(0))
        mask = torch.arange(100) < 50
        found = recall(ContinuousMemory(patterns, sharpness=4.0), torch.where(mask, patterns, 0.0), mask)
        torch.testing.assert_close(found.x, patterns, atol=1e-4, rtol=0)
        assert found.converged.all() and int(found.steps.max()) <= 2

    def test_rows_do_not_depend_on_each_other(self):
        patterns = Spin().initial((9, 30), torch.Generator().manual_seed(0))
        query = Spin().initial((6, 30), torch.Generator().manual_seed(1))
        energy = Hopfield.hebbian(patterns)
        together = recall(energy, query)
        alone = [recall(energy, row[None]) for row in query]
        assert torch.equal(together.x, torch.cat([found.x for found in alone]))
        assert torch.equal(together.steps, torch.cat([found.steps for found in alone]))

    def test_what_cannot_move_on_is_said(self):
        """Two spins that want to be equal, all at once: each takes the other's place, for ever."""
        energy = Hopfield(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        query = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
        stuck = recall(energy, query, update=Synchronous())
        assert stuck.converged.tolist() in ([False, True], [True, True])
        assert recall(energy, query, update=Sweeps()).converged.all()
        assert not recall(energy, query, update=Sweeps(), steps=1).converged[0]

    def test_bad_queries_are_refused(self):
        energy = Hopfield.hebbian(torch.ones(1, 4))
        with pytest.raises(ValueError, match="1 of 2 do not; binarise"):
            recall(energy, torch.tensor([[0.5, 1, 1, 1], [1.0, 1, 1, 1]]), torch.ones(4, dtype=torch.bool))
        with pytest.raises(TypeError, match="mask"):
            recall(energy, torch.ones(1, 4), torch.ones(4))
        with pytest.raises(ValueError, match="does not fit"):
            recall(energy, torch.ones(1, 4), torch.ones(3, dtype=torch.bool))
        with pytest.raises(TypeError, match=r"use Synchronous\(\)"):
            recall(ContinuousMemory(torch.ones(1, 4)), torch.ones(1, 4), update=Sweeps())
        with pytest.raises(TypeError, match="spins, bits or real"):
            recall(Neural(lambda x: x.sum(1), support=Box()), torch.zeros(1, 4), update=Synchronous())
