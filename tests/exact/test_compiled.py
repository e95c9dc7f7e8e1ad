"""Compiled and low-precision kernels against the kernels inside them; rewritten convolutions against torch."""

import math

import pytest
import torch
from torch import nn

from erg.energies import Neural
from erg.networks import MLP, ConvNet
from erg.samplers import (
    Compiled,
    Geometric,
    LowPrecision,
    Scheduled,
    advance,
    chain,
    descent,
    mala,
    random_walk,
    sample,
    sgld,
    ula,
)
from erg.samplers.compilation import compiled, finite, products, strided
from erg.samplers.compilation.compiled import Bound, Eager
from erg.samplers.compilation.fingerprint import Fingerprint

KERNELS = {
    "ula": ula(0.1),
    "mala": mala(0.3),
    "sgld": sgld(0.3, 0.2, clip=0.5, box=(-1.5, 1.5)),
    "descent": descent(0.2),
    "random_walk": random_walk(0.5),
    "low": LowPrecision(mala(0.2)),
}


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def bound(kernel, energy, x):
    state, _ = next(chain(kernel, energy, x, seeded()))
    return state.bound


@pytest.fixture
def builds(monkeypatch):
    """The programs built while the test runs."""
    made = []
    build = compiled.build

    def counted(*args, **settings):
        made.append(args)
        return build(*args, **settings)

    monkeypatch.setattr(compiled, "build", counted)
    monkeypatch.setattr(compiled, "_steps", type(compiled._steps)())
    monkeypatch.setattr(compiled, "_variants", type(compiled._variants)())
    return made


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_compiled_chain_follows_the_eager_one(kernel):
    energy, x = MLP((3,), hidden=(16, 16)), torch.randn(32, 3)
    assert isinstance(bound(Compiled(kernel), energy, x), Bound)
    ours, theirs = seeded(), seeded()
    torch.testing.assert_close(
        sample(Compiled(kernel), energy, x, 20, ours), sample(kernel, energy, x, 20, theirs), rtol=1e-4, atol=1e-4
    )
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.slow
def test_a_chain_of_points_in_fused_code_follows_the_eager_one(compiler):
    energy, x = MLP((2,)), torch.randn(16, 2)
    ends = [sample(k, energy, x, 20, seeded()) for k in (mala(0.1), Compiled(mala(0.1)))]
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-4)


# A compiler needs ten seconds for each: the other tests of this folder run the traced graphs.
@pytest.mark.parametrize(
    "kernel",
    [pytest.param(mala(0.3), marks=pytest.mark.slow), LowPrecision(sgld(5.0, 0.05, clip=0.1))],
    ids=["mala", "low"],
)
def test_a_chain_in_fused_code_follows_the_eager_one(kernel, compiler):
    energy, x = ConvNet((1, 8, 8), channels=(4, 8), hidden=8), torch.randn(16, 1, 8, 8)
    assert isinstance(bound(Compiled(kernel), energy, x), Bound)
    ends = [sample(k, energy, x, 5, seeded()) for k in (kernel, Compiled(kernel))]
    # In bfloat16 the order of a sum shows in the third digit.
    torch.testing.assert_close(*ends, rtol=1e-3, atol=2e-2 if isinstance(kernel, LowPrecision) else 1e-3)


def test_steps_add_up():
    energy, x, kernel = MLP((2,)), torch.randn(8, 2), Compiled(mala(0.3))
    rng = seeded()
    halfway = sample(kernel, energy, x, 3, rng)
    torch.testing.assert_close(sample(kernel, energy, halfway, 4, rng), sample(kernel, energy, x, 7, seeded()))


