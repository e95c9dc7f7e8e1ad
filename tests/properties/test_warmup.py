"""Laws of warm-up: the same seed gives the same kernel, in whatever order the chains come."""

import pytest
import torch

from erg import draws
from erg.draws import Record, Replay
from erg.samplers import hmc, mala, random_walk, warmup


def energy(x):
    """Element by element, so that its rounding cannot depend on the batch."""
    wide = torch.tensor([100.0, 1.0, 4.0])
    return (wide * x.square()).sum(1) + x.cos().sum(1)


def settings(kernel):
    scale = getattr(kernel, "scale", torch.ones(1))
    inner = getattr(kernel, "kernel", kernel)
    return scale.tolist(), vars(getattr(inner, "proposal", inner))


@pytest.mark.parametrize("kernel", [mala(0.01), random_walk(3.0), hmc(0.01, 2)], ids=["mala", "random_walk", "hmc"])
def test_the_order_of_the_chains_and_a_repetition_change_nothing(kernel):
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    x[3] = torch.nan
    before = torch.get_rng_state()
    record = Record(torch.Generator().manual_seed(1))
    first = settings(warmup(kernel, energy, x, 60, record))
    assert first == settings(warmup(kernel, energy, x, 60, torch.Generator().manual_seed(1)))
    assert first != settings(warmup(kernel, energy, x, 60, torch.Generator().manual_seed(2)))
    assert torch.equal(torch.get_rng_state(), before)
    noise = draws.repeat(record.draws, torch.Generator().manual_seed(1))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    assert first == settings(warmup(kernel, energy, x[order], 60, Replay([drawn[order] for drawn in noise])))
