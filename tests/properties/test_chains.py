"""Laws of chains for any kernel, start, number of steps and seed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erg.draws import Replay
from erg.samplers import advance, mala, random_walk, sample, ula
from tests.contracts.kernels import KERNELS, MOVING, noise_of, run

kernels = st.sampled_from(sorted(KERNELS))
seeds = st.integers(0, 2**31)
few = st.integers(0, 5)
rows = st.integers(1, 9)
quick = settings(max_examples=20, deadline=None)


def energy(x):
    """Element by element, so that its rounding cannot depend on the batch."""
    x = x.flatten(1)
    return (x.square().square() / 8 + x.cos()).sum(1)


def start(n, seed):
    return torch.randn(n, 2, 2, generator=torch.Generator().manual_seed(seed))


@quick
@given(kernels, rows, st.integers(1, 5), seeds, st.randoms(use_true_random=False))
def test_rows_may_be_permuted(name, n, steps, seed, random):
    kernel, x = KERNELS[name], start(n, seed)
    noise = noise_of(kernel, energy, x, steps, seed)
    order = torch.tensor(random.sample(range(n), n))
    straight = sample(kernel, energy, x, steps, Replay(noise))
    permuted = sample(kernel, energy, x[order], steps, Replay([drawn[order] for drawn in noise]))
    assert torch.equal(permuted, straight[order])


@quick
@given(kernels, rows, st.integers(1, 5), seeds, st.data())
def test_a_row_does_not_see_the_others(name, n, steps, seed, data):
    kernel, x = KERNELS[name], start(n, seed)
    noise = noise_of(kernel, energy, x, steps, seed)
    row = data.draw(st.integers(0, n - 1))
    together, acceptance = advance(kernel, energy, x, steps, Replay(noise))
    alone, accepted = advance(
        kernel, energy, x[row : row + 1], steps, Replay([drawn[row : row + 1] for drawn in noise])
    )
    assert torch.equal(together[row], alone[0])
    assert acceptance[row] == accepted[0]


@quick
@given(st.sampled_from([mala, ula, random_walk]), rows, seeds)
def test_settings_for_each_chain_are_many_kernels_at_once(constructor, n, seed):
    sizes = torch.linspace(0.05, 0.6, n)
    x = start(n, seed)
    noise = noise_of(constructor(sizes), energy, x, 3, seed)
    together = sample(constructor(sizes), energy, x, 3, Replay(noise))
    for row, size in enumerate(sizes.tolist()):
        alone = sample(constructor(size), energy, x[row : row + 1], 3, Replay([d[row : row + 1] for d in noise]))
        torch.testing.assert_close(together[row], alone[0])


@quick
@given(st.sampled_from(sorted(n for n in KERNELS.keys() - MOVING if "Scheduled" not in n)), rows, few, few, seeds)
def test_k_then_m_steps_are_k_plus_m_steps(name, n, k, m, seed):
    kernel, x = KERNELS[name], start(n, seed)
    rng = torch.Generator().manual_seed(seed)
    stopped = sample(kernel, energy, sample(kernel, energy, x, k, rng), m, rng)
    assert torch.equal(stopped, sample(kernel, energy, x, k + m, torch.Generator().manual_seed(seed)))


@quick
@given(kernels, rows, st.integers(1, 6), seeds)
def test_an_iterated_chain_is_a_sample_with_a_view(name, n, steps, seed):
    kernel, x = KERNELS[name], start(n, seed)
    seen = run(kernel, energy, x, steps, torch.Generator().manual_seed(seed))
    end, acceptance = advance(kernel, energy, x, steps, torch.Generator().manual_seed(seed))
    assert torch.equal(seen[-1][0].x, end)
    torch.testing.assert_close(torch.stack([accepted for _, accepted in seen]).mean(0), acceptance)


@quick
@given(kernels, rows, few, seeds)
def test_same_seed_same_chain(name, n, steps, seed):
    kernel, x = KERNELS[name], start(n, seed)
    first, second = (sample(kernel, energy, x, steps, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_what_was_recorded_can_be_replayed(name):
    """`noise_of` draws as the kernel does, so the tests above replay what a generator would give."""
    kernel, x = KERNELS[name], start(4, 0)
    noise = noise_of(kernel, energy, x, 3, 5)
    replayed = sample(kernel, energy, x, 3, Replay(noise))
    assert torch.equal(replayed, sample(kernel, energy, x, 3, torch.Generator().manual_seed(5)))
