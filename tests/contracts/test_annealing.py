"""What annealing promises, and what it refuses."""

import math

import jaxtyping
import pytest
import torch

from erg.energies import Gaussian, Independent, Neural, Path, Uniform
from erg.samplers import (
    Biased,
    Compiled,
    LowPrecision,
    Parallel,
    Preconditioned,
    Scheduled,
    ais,
    bracket,
    gibbs,
    mala,
    random_walk,
    replica_exchange,
    reverse_ais,
    smc,
    ula,
)
from erg.samplers.annealing.biased import bias_of
from erg.samplers.compilation import compiled
from erg.support import Box, Spin
from tests.contracts.kernels import EXACT, KERNELS


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def path(dimensions: int = 2, **settings) -> Path:
    target = Gaussian.isotropic(torch.full((dimensions,), 0.5, **settings), variance=0.6)
    return Path(Gaussian.isotropic(torch.zeros(dimensions, **settings)), target / 0.7)


METHODS = {
    "ais": lambda path, kernel, seed=0: ais(path, kernel, betas=6, chains=32, rng=rng(seed)),
    "reverse_ais": lambda path, kernel, seed=0: reverse_ais(
        path, kernel, path.reference.exact_samples(32, rng(9)), betas=6, rng=rng(seed)
    ),
    "smc": lambda path, kernel, seed=0: smc(path, kernel, chains=32, populations=4, keep=0.9, rng=rng(seed)),
}
every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_same_seed_same_result_and_the_global_generator_is_left_alone(method):
    before = torch.get_rng_state()
    one, two, other = (METHODS[method](path(), mala(0.3), seed) for seed in (1, 1, 2))
    assert torch.equal(one.log_weights, two.log_weights) and one.log_z == two.log_z
    assert not torch.equal(one.log_weights, other.log_weights)
    assert torch.equal(torch.get_rng_state(), before)


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_keeps_the_dtype_of_the_reference_and_weighs_in_float64(method, dtype):
    found = METHODS[method](path(dtype=dtype), mala(0.3))
    assert found.x.dtype == dtype and found.log_weights.dtype == torch.float64
    assert found.log_weights.isfinite().all() and ((found.acceptance >= 0) & (found.acceptance <= 1)).all()
    assert math.isfinite(found.log_z.value) and found.log_z.standard_error > 0
    assert 1 <= found.effective_sample_size <= 32


@every_method
@pytest.mark.parametrize("event", [(3,), (1, 4, 4)], ids=str)
def test_any_event_shape_and_networks_are_left_as_they_were(method, event):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(8), torch.nn.SiLU(), torch.nn.Linear(8, 1))
    network(torch.zeros(1, *event))
    energy = Neural(torch.nn.Sequential(network, torch.nn.Flatten(0)))
    found = METHODS[method](Path(Gaussian.standard(event), energy + Gaussian.standard(event)), mala(0.1))
    assert found.x.shape == (32, *event)
    assert network.training and all(p.requires_grad and p.grad is None for p in network.parameters())


@every_method
@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf])
def test_states_without_a_finite_energy_weigh_nothing(method, value):
    """exp(-E) is a half of a Gaussian: log Z is that of the whole minus log 2."""

    def half(x):
        return torch.where(x[:, 0] > 0, x.square().sum(1) / 1.4, value)

    reference = Gaussian.standard(2)
    truth = math.log(2 * math.pi * 0.7 / 2)
    if method == "reverse_ais":
        x = 0.7**0.5 * torch.randn(2000, 2, generator=rng(1))
        x[:, 0] = x[:, 0].abs()
        found = reverse_ais(Path(reference, half), mala(0.3), x, betas=10, rng=rng())
        assert found.log_weights.isfinite().all()
    elif method == "ais":
        found = ais(Path(reference, half), mala(0.3), betas=10, chains=2000, rng=rng())
        lost = (found.log_weights == -math.inf).double().mean()
        assert abs(lost - 0.5) < 0.06 and not found.log_weights.isnan().any()
    else:
        found = smc(Path(reference, half), mala(0.3), chains=2048, keep=0.999, resample_below=0.9, rng=rng())
        # The first change loses a half of the chains and is not held to keep more; they are then drawn anew.
        assert len(found.betas) > 3 and found.log_weights.isfinite().all()
    # The reverse chains see half of the reference only: their weights estimate Z over the half's share of Z_0.
    expected = truth + math.log(2) if method == "reverse_ais" else truth
    assert abs(found.log_z.value - expected) < 5 * found.log_z.standard_error


