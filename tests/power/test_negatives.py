"""Would the buffer's tests notice? Each buffer here carries a published bug."""

import torch

from erg import draws
from erg.negatives import Persistent
from tests.contracts.buffers import (
    Diverging,
    Identity,
    distinct_chains,
    largest_share_of_duplicates,
    share_of_restarts,
    stored_non_finite,
)


class FirstInFirstOut(Persistent):
    """Draws from random slots, writes back to the oldest ones."""

    oldest = 0

    def __call__(self, energy, x, rng=None):
        old = None if self.positions is None else self.positions.clone()
        end = super().__call__(energy, x, rng)
        if old is not None:
            self.positions = old
        slots = (torch.arange(len(x)) + self.oldest) % self.size
        self.positions[slots] = end.to(self.dtype)
        self.oldest = (self.oldest + len(x)) % self.size
        return end


class WithReplacement(Persistent):
    """May draw a slot twice: one chain then overwrites the other."""

    def _slots(self, energy, x, rng):
        return torch.randint(self.size, (len(x),), generator=rng)


class NoisyInsteadOfFresh(Persistent):
    """Adds noise to old chains and calls them new."""

    def __call__(self, energy, x, rng=None):
        share, self.fresh = self.fresh, 0.0
        end = super().__call__(energy, x, rng)
        self.fresh = share
        chosen = draws.uniform(torch.empty(len(x)), rng) < share
        return end + chosen[:, None] * draws.normal(end, rng)


class StoresAnything(Persistent):
    """Pushes chains back whatever they are."""

    def __call__(self, energy, x, rng=None):
        end = super().__call__(energy, x, rng)
        self.positions[: len(end)] = end
        return end


def test_chains_lost_to_first_in_first_out_are_noticed():
    buffer = FirstInFirstOut(Identity(), steps=1, size=2_000, fresh=0.0)
    assert distinct_chains(buffer, size=2_000, batch=128, updates=400) < 500


def test_duplicates_are_noticed():
    assert largest_share_of_duplicates(WithReplacement(Identity(), steps=1, size=60), batch=60, calls=5) > 0.1


def test_restarts_that_do_not_happen_are_noticed():
    buffer = NoisyInsteadOfFresh(Identity(), steps=1, size=400, fresh=0.4)
    assert share_of_restarts(buffer, batch=200, calls=20) == 0


def test_stored_divergence_is_noticed():
    assert stored_non_finite(StoresAnything(Diverging(), steps=1, size=100), batch=50, calls=20) > 0
