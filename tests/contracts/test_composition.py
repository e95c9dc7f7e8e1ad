"""What kernels are made of, and what is left of them without their wrappers."""

import pytest
import torch

from erg.roles import Kernel, Move
from erg.samplers import Compiled, LowPrecision, Metropolis, Parallel, Preconditioned, mala, replica_exchange
from erg.samplers.composition import parts_of, without
from tests.contracts.kernels import APART, DISCRETE, KERNELS

CASES = KERNELS | DISCRETE | APART


@pytest.mark.parametrize("kernel", CASES.values(), ids=CASES)
def test_what_is_left_has_no_wrapper_and_is_otherwise_the_same(kernel):
    bare = without(kernel, Compiled, Parallel)
    kinds = [type(part) for part in parts_of(kernel) if isinstance(part, Kernel | Move)]
    left = [type(part) for part in parts_of(bare) if isinstance(part, Kernel | Move)]
    assert left == [kind for kind in kinds if kind not in (Compiled, Parallel)]
    assert (bare is kernel) == (not {Compiled, Parallel} & set(kinds))


def test_wrappers_are_taken_off_however_deep():
    scale = torch.tensor([1.0, 2.0])
    inside = Parallel(Compiled(LowPrecision(Compiled(mala(0.1)))), threads=2)
    assert without(inside, Compiled, Parallel) == LowPrecision(mala(0.1))
    assert without(inside, Parallel) == inside.kernel
    deep = without(replica_exchange(Preconditioned(Compiled(mala(0.1)), scale), [1.0, 2.0]), Compiled)
    assert isinstance(deep.kernel.kernel, Metropolis) and deep.temperatures == (1.0, 2.0)
    assert torch.equal(deep.kernel.scale, scale)