def test_a_target_that_is_impossible_everywhere_has_log_z_minus_infinity():
    impossible = Path(Gaussian.standard(2), lambda x: x.sum(1) * 0 + math.inf)
    assert ais(impossible, mala(0.3), betas=3, chains=8, rng=rng()).log_z == (-math.inf, math.inf)
    assert smc(impossible, mala(0.3), chains=32, populations=2, rng=rng()).log_z == (-math.inf, math.inf)


def test_starts_outside_of_the_support_weigh_nothing():
    """From a normal law into a box: log Z is that of the box."""
    flat = Neural(lambda x: 0 * x.sum(1), support=Box(-1.0, 1.0))
    found = ais(Path(Gaussian.standard(2), flat), mala(0.3), betas=50, chains=4000, rng=rng())
    assert abs(found.log_z.value - math.log(4)) < 5 * found.log_z.standard_error < 0.3
    assert (found.log_weights == -math.inf).double().mean() > 0.4


def test_reverse_chains_never_leave_the_box_and_cannot_know_a_larger_reference():
    flat = Neural(lambda x: 0 * x.sum(1), support=Box(-1.0, 1.0))
    path = Path(Gaussian.standard(2), flat)
    with pytest.raises(TypeError, match=r"reference on the support of the target, Box.* but this one lives on Real"):
        reverse_ais(path, mala(0.3), torch.zeros(4, 2))
    wider = Path(Uniform((2,), Box(-2.0, 2.0)), flat)
    with pytest.raises(TypeError, match="log Z would be too high"):
        reverse_ais(wider, mala(0.3), torch.zeros(4, 2))


class TestReferences:
    def test_a_box(self):
        tilted = Neural(lambda x: 1.4 * x.sum(1), support=Box(-1.0, 1.0)) / 0.7
        found = ais(Path(Uniform((2,), Box(-1.0, 1.0)), tilted), random_walk(0.5), betas=50, rng=rng())
        assert abs(found.log_z.value - 2 * math.log(math.sinh(2.0))) < 5 * found.log_z.standard_error < 0.5

    def test_a_reference_that_cannot_be_sampled_is_refused(self):
        broken = Path(lambda x: x.square().sum(1), Gaussian.standard(2))
        with pytest.raises(TypeError, match=r"ais\(\) starts at a reference .* but Neural has none; use Gaussian"):
            ais(broken, mala(0.3))
        with pytest.raises(TypeError, match=r"smc\(\) starts at a reference"):
            smc(broken, mala(0.3))

    def test_held_entries_are_refused(self):
        held = Gaussian.standard(2).clamp(torch.tensor([True, False]), 1.5)
        with pytest.raises(ValueError, match="without held entries"):
            ais(Path(Gaussian.standard(2), held), mala(0.3), betas=3)


class TestBias:
    @every_method
    @pytest.mark.parametrize(
        "kernel", [ula(0.1), Compiled(ula(0.1)), Scheduled(ula(0.1), {}), lambda beta: ula(0.1 + beta)]
    )
    def test_unadjusted_kernels_are_refused(self, method, kernel):
        with pytest.raises(TypeError, match=r"leaves exp\(-E\) invariant, but Unadjusted does not.*Biased\(kernel\)"):
            METHODS[method](path(), kernel)

    @every_method
    def test_replicas_that_would_all_start_at_one_state_are_refused(self, method):
        kernel = replica_exchange(mala(0.3), [1.0, 4.0])
        for each in (kernel, Compiled(kernel)):
            with pytest.raises(TypeError, match=r"leaves exp\(-E\) invariant, but ReplicaExchange does not"):
                METHODS[method](path(), each)

    @every_method
    def test_unless_asked_for_by_name(self, method):
        assert METHODS[method](path(), Biased(ula(0.1))).biased
        assert not METHODS[method](path(), mala(0.1)).biased

    def test_a_biased_kernel_is_the_kernel_inside(self):
        assert bias_of(Biased(ula(0.1))) == "Unadjusted" and bias_of(Biased(mala(0.1))) is None
        assert bias_of(LowPrecision(mala(0.1))) is None and bias_of(LowPrecision(ula(0.1))) == "Unadjusted"

    @pytest.mark.parametrize("name", sorted(KERNELS.keys() - EXACT))
    def test_every_public_kernel_that_is_not_exact_says_so(self, name):
        assert bias_of(KERNELS[name]) is not None


