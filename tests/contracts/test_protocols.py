"""Every version of Python recognises what offers a role: from 3.12 on it looks past `__getattr__`."""

import inspect
from typing import Any

import pytest
import torch
from typing_extensions import get_protocol_members, is_protocol

from erg import roles
from erg.energies import (
    DBM,
    RBM,
    BoltzmannMachine,
    Gaussian,
    GaussianRBM,
    Independent,
    InField,
    Ising,
    LabelledRBM,
    Lattice,
)
from erg.support import Spin

PROTOCOLS = [role for role in vars(roles).values() if inspect.isclass(role) and is_protocol(role)]
ENERGIES = [
    RBM(3, 2),
    RBM(3, 2).clamp(torch.tensor([True, False, False]), 1.0),
    InField(RBM(3, 2), torch.zeros(3)),
    GaussianRBM(3, 2),
    RBM(3, 2).decoupled(torch.zeros(1, 3)),
    LabelledRBM(3, 2, classes=2),
    LabelledRBM(3, 2, classes=2).given(1),
    DBM(3, [2, 2]),
    BoltzmannMachine((3,)),
    Ising(Lattice((2, 2))),
    Independent.uniform((2,), Spin()),
    Gaussian.standard(2),
]


def found_from_3_12_on(energy: Any, name: str) -> bool:
    try:
        inspect.getattr_static(energy, name)
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize("energy", ENERGIES, ids=lambda energy: type(energy).__name__)
@pytest.mark.parametrize("role", PROTOCOLS, ids=lambda role: role.__name__)
def test_a_role_is_the_same_in_every_python(energy, role):
    static = all(found_from_3_12_on(energy, name) for name in get_protocol_members(role))
    assert isinstance(energy, role) == static


def test_machines_offer_what_learning_asks_for():
    for machine in (RBM(3, 2), GaussianRBM(3, 2), DBM(3, [2, 2]).machine):
        assert isinstance(machine, roles.Centring)
    assert isinstance(LabelledRBM(3, 2, classes=2), roles.Joint)