@pytest.mark.parametrize("kernel", [ula(0.1), mala(0.3)], ids=["ula", "mala"])
def test_long_runs_go_several_steps_at_a_time(kernel, builds, monkeypatch):
    monkeypatch.setattr(compiled, "_LONG", 10)
    energy, x = MLP((2,), hidden=(8,)), torch.randn(8, 2)
    ours, theirs = seeded(), seeded()
    found, acceptance = advance(Compiled(kernel), energy, x, 29, ours)
    expected, expected_acceptance = advance(kernel, energy, x, 29, theirs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(acceptance, expected_acceptance, rtol=1e-4, atol=1e-4)
    assert torch.equal(ours.get_state(), theirs.get_state())
    assert len(builds) == 2
    with torch.no_grad():
        energy.layers[0].weight.mul_(2)
    found = sample(Compiled(kernel), energy, x, 29, seeded())
    torch.testing.assert_close(found, sample(kernel, energy, x, 29, seeded()), rtol=1e-4, atol=1e-4)
    assert len(builds) == 2


@pytest.mark.parametrize("spectral", [False, True])
def test_an_update_of_the_weights_is_followed_without_compiling_again(spectral, builds):
    energy, x = ConvNet((1, 8, 8), channels=(4, 4), hidden=8, spectral=spectral), torch.randn(4, 1, 8, 8)
    optimizer = torch.optim.SGD(energy.parameters(), lr=0.5)
    kernel = sgld(1.0, 0.01)
    ends = []
    for _ in range(3):
        ends.append(sample(Compiled(kernel), energy, x, 4, seeded()))
        torch.testing.assert_close(ends[-1], sample(kernel, energy, x, 4, seeded()), rtol=1e-4, atol=1e-5)
        optimizer.zero_grad()
        energy(x).square().mean().backward()
        optimizer.step()
    assert len(builds) == 1
    assert not torch.allclose(ends[0], ends[1], rtol=0, atol=1e-5)


def test_closures_are_followed_into_their_networks_and_numbers(builds):
    network, x = MLP((2,)), torch.randn(8, 2)

    def pulled(strength):
        return lambda x: network(x) + strength * x.square().sum(1)

    for strength in (0.5, 0.5, 2.0):
        found = sample(Compiled(ula(0.1)), pulled(strength), x, 3, seeded())
        torch.testing.assert_close(found, sample(ula(0.1), pulled(strength), x, 3, seeded()))
        with torch.no_grad():
            network.layers[0].weight.add_(0.3)
    assert len(builds) == 2


def test_settings_change_without_compiling_again(builds):
    schedules = {"step_size": Geometric(0.1, 0.4, steps=5), "noise": Geometric(0.1, 0.3, steps=5)}
    energy, x, kernel = MLP((2,)), torch.randn(8, 2), sgld(0.1, 0.1, clip=0.5)
    found = sample(Scheduled(Compiled(kernel), schedules), energy, x, 6, seeded())
    torch.testing.assert_close(found, sample(Scheduled(kernel, schedules), energy, x, 6, seeded()))
    sample(Compiled(sgld(0.7, 0.2, clip=0.1)), energy, x, 2, seeded())
    assert len(builds) == 1


def test_what_cannot_be_traced_runs_eagerly_and_says_why():
    def energy(x):
        return x.square().sum(1) * (2.0 if x.mean() > 0 else 1.0)

    x = torch.randn(8, 2)
    found = bound(Compiled(mala(0.3)), energy, x)
    assert isinstance(found, Eager) and found.reason
    assert torch.equal(sample(Compiled(mala(0.3)), energy, x, 5, seeded()), sample(mala(0.3), energy, x, 5, seeded()))
    counted = bound(Compiled(Scheduled(ula(0.1), {})), energy, x)
    assert isinstance(counted, Eager) and "int" in counted.reason


def test_a_wrong_energy_is_refused_as_without_compilation():
    with pytest.raises(ValueError, match="one number per row"):
        sample(Compiled(ula(0.1)), lambda x: x, torch.randn(4, 2), 1)


def test_an_energy_with_ever_new_numbers_stops_compiling(builds):
    x = torch.randn(4, 2)
    for index in range(12):
        sample(Compiled(ula(0.1)), Neural(lambda x: x.square().sum(1)) * (1.5 + index), x, 1)
    assert len(builds) == compiled._VARIANTS


def test_low_precision_decides_on_the_energies_of_the_full_network():
    energy, x = MLP((3,), hidden=(32, 32)), torch.randn(64, 3)
    for state, _ in zip(chain(LowPrecision(mala(0.3)), energy, x, seeded()), range(5), strict=False):
        position = state[0]
    with torch.no_grad():
        assert torch.equal(position.energy, energy(position.x))
    full = torch.autograd.grad(energy(position.x.requires_grad_()).sum(), position.x)[0]
    assert not torch.equal(position.gradient, full)
    torch.testing.assert_close(position.gradient, full, rtol=0.1, atol=0.05)
    assert position.x.dtype == position.gradient.dtype == torch.float32


def test_an_unadjusted_low_precision_step_evaluates_the_network_once():
    calls = []

    class Counted(nn.Module):
        def forward(self, x):
            calls.append(x.stride())
            return x.square().flatten(1).sum(1)

    x = torch.randn(2, 1, 4, 4)
    sample(LowPrecision(ula(0.1)), Counted(), x, 3)
    assert calls == [(16, 1, 4, 1)] * 3  # channels last
    sample(LowPrecision(mala(0.1)), Counted(), x, 1)
    assert len(calls) == 3 + 4


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (7, 9), (6, 5)], ids=str)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(5, 2, 4), (3, 2, 1), (3, 2, 0), (4, 2, 2), (2, 2, 0), (5, 3, 3), (1, 2, 0)]
)
def test_rewritten_convolutions_are_convolutions(size, kernel, stride, padding, monkeypatch):
    monkeypatch.setattr(strided, "_FEW_CHANNELS", 10_000)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(4, 3, kernel, kernel, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    shape = ([stride, stride], [padding, padding], [1, 1], False, [0, 0], 1)
    expected = torch.ops.aten.convolution.default(x, weight, bias, *shape)
    up = torch.randn_like(expected)
    with torch.no_grad():
        found = strided.convolution(x, weight, bias, *shape)
        (back, *_) = strided.convolution_backward(up, x, weight, None, *shape, [True, False, False])
    if any(side % stride for side in size):
        assert found is NotImplemented
    else:
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(back, torch.autograd.grad(expected, x, up)[0])


@pytest.mark.parametrize("inner", [1, 2, 4, 5])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_rewritten_products_are_products(inner, columns):
    a, b = torch.randn(7, inner, dtype=torch.float64), torch.randn(columns, inner, dtype=torch.float64).t()
    bias = torch.randn(columns, dtype=torch.float64)
    found = products.mm(a, b)
    assert (found is NotImplemented) == (inner == 5 and columns == 3)
    if found is not NotImplemented:
        torch.testing.assert_close(found, a @ b)
    torch.testing.assert_close(products.addmm(bias, a, b), a @ b + bias)
    assert products.addmm(bias, a, b, alpha=2) is NotImplemented


def test_fingerprints_tell_what_a_graph_would_fix():
    def scaled(by):
        return lambda x: by * x.sum(1)

    weight = torch.ones(2)
    assert Fingerprint(scaled(2.0)).exact == Fingerprint(scaled(2.0)).exact
    assert Fingerprint(scaled(2.0)).exact != Fingerprint(scaled(3.0)).exact
    assert Fingerprint(scaled(2.0)).coarse == Fingerprint(scaled(3.0)).coarse
    assert Fingerprint(scaled(weight)).exact == Fingerprint(scaled(weight + 1)).exact
    assert Fingerprint(scaled(weight)).tensors[0] is weight
    assert Fingerprint(scaled(weight)).exact != Fingerprint(scaled(torch.ones(3))).exact
    assert Fingerprint([weight, weight]).exact != Fingerprint([weight, weight.clone()]).exact
    assert Fingerprint(nn.SiLU()).exact != Fingerprint(nn.Tanh()).exact
    assert Fingerprint(nn.LeakyReLU(0.1)).exact != Fingerprint(nn.LeakyReLU(0.2)).exact
    assert Fingerprint(True).exact != Fingerprint(1).exact


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("values", [(), (0.0, 0.0, 0.0), (1.0, 2.0, -3.0), (None, 5.0, None)])
def test_numbers_that_are_not_finite_are_replaced_as_torch_does(dtype, values):
    special = [-math.inf, math.inf, math.nan] if dtype.is_floating_point else []
    x = torch.tensor([-2.0, 0.0, 3.0, *special]).to(dtype)
    assert torch.equal(finite.nan_to_num(x, *values), torch.nan_to_num(x, *values))
    assert torch.equal(finite.isnan(x), torch.isnan(x))
