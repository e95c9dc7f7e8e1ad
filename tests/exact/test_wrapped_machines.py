"""Machines that are counted, watched, or in a field of each row, where kernels and objectives look inside."""

import pytest
import torch

from erg.energies import RBM, BoltzmannMachine, Counted, GaussianRBM, InField, LabelledRBM, Watched
from erg.energies.repeated import repeated
from erg.objectives import PseudoLikelihood, RatioMatching
from erg.samplers import BlockGibbs, GibbsLangevin, advance, gwg, machine_exchange, mala, replica_exchange, sample


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def weights():
    torch.manual_seed(0)


@pytest.mark.parametrize("wrap", [Counted, lambda energy: Watched(Counted(energy))], ids=["one", "two"])
@pytest.mark.parametrize(
    ("kernel", "machine"),
    [
        (machine_exchange(BlockGibbs(), [0.5, 0.0]), lambda: RBM(6, 4, scale=0.5)),
        (GibbsLangevin(mala(0.1), steps=2), lambda: GaussianRBM(6, 4, scale=0.5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_who_watches_changes_nothing(kernel, machine, wrap):
    machine, x = machine(), torch.zeros(5, 6)
    plain = sample(kernel, machine, x, 4, seeded())
    assert torch.equal(sample(kernel, wrap(machine), x, 4, seeded()), plain)


def in_fields(rows=3):
    return InField(BoltzmannMachine((4,), scale=0.5), torch.randn(rows, 4, generator=seeded(1)))


@pytest.mark.parametrize("rows", [1, 3])
def test_a_field_of_each_row_goes_with_its_states(rows):
    energy = in_fields(rows)
    x = (torch.rand(rows, 5, 4, generator=seeded(2)) < 0.5).float()
    expected = torch.stack([energy(x[:, place]) for place in range(5)], 1)
    assert torch.equal(repeated(energy, 5, event=1)(x.flatten(0, 1)), expected.flatten())


def test_a_field_of_the_event_is_that_of_all_states():
    energy = InField(RBM(4, 2), torch.randn(4, generator=seeded(1)))
    assert repeated(energy, 5, event=1) is energy


@pytest.mark.parametrize("objective", [PseudoLikelihood(), RatioMatching()], ids=lambda value: type(value).__name__)
def test_sites_are_compared_in_the_field_of_their_row(objective):
    energy, x = in_fields(), torch.tensor([[0.0, 1.0, 1.0, 0.0]]).expand(3, 4)
    alone = [objective(InField(energy.energy, field), x[:1]).value for field in energy.field]
    assert torch.allclose(objective(energy, x).value, torch.stack(alone).mean())


def test_replicas_are_in_the_field_of_their_row():
    field = torch.tensor([[9.0] * 4, [-9.0] * 4]).repeat(20, 1)
    energy = InField(BoltzmannMachine((4,), scale=0.0), field)
    found, _ = advance(replica_exchange(gwg(), [1.0, 2.0]), energy, torch.full((40, 4), 0.0), 60, seeded())
    assert (found == (field > 0)).float().mean() > 0.99


def test_a_condition_goes_through_a_field():
    joint, field = LabelledRBM(4, 3, classes=2, scale=0.5), torch.randn(4, generator=seeded(1))
    x, y = torch.ones(2, 4), torch.tensor([0, 1])
    assert torch.allclose(InField(joint, field).given(y)(x), joint.given(y)(x) - x @ field)
