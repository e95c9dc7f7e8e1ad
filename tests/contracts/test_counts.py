"""A count that is no whole number, and a shape that is none, are refused in one sentence where they are given."""

import re

import jaxtyping
import numpy as np
import pytest
import torch

from erg.energies import Gaussian, Independent, Path
from erg.evaluation.partition import log_partition
from erg.evaluation.traces import collect, trace
from erg.negatives import Every, FromData, FromNoise, Persistent, Repeated
from erg.samplers import (
    AutomaticCycles,
    Cyclical,
    CyclicalLangevin,
    Geometric,
    Parallel,
    Polynomial,
    Stage,
    Underdamped,
    advance,
    ais,
    gibbs,
    hmc,
    ladder,
    mala,
    nuts,
    replica_exchange,
    reverse_ais,
    sample,
    sgld,
    smc,
    tempered_transitions,
    warmup,
    warmup_along,
)
from erg.samplers.microcanonical.mams import MAMS
from erg.support import Spin

NORMAL = Gaussian.standard(2)
PATH, KERNEL, X = Path(NORMAL, NORMAL / 2), mala(0.3), torch.zeros(4, 2)


@pytest.fixture(autouse=True)
def unchecked() -> None:
    """Users run without the checks of annotations that `conftest` installs, and meet our own."""
    jaxtyping.config.update("jaxtyping_disable", True)


def summary(x, energy):
    return x


COUNTS = {
    "HMC leapfrogs": lambda n: hmc(0.1, n),
    "NUTS max_depth": lambda n: nuts(0.1, n),
    "MAMS search": lambda n: MAMS(search=n),
    "Underdamped search": lambda n: Underdamped(search=n),
    "Gibbs block": gibbs,
    "AutomaticCycles period": lambda n: AutomaticCycles(period=n),
    "AutomaticCycles cycles": lambda n: AutomaticCycles(cycles=n),
    "Parallel threads": lambda n: Parallel(KERNEL, n),
    "Cyclical period": lambda n: Cyclical(1.0, 0.1, n),
    "Geometric steps": lambda n: Geometric(1.0, 0.1, n),
    "Stage steps": lambda n: Stage(NORMAL, KERNEL, n),
    "ladder() rungs": lambda n: ladder(10.0, n),
    "sample() steps": lambda n: sample(KERNEL, NORMAL, X, n),
    "advance() steps": lambda n: advance(KERNEL, NORMAL, X, n),
    "warmup() steps": lambda n: warmup(KERNEL, NORMAL, X, n),
    "warmup_along() steps": lambda n: warmup_along(PATH, KERNEL, steps=n),
    "warmup_along() chains": lambda n: warmup_along(PATH, KERNEL, chains=n),
    "ais() betas": lambda n: ais(PATH, KERNEL, betas=n),
    "ais() chains": lambda n: ais(PATH, KERNEL, betas=2, chains=n),
    "ais() steps": lambda n: ais(PATH, KERNEL, betas=2, steps=n),
    "reverse_ais() betas": lambda n: reverse_ais(PATH, KERNEL, X, betas=n),
    "reverse_ais() steps": lambda n: reverse_ais(PATH, KERNEL, X, betas=2, steps=n),
    "smc() chains": lambda n: smc(PATH, KERNEL, chains=n),
    "smc() populations": lambda n: smc(PATH, KERNEL, populations=n),
    "smc() steps": lambda n: smc(PATH, KERNEL, steps=n),
    "FromData steps": lambda n: FromData(KERNEL, n),
    "FromNoise steps": lambda n: FromNoise(KERNEL, n),
    "Persistent steps": lambda n: Persistent(KERNEL, n),
    "Persistent size": lambda n: Persistent(KERNEL, 1, size=n),
    "Persistent classes": lambda n: Persistent(KERNEL, 1, classes=n),
    "Every updates": lambda n: Every(FromData(KERNEL, 1), n),
    "Repeated times": lambda n: Repeated(FromData(KERNEL, 1), n),
    "trace() every": lambda n: next(trace(KERNEL, NORMAL, X, summary, every=n)),
    "collect() steps": lambda n: collect(KERNEL, NORMAL, X, summary, steps=n),
    "collect() every": lambda n: collect(KERNEL, NORMAL, X, summary, steps=1, every=n),
}


