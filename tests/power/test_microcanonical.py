"""Would the statistical test notice a microcanonical sampler that is not quite right?"""

import pytest
import torch

from erg.samplers import mams, mclmc
from erg.samplers.microcanonical import isokinetic
from erg.samplers.microcanonical import mams as adjusted
from erg.samplers.microcanonical import mclmc as unadjusted
from erg.samplers.microcanonical.isokinetic import fly, kick, refreshed
from tests.statistical.laws import SIGMAS, TARGETS, departures


def energy_alone(start, end):
    return end.at.energy - start.energy


def volume_reversed(start, end):
    return end.at.energy - start.energy - end.squeezed


def never_refreshed(noise):
    return torch.ones_like(noise) / noise[0].numel() ** 0.5


def divided_by_d(direction, here, time):
    """The force over d where the curvature of the sphere asks for d - 1."""
    d = direction[0].numel()
    return kick(direction, here, time * (d - 1) / d)


def uphill(direction, here, time):
    return kick(direction, here._replace(gradient=-here.gradient), time)


def towards_a_pole(direction, noise, kept):
    return refreshed(direction, noise.abs(), kept)


BROKEN = {
    "volume left out of the test": (adjusted, "work", energy_alone, mams(1.2, 2.4)),
    "volume with the wrong sign": (adjusted, "work", volume_reversed, mams(1.2, 2.4)),
    "direction never refreshed": (adjusted, "unit", never_refreshed, mams(1.2, 2.4)),
    "force divided by d": (isokinetic, "kick", divided_by_d, mclmc(0.2, 1.5)),
    "uphill": (isokinetic, "kick", uphill, mclmc(0.2, 1.5)),
    "directions that are not uniform": (unadjusted, "refreshed", towards_a_pole, mclmc(0.2, 1.5)),
}


@pytest.mark.parametrize("target", ["gaussian", "gumbel"])
@pytest.mark.parametrize("bug", BROKEN)
def test_a_broken_sampler_is_rejected(bug, target, monkeypatch):
    module, name, broken, kernel = BROKEN[bug]
    assert getattr(module, name) in {isokinetic.work, isokinetic.unit, kick, refreshed, fly}
    monkeypatch.setattr(module, name, broken)
    found = departures(
        kernel, TARGETS[target]((3,)), seed=1, steps=10 if "mclmc" in type(kernel).__name__.lower() else 4
    )
    assert max(found.values()) > SIGMAS, found
