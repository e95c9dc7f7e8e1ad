"""Every public energy keeps the role: one number per row, from that row alone, differentiable, savable."""

import copy
import io
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import erg.energies
from erg import draws
from erg.energies import (
    RBM,
    Based,
    BoltzmannMachine,
    Clamped,
    ContinuousMemory,
    Counted,
    DenseMemory,
    DoubleWell,
    Energy,
    Exponential,
    Funnel,
    Gaussian,
    GaussianMixture,
    GaussianRBM,
    Given,
    Graph,
    Hopfield,
    InField,
    Ising,
    LabelledRBM,
    Mixture,
    MuellerBrown,
    Neural,
    Path,
    Rings,
    Rosenbrock,
    SpinMachine,
    Watched,
    WeightedSum,
    evaluate,
    evaluate_energy,
)
from erg.networks import MLP
from erg.support import Spin

ROWS = 6
COVARIANCE = torch.tensor([[2.0, 0.6], [0.6, 0.5]])


def network() -> nn.Module:
    return MLP((2,), hidden=(8, 5))


class Joint(nn.Module):
    """E(x, y): a network of both."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MLP((3,), hidden=(8,))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.body(torch.cat([x, y[:, None]], dim=1))


# One case a public class; each scores events of shape (2,).
CASES: dict[str, Callable[[], Energy]] = {
    "BoltzmannMachine": lambda: BoltzmannMachine((2,), support=Spin(), scale=1.0),
    "Based": lambda: Based((2,), lambda shape: network()),
    "Clamped": lambda: Clamped(network(), torch.tensor([True, False]), torch.tensor([0.7, 0.0])),
    "ContinuousMemory": lambda: ContinuousMemory(torch.tensor([[1.0, 0.5], [-1.0, 0.2], [0.4, -1.1]]), sharpness=1.3),
    "Counted": lambda: Counted(network()),
    "Watched": lambda: Watched(network()),
    "DenseMemory": lambda: DenseMemory(torch.tensor([[1.0, -1.0], [1.0, 1.0]]), Exponential(0.6)),
    "DoubleWell": lambda: DoubleWell(barrier=1.7, well=1.3),
    "Funnel": lambda: Funnel(2, scale=1.4),
    "Gaussian": lambda: Gaussian(torch.tensor([0.3, -0.8]), COVARIANCE),
    "GaussianMixture": lambda: GaussianMixture(
        torch.tensor([[1.0, 0.5], [-1.0, 0.2]]),
        torch.stack([COVARIANCE, 2 * COVARIANCE]),
        weights=torch.tensor([0.3, 0.9]),
    ),
    "GaussianRBM": lambda: GaussianRBM(2, 3, scale=1.0),
    "Given": lambda: Given(Joint(), torch.tensor(0.4)),
    "Hopfield": lambda: Hopfield(torch.tensor([[0.0, 0.7], [0.7, 0.0]])),
    "Ising": lambda: Ising(
        Graph(2, [(0, 1)]), coupling=nn.Parameter(torch.tensor(0.7)), field=torch.tensor([0.3, -1.0])
    ),
    "Mixture": lambda: Mixture([network(), network()], torch.tensor([0.3, 1.2])),
    "InField": lambda: InField(network(), torch.tensor([0.4, -1.3])),
    "LabelledRBM": lambda: LabelledRBM(2, 3, classes=3, scale=1.0).given(1),
    "MuellerBrown": lambda: MuellerBrown(),
    "Neural": lambda: Neural(network()),
    "RBM": lambda: RBM(2, 3, scale=1.0),
    "Path": lambda: Path(Gaussian.standard(2), network())(0.3),
    "Rings": lambda: Rings((0.5, 1.5), width=0.3),
    "Rosenbrock": lambda: Rosenbrock(2),
    "SpinMachine": lambda: SpinMachine((2,), scale=1.0),
    "WeightedSum": lambda: WeightedSum([network(), Gaussian.standard(2)], [0.7, nn.Parameter(torch.tensor(-0.4))]),
}
# Without curvature or on discrete states: tests/exact/test_deep.py, test_independent.py, test_pairwise.py,
# test_restricted.py;
# stored: tests/contracts/test_stored_runs.py.
FLAT = {"DBM", "Decoupled", "DecoupledGaussian", "Independent", "Potts", "Stored", "StoredMemory", "Uniform"}
every_energy = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CASES.items()])


def states(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


def test_every_public_class_has_a_case() -> None:
    found = {name: getattr(erg.energies, name) for name in erg.energies.__all__}
    public = {name for name, what in found.items() if isinstance(what, type) and issubclass(what, Energy | Path)}
    assert public - {"Energy"} == set(CASES) | FLAT


@every_energy
class TestEveryEnergy:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_one_number_a_row_in_the_dtype_of_x(self, make: Callable[[], Energy], dtype: torch.dtype) -> None:
        energies = make().to(dtype)(states(dtype))
        assert energies.shape == (ROWS,)
        assert energies.dtype == dtype
        assert energies.isfinite().all()

    def test_a_row_does_not_depend_on_the_others(self, make: Callable[[], Energy]) -> None:
        energy, x = make().double(), states(torch.float64).requires_grad_()
        energies = energy(x)
        alone = torch.cat([energy(row[None]) for row in x])
        torch.testing.assert_close(alone, energies, rtol=1e-12, atol=1e-12)
        (gradient,) = torch.autograd.grad(energies[2], x)
        others = torch.arange(ROWS) != 2
        assert (gradient[others] == 0).all()
        assert gradient[2].abs().sum() > 0

    def test_permuting_rows_permutes_energies(self, make: Callable[[], Energy]) -> None:
        energy, x = make().double(), states(torch.float64)
        order = torch.tensor([3, 1, 5, 0, 2, 4])
        torch.testing.assert_close(energy(x[order]), energy(x)[order], rtol=1e-12, atol=1e-12)

    def test_an_empty_batch_has_no_energies(self, make: Callable[[], Energy]) -> None:
        assert make()(states()[:0]).shape == (0,)

    def test_gradients_reach_every_parameter(self, make: Callable[[], Energy]) -> None:
        energy = make()
        if not list(energy.parameters()):
            pytest.skip("nothing is learned here")
        energy(states()).square().sum().backward()
        for name, parameter in energy.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name

    def test_gradient_in_x_has_a_gradient(self, make: Callable[[], Energy]) -> None:
        x = states(torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(make().double()(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), x)
        assert second.isfinite().all()
        assert second.abs().sum() > 0

    def test_saved_and_loaded_energies_agree(self, make: Callable[[], Energy]) -> None:
        saved, loaded, x = make(), make(), states()
        file = io.BytesIO()
        torch.save(saved.state_dict(), file)
        file.seek(0)
        loaded.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(loaded(x), saved(x))
        assert torch.equal(copy.deepcopy(saved)(x), saved(x))

    def test_input_is_untouched(self, make: Callable[[], Energy]) -> None:
        x = states()
        evaluated = evaluate(make(), x)
        assert torch.equal(x, states())
        assert not x.requires_grad
        assert evaluated.energy.shape == (ROWS,)
        assert evaluated.gradient is not None
        assert evaluated.gradient.shape == x.shape

    def test_lives_somewhere(self, make: Callable[[], Energy]) -> None:
        support = make().support
        x = support.initial((ROWS, 2), torch.Generator().manual_seed(3))
        assert support.contains(x).all()
        assert make()(x).isfinite().all()


def column(x: Tensor, *condition: Tensor) -> Tensor:
    return x.sum(1, keepdim=True)


class Column(Energy):
    """A subclass with the mistake, which no wrapper has checked yet."""

    def forward(self, x: Tensor) -> Tensor:
        return column(x)


TAKES_AN_ENERGY: dict[str, Callable[[Energy | Callable[..., Tensor]], Energy]] = {
    "Clamped": lambda e: Clamped(e, torch.tensor([True, False]), 0.0),
    "Given": lambda e: Given(e, 0.3),
    "Mixture": lambda e: Mixture([Gaussian.standard(2), e]),
    "Neural": lambda e: Neural(e),
    "Path": lambda e: Path(Gaussian.standard(2), e)(0.3),
    "WeightedSum": lambda e: WeightedSum([Gaussian.standard(2), e], [1.0, 1.0]),
}


class TestColumnOfEnergies:
    @pytest.mark.parametrize("wrap", [pytest.param(wrap, id=name) for name, wrap in TAKES_AN_ENERGY.items()])
    def test_wrappers_refuse_it(self, wrap: Callable[..., Energy]) -> None:
        with pytest.raises(ValueError, match=r"shape \(6,\), but this one returned \(6, 1\); return energy.squeeze"):
            wrap(column)(states())

    @pytest.mark.parametrize("combine", [TAKES_AN_ENERGY["WeightedSum"], TAKES_AN_ENERGY["Mixture"]])
    def test_it_is_not_broadcast_against_rows(self, combine: Callable[..., Energy]) -> None:
        with pytest.raises(ValueError, match=r"returned \(6, 1\)"):
            combine(Column())(states())

    @pytest.mark.parametrize("look", [evaluate, evaluate_energy])
    def test_evaluation_refuses_it(self, look: Callable[..., object]) -> None:
        with pytest.raises(ValueError, match=r"returned \(6, 1\)"):
            look(column, states())


@pytest.mark.parametrize(
    "make",
    [pytest.param(CASES[name], id=name) for name in CASES if hasattr(CASES[name](), "log_z")],
)
class TestKnownTarget:
    def test_log_z_is_a_finite_number(self, make: Callable[[], Energy]) -> None:
        assert math.isfinite(float(make().log_z))

    def test_refuses_states_of_another_shape(self, make: Callable[[], Energy]) -> None:
        with pytest.raises(ValueError, match=r"events of shape \(2,\), but got a batch of shape \(6, 1\)"):
            make()(states()[:, :1])

    def test_exact_samples_repeat_and_leave_the_global_generator_alone(self, make: Callable[[], Energy]) -> None:
        energy = make()
        if isinstance(energy, MuellerBrown):
            pytest.skip("no exact sampler is known for this surface")
        before = torch.get_rng_state()
        x = energy.exact_samples(50, torch.Generator().manual_seed(5))
        assert torch.equal(torch.get_rng_state(), before)
        assert x.shape == (50, 2)
        assert torch.equal(x, energy.exact_samples(50, torch.Generator().manual_seed(5)))
        assert len(x.unique(dim=0)) == 50

    def test_an_exact_sample_is_made_of_the_noise_of_its_row(self, make: Callable[[], Energy]) -> None:
        energy = make()
        if isinstance(energy, MuellerBrown):
            pytest.skip("no exact sampler is known for this surface")
        record = draws.Record(torch.Generator().manual_seed(5))
        x = energy.exact_samples(50, record)
        noise = draws.repeat(record.draws, torch.Generator().manual_seed(5))
        assert torch.equal(energy.exact_samples(50, draws.Replay(noise)), x)
        assert torch.equal(energy.exact_samples(50, draws.Replay([drawn.flip(0) for drawn in noise])), x.flip(0))


class TestWrongParameters:
    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: Gaussian(torch.zeros(2), -torch.eye(2)), "positive definite"),
            (lambda: Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "symmetric"),
            (lambda: Gaussian(torch.zeros(2), torch.eye(3)), r"\(2, 2\), but got shape \(3, 3\)"),
            (lambda: Gaussian.isotropic(torch.zeros(2), variance=0.0), "positive, finite variances"),
            (lambda: GaussianMixture.isotropic(torch.zeros(0, 2)), "one positive weight per component"),
            (
                lambda: GaussianMixture.isotropic(torch.zeros(2, 2), weights=torch.tensor([1.0, -1.0])),
                "one positive weight per component",
            ),
            (lambda: DoubleWell(0), "at least 1 dimensions, but got 0"),
            (lambda: DoubleWell(barrier=-1.0), "positive, finite barrier"),
            (lambda: Funnel(1), "at least 2 dimensions, but got 1"),
            (lambda: Funnel(scale=math.inf), "positive, finite scale"),
            (lambda: Rings(()), "at least one radius"),
            (lambda: Rings((1.0, 0.0)), "positive, finite radius"),
            (lambda: Rosenbrock(3), "even number, but got 3"),
        ],
    )
    def test_is_refused_at_construction(self, make: Callable[[], Energy], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            make()

    def test_an_energy_is_callable(self) -> None:
        with pytest.raises(TypeError):
            Gaussian.standard(2) + 3.0