@pytest.mark.parametrize("wrong", [2.5, 3.0, True], ids=repr)
@pytest.mark.parametrize("of", COUNTS)
def test_what_is_no_whole_number_is_refused(of, wrong):
    who, name = of.replace("advance()", "sample()").split()
    with pytest.raises(TypeError, match=re.escape(f"{who} needs a whole number for {name}, but got {wrong!r}; pass")):
        COUNTS[of](wrong)


@pytest.mark.parametrize("of", COUNTS)
def test_a_count_that_is_too_small_is_refused(of):
    with pytest.raises(ValueError, match=rf"{of.split()[1]} of at least \d+, but got -1"):
        COUNTS[of](-1)


NUMBERS = {
    "HMC jitter": lambda value: hmc(0.1, 3, jitter=value),
    "ImageLangevin noise": lambda value: sgld(1.0, value),
    "AutomaticCycles target": lambda value: AutomaticCycles(target=value),
    "Polynomial start": lambda value: Polynomial(value, 1.0, 0.5),
    "Cyclical low": lambda value: Cyclical(1.0, value, 5),
    "Geometric end": lambda value: Geometric(1.0, value, 5),
    "ladder() hottest": lambda value: ladder(value, 5),
    "warmup() acceptance": lambda value: warmup(KERNEL, NORMAL, X, 5, acceptance=value),
    "Persistent fresh": lambda value: Persistent(KERNEL, 1, fresh=value),
}


@pytest.mark.parametrize("wrong", ["a", [0.1]], ids=repr)
@pytest.mark.parametrize("of", NUMBERS)
def test_what_is_no_number_is_refused(of, wrong):
    who, name = of.split()
    with pytest.raises(TypeError, match=re.escape(f"{who} needs a number for {name}, but got {wrong!r}; pass")):
        NUMBERS[of](wrong)


@pytest.mark.parametrize(
    ("wrong", "name"), [((0.1, torch.ones(1)), "step_sizes"), ((torch.ones(1), [1]), "balances")]
)
def test_a_cycle_is_made_of_tensors(wrong, name):
    with pytest.raises(TypeError, match=rf"CyclicalLangevin needs a tensor for {name}, but got .*; use torch"):
        CyclicalLangevin(*wrong)


def test_whole_numbers_of_numpy_are_whole_numbers():
    assert hmc(0.1, np.int64(3)).leapfrogs == 3
    assert sample(KERNEL, NORMAL, X, np.int32(2)).shape == X.shape
    assert len(ais(PATH, KERNEL, betas=np.int64(2), chains=4).log_weights) == 4


@pytest.mark.parametrize(
    ("event", "error", "said"),
    [
        (3, TypeError, "log_partition() needs the shape of one event, but got 3; write it as a tuple, such as (3,)."),
        ("3", TypeError, "the shape of one event, but got '3'"),
        ((1.5,), TypeError, "a whole number for every size of an event, but got 1.5"),
        ((0,), ValueError, "every size of an event of at least 1, but got 0"),
    ],
)
def test_what_is_no_shape_is_refused(event, error, said):
    with pytest.raises(error, match=re.escape(said)):
        log_partition(Independent.uniform((3,), Spin()), event)


@pytest.mark.parametrize("method", [replica_exchange, tempered_transitions])
def test_one_temperature_in_the_place_of_a_ladder_is_refused(method):
    with pytest.raises(TypeError, match=r"needs a sequence of temperatures, but got 2\.0; write for example ladder"):
        method(KERNEL, 2.0)


def test_one_beta_in_the_place_of_some_is_refused():
    with pytest.raises(TypeError, match=r"needs a sequence of betas, but got 0\.5; write \(0\.0, 0\.1, 1\.0\)"):
        warmup_along(PATH, KERNEL, betas=0.5)
