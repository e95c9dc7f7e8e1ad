"""Does every support say where it lives, and can it be trusted to start chains there?"""

import pytest
import torch

from erg.support import Binary, Box, OneHot, Real, Spin

SUPPORTS = {"Real": Real(), "Box": Box(-0.3, 0.7), "Binary": Binary(), "Spin": Spin(), "OneHot": OneHot()}
every_support = pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)


@every_support
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(500, 4), (200, 2, 3, 4)], ids=str)
def test_initial_states_are_contained(support, dtype, shape, rng):
    before = torch.get_rng_state()
    x = support.initial(shape, rng, like=torch.empty(0, dtype=dtype))
    assert x.shape == shape and x.dtype == dtype
    assert support.contains(x).shape == shape[:1] and support.contains(x).all()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, support.initial(shape, torch.Generator().manual_seed(0), like=x))


@every_support
def test_one_wrong_entry_excludes_its_row_only(support, rng):
    x = support.initial((6, 3, 4), rng)
    x[1, 2, 3] = torch.nan
    x[4, 0, 1] = 1.5 if support != Real() else torch.inf
    assert support.contains(x).tolist() == [True, False, True, True, False, True]


def test_events_without_dimensions_are_rows():
    x = torch.tensor([0.0, 1.0, -1.0, torch.inf])
    assert Real().contains(x).tolist() == [True, True, True, False]
    assert Box(0.0, 1.0).contains(x).tolist() == [True, True, False, False]
    assert Binary().contains(x).tolist() == [True, True, False, False]
    assert Spin().contains(x).tolist() == [False, True, True, False]


def test_the_faces_belong_to_a_box():
    assert Box(-1.0, 2.0).contains(torch.tensor([[-1.0, 2.0]])).all()


@pytest.mark.parametrize(
    "low, high", [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf")), (-float("inf"), 0.0)]
)
def test_a_box_has_two_finite_sides(low, high):
    with pytest.raises(ValueError, match=r"finite low < high, but got low=.*Real\(\)"):
        Box(low, high)


def test_initial_laws(rng):
    box = Box(-0.3, 0.7).initial((40_000,), rng)
    assert abs(box.mean() - 0.2) < 5 * (1 / 12 / 40_000) ** 0.5
    assert abs(box.var() - 1 / 12) < 0.002
    for support, mean in ((Binary(), 0.5), (Spin(), 0.0)):
        x = support.initial((40_000,), rng)
        assert abs(x.mean() - mean) < 5 * x.std() / 200


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_initial_categories_are_uniform_in_every_dtype(dtype, rng):
    """Rounding makes ties, and ties must not favour the first of a hundred categories."""
    index = OneHot().initial((40_000, 100), rng, like=torch.empty(0, dtype=dtype)).argmax(1).double()
    assert abs(index.mean() - 49.5) < 5 * (9999 / 12 / 40_000) ** 0.5
    assert abs(index.var() - 9999 / 12) < 0.05 * 9999 / 12


@pytest.mark.parametrize(
    "support, event, states",
    [(Binary(), (3,), 8), (Binary(), (2, 2), 16), (Spin(), (4,), 16), (OneHot(), (2, 3), 9), (OneHot(), (4,), 4)],
)
def test_enumeration_lists_every_state_once(support, event, states):
    chunks = list(support.enumerate(event, chunk=5))
    assert all(len(chunk) <= 5 for chunk in chunks)
    x = torch.cat(chunks)
    assert x.shape == (states, *event)
    assert support.contains(x).all()
    assert len(x.flatten(1).unique(dim=0)) == states


@pytest.mark.parametrize("support, event", [(Binary(), (25,)), (Spin(), (5, 6)), (OneHot(), (16, 3))])
def test_what_is_too_many_is_refused(support, event):
    with pytest.raises(ValueError, match=r"at most 2\^24 states, .* but (Binary|Spin|OneHot).* has about 2\^"):
        next(support.enumerate(event))