class TestWrappers:
    @pytest.mark.parametrize(
        "wrapped", [Compiled(mala(0.3)), Parallel(mala(0.3), threads=2), Preconditioned(mala(0.3), torch.tensor(1.0))]
    )
    @every_method
    def test_wrappers_give_what_the_kernel_gives(self, method, wrapped):
        one, other = METHODS[method](path(), wrapped), METHODS[method](path(), mala(0.3))
        torch.testing.assert_close(one.log_weights, other.log_weights, rtol=1e-4, atol=1e-4)

    def test_one_compilation_serves_all_betas(self, monkeypatch):
        compilations = []
        build = compiled.build
        monkeypatch.setattr(compiled, "build", lambda *a, **k: compilations.append(1) or build(*a, **k))
        ais(path(3), Compiled(mala(0.31)), betas=8, chains=16, rng=rng())
        assert len(compilations) == 1


class TestArguments:
    @pytest.mark.parametrize("betas", [[0.0, 0.5], [0.1, 1.0], [0.0, 0.6, 0.4, 1.0], [0.0, 0.5, 0.5, 1.0], [0.0]])
    def test_betas_rise_from_0_to_1(self, betas):
        with pytest.raises(ValueError, match="betas rise from 0 to 1"):
            ais(path(), mala(0.3), betas=torch.tensor(betas))

    def test_betas_are_a_sequence_of_any_kind(self):
        one, other = (ais(path(), mala(0.3), betas=betas, chains=8, rng=rng()) for betas in (2, [0.0, 0.5, 1.0]))
        assert torch.equal(one.log_weights, other.log_weights)

    @pytest.mark.parametrize("method", [ais, smc])
    def test_an_energy_in_the_place_of_a_path_is_refused(self, method):
        jaxtyping.config.update("jaxtyping_disable", True)  # users run without checks of annotations
        with pytest.raises(
            TypeError, match=r"goes along a Path or a Trajectory, but got Gaussian; write Path\(reference, energy\)"
        ):
            method(Gaussian.standard(2), mala(0.3))

    def test_counts(self):
        with pytest.raises(ValueError, match="betas of at least 1, but got 0"):
            ais(path(), mala(0.3), betas=0)
        with pytest.raises(ValueError, match="chains of at least 2, but got 1"):
            ais(path(), mala(0.3), chains=1)
        with pytest.raises(ValueError, match="steps of at least 1, but got 0"):
            ais(path(), mala(0.3), steps=0)
        with pytest.raises(ValueError, match="at least two samples of the target for an error, but got 0"):
            reverse_ais(path(), mala(0.3), torch.zeros(0, 2))
        with pytest.raises(ValueError, match="100 chains for 16 populations"):
            smc(path(), mala(0.3), chains=100)
        for share in (0.0, 1.0):
            with pytest.raises(ValueError, match="keep inside"):
                smc(path(), mala(0.3), keep=share)

    def test_a_bracket_has_one_of_each_side_in_their_order(self):
        up, down = ais(path(), mala(0.3), betas=5, rng=rng()), METHODS["reverse_ais"](path(), mala(0.3))
        assert bracket(up, down).combined.standard_error > 0
        for sides in ((down, up), (up, up), (down, down)):
            with pytest.raises(ValueError, match=r"takes what ais\(\) returned and then what reverse_ais\(\)"):
                bracket(*sides)

    def test_reverse_starts_need_a_finite_energy(self):
        half = Path(Gaussian.standard(2), lambda x: torch.where(x[:, 0] > 0, x.sum(1), math.inf))
        with pytest.raises(ValueError, match="starts at samples of the target, but some rows have no finite energy"):
            reverse_ais(half, mala(0.3), -torch.ones(4, 2))
        with pytest.raises(ValueError, match="some rows have no finite energy"):
            reverse_ais(path(), mala(0.3), torch.full((4, path().reference.exact_samples(1).shape[1]), math.nan))

    def test_a_kernel_that_moves_elsewhere_is_refused(self):
        with pytest.raises(TypeError, match="moves on"):
            ais(path(), gibbs(), betas=3)
        spins = Path(Independent.uniform((4,), Spin()), Neural(lambda x: x.sum(1), support=Spin()))
        with pytest.raises(TypeError, match="moves on Real or Box, but this energy lives on Spin"):
            ais(spins, mala(0.3), betas=3)

    def test_one_step_is_plain_importance_sampling(self):
        found = ais(path(), mala(0.3), betas=1, chains=50, rng=rng())
        x = path().reference.exact_samples(50, rng())
        expected = path().reference(x) - path().energy(x) + path().reference.log_z
        torch.testing.assert_close(found.log_weights, expected.double())
        assert torch.equal(found.x, x) and found.acceptance.numel() == 0
