"""Parts of the batch on a thread each against the undivided kernel."""

import threading

import pytest
import torch

from erg.networks import MLP
from erg.samplers import Compiled, Langevin, Metropolis, Parallel, chain, mala, random_walk, sample, sgld


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "kernel",
    [mala(0.3), random_walk(0.5), sgld(0.3, 0.2, clip=0.5), Compiled(mala(0.3))],
    ids=lambda k: type(k).__name__,
)
def test_divided_chains_are_the_undivided_ones(kernel, threads):
    energy, x = MLP((3,), hidden=(8,)), torch.randn(12, 3)
    ours, theirs = seeded(), seeded()
    found = sample(Parallel(kernel, threads), energy, x, 30, ours)
    torch.testing.assert_close(found, sample(kernel, energy, x, 30, theirs), rtol=1e-4, atol=1e-4)
    assert torch.equal(ours.get_state(), theirs.get_state())
    halfway = sample(Parallel(kernel, threads), energy, x, 11, rng := seeded())
    torch.testing.assert_close(
        sample(Parallel(kernel, threads), energy, halfway, 19, rng), found, rtol=1e-4, atol=1e-4
    )


def test_every_part_has_a_thread_and_the_caller_keeps_its_own():
    seen = set()

    def energy(x):
        seen.add((len(x), threading.get_ident(), torch.get_num_threads()))
        return x.square().sum(1)

    before = torch.get_num_threads()
    steps = chain(Parallel(mala(0.3), 2), energy, torch.randn(8, 2), seeded())
    state, acceptance = next(steps)
    assert acceptance.shape == (8,) and state.x.shape == (8, 2)
    parts = [(thread, threads) for rows, thread, threads in seen if rows == 4]
    assert len({thread for thread, _ in parts}) == 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("kernel", "scale", "rows"),
    [
        (mala(0.3), torch.ones(7), 7),  # does not divide
        (mala(0.3), torch.linspace(0.5, 1.0, 8), 8),  # one number per chain, in the energy
        (Metropolis(Langevin(torch.linspace(0.1, 0.3, 8))), torch.ones(()), 8),  # and in the kernel
    ],
)
def test_what_does_not_divide_runs_undivided(kernel, scale, rows):
    x = torch.randn(rows, 2)

    def energy(x):
        return scale * x.square().sum(1)

    assert torch.equal(sample(Parallel(kernel, 2), energy, x, 5, seeded()), sample(kernel, energy, x, 5, seeded()))


@pytest.mark.timeout(30)
def test_an_error_in_one_part_ends_all():
    def energy(x):
        if threading.current_thread() is not threading.main_thread():
            raise FloatingPointError("in a part")
        return x.square().sum(1)

    with pytest.raises(FloatingPointError, match="in a part"):
        sample(Parallel(mala(0.3), 2), energy, torch.randn(8, 2), 50, seeded())


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="threads of at least 1"):
        Parallel(mala(0.3), 0)
