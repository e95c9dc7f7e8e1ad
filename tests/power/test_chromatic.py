"""Would the tests of sweeps notice? Each of these energies tells its fields wrongly, and must be rejected."""

from types import SimpleNamespace

import pytest
import torch

import erg.samplers.discrete.chromatic as chromatic_module
from erg.energies import Graph, Ising, Lattice
from erg.roles import Group
from erg.samplers import chromatic
from tests.statistical.test_chromatic import SIGMAS, WORLDS, departure


class OneColour(Ising):
    """All sites at once, though they interact."""

    @property
    def groups(self):
        return (Group(torch.arange(self.sites.shape.numel()), None),)


class HalfField(Ising):
    """Each bond felt half, as where the sum over pairs is taken for a sum over neighbours."""

    def local_field(self, x, sites):
        return super().local_field(x, sites) / 2


class NoField(Ising):
    """What a site does on its own is left out."""

    def local_field(self, x, sites):
        return self.sites.felt(x, sites, self.coupling)


@pytest.mark.parametrize("wrong", [OneColour, HalfField, NoField])
def test_wrong_fields_are_rejected(wrong, rng):
    field = torch.linspace(-0.4, 0.5, 3)
    world = (wrong(Lattice((2, 3), periodic=False), coupling=0.4, field=field), (2, 3))
    assert departure(chromatic(), world, rng) > SIGMAS


@pytest.mark.parametrize("name", ["bits", "spins"])
def test_fields_that_are_not_corrected_inside_a_block_are_rejected(name, rng, monkeypatch):
    fields_of = chromatic_module.fields_of

    def uncorrected(energy):
        fields = fields_of(energy)
        return SimpleNamespace(groups=fields.groups, couplings=[[] for _ in fields.groups], at=fields.at)

    monkeypatch.setattr(chromatic_module, "fields_of", uncorrected)
    assert departure(chromatic(), WORLDS[name], rng) > SIGMAS


def test_the_difference_of_two_spins_is_two(rng, monkeypatch):
    """A spin's field counts twice: half of it is the law at twice the temperature."""
    world = (Ising(Graph(2, [(0, 1)]), coupling=0.8, field=0.3), (2,))
    assert departure(chromatic(), world, rng) < SIGMAS
    half = HalfField(Graph(2, [(0, 1)]), coupling=0.8, field=0.3)
    assert departure(chromatic(), (half, (2,)), rng) > SIGMAS
