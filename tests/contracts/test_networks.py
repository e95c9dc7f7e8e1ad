"""Every public body keeps its role: a batch of events in, one number per row out, no talk between rows."""

import copy
import io
import math
from collections.abc import Callable

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

import erg.networks
from erg.networks import MLP, Body, Bounded, ConvNet, WideResNet

ROWS = 5
Made = tuple[nn.Module, tuple[int, ...]]


def of(body: Callable[..., nn.Module], shape: tuple[int, ...], **options: object) -> Callable[[], Made]:
    return lambda: (body(shape, **options), shape)


small = {"channels": (8, 12), "widen": 1, "blocks": 1}
CASES: dict[str, dict[str, Callable[[], Made]]] = {
    "Bounded": {"alone": lambda: (Bounded(1.5), ())},
    "MLP": {
        "plane": of(MLP, (2,)),
        "images": of(MLP, (1, 3, 3), hidden=(7,), activation=nn.Softplus),
        "spectral": of(MLP, (4,), spectral=True),
        "bounded": of(MLP, (4,), bound=2.0),
    },
    "ConvNet": {
        "4x4": of(ConvNet, (1, 4, 4)),
        "8x8": of(ConvNet, (1, 8, 8)),
        "28x28": of(ConvNet, (1, 28, 28)),
        "colour": of(ConvNet, (3, 32, 32)),
        "oblong": of(ConvNet, (2, 9, 13), channels=(4, 6, 8), hidden=5, activation=nn.Tanh),
        "stride 1": of(ConvNet, (1, 8, 8), channels=(4, 6), first_stride=1),
        "spectral": of(ConvNet, (1, 8, 8), spectral=True),
        "bounded": of(ConvNet, (1, 8, 8), bound=2.0),
    },
    "WideResNet": {
        "default": of(WideResNet, (1, 8, 8)),
        "28x28": of(WideResNet, (1, 28, 28), **small),
        "colour": of(WideResNet, (3, 16, 16), **small),
        "attention": of(WideResNet, (1, 9, 12), attention=True, **small),
        "spectral": of(WideResNet, (1, 8, 8), attention=True, spectral=True, **small),
        "bounded": of(WideResNet, (1, 8, 8), bound=2.0, **small),
    },
}
every_body = pytest.mark.parametrize(
    "make", [pytest.param(make, id=f"{name}-{case}") for name, cases in CASES.items() for case, make in cases.items()]
)
every_image_body = pytest.mark.parametrize("body", [ConvNet, WideResNet])


def states(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(3)).to(dtype)


def test_every_public_class_has_a_case() -> None:
    public = {name for name in erg.networks.__all__ if isinstance(getattr(erg.networks, name), type)}
    assert public == set(CASES)


@every_body
class TestEveryBody:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_one_number_a_row_in_the_dtype_of_x(self, make: Callable[[], Made], dtype: torch.dtype) -> None:
        body, shape = make()
        energies = body.to(dtype)(states(shape, dtype))
        assert energies.shape == (ROWS,)
        assert energies.dtype == dtype
        assert energies.isfinite().all()

    @pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
    def test_a_row_does_not_depend_on_the_others(self, make: Callable[[], Made], training: bool) -> None:
        body, shape = make()
        x = states(shape, torch.float64).requires_grad_()
        energies = body.double().train(training)(x)
        (gradient,) = torch.autograd.grad(energies[2], x)
        others = torch.arange(ROWS) != 2
        assert (gradient[others] == 0).all()
        assert gradient[2].abs().sum() > 0

    def test_scores_a_row_alone_as_in_a_batch_and_in_any_order(self, make: Callable[[], Made]) -> None:
        body, shape = make()
        body, x = body.double().eval(), states(shape, torch.float64)
        energies, order = body(x), torch.tensor([3, 1, 0, 2, 4])
        torch.testing.assert_close(torch.cat([body(row[None]) for row in x]), energies, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(body(x[order]), energies[order], rtol=1e-10, atol=1e-12)

    def test_gradients_reach_every_parameter(self, make: Callable[[], Made]) -> None:
        body, shape = make()
        if not list(body.parameters()):
            pytest.skip("nothing is learned here")
        body(states(shape)).square().sum().backward()
        for name, parameter in body.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name

    def test_gradient_in_x_has_a_gradient(self, make: Callable[[], Made]) -> None:
        body, shape = make()
        x = states(shape, torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(body.double()(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), x)
        assert second.isfinite().all()
        assert second.abs().sum() > 0

    def test_evaluation_never_moves_the_energy(self, make: Callable[[], Made]) -> None:
        body, shape = make()
        x = states(shape)
        body(x)
        body.eval()
        before = {name: value.clone() for name, value in body.state_dict().items()}
        first = body(x)
        assert torch.equal(body(x), first)
        assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())

    def test_saved_and_loaded_bodies_agree(self, make: Callable[[], Made]) -> None:
        (saved, shape), (loaded, _) = make(), make()
        saved.eval(), loaded.eval()
        x, file = states(shape), io.BytesIO()
        torch.save(saved.state_dict(), file)
        file.seek(0)
        loaded.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(loaded(x), saved(x))
        assert torch.equal(copy.deepcopy(saved)(x), saved(x))

    def test_keeps_no_batch_statistics(self, make: Callable[[], Made]) -> None:
        assert not any(isinstance(module, _NormBase) for module in make()[0].modules())


class TestTutorialNetwork:
    def test_maps_and_parameters_are_those_of_the_tutorial(self) -> None:
        body, x, sizes = ConvNet((1, 28, 28)), torch.zeros(2, 1, 28, 28), []
        for layer in body.stages:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                sizes.append(tuple(x.shape[1:]))
        assert sizes == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (64, 2, 2)]
        convolutions = (25 * 1 + 1) * 16 + (9 * 16 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 64
        assert sum(p.numel() for p in body.parameters()) == convolutions + (64 * 2 * 2 + 1) * 64 + 64 + 1
        assert sum(isinstance(layer, nn.SiLU) for layer in body.modules()) == 5

    @pytest.mark.parametrize(("side", "last"), [(4, 2), (8, 3), (16, 3), (32, 3), (64, 5)])
    def test_no_map_is_halved_below_two_pixels(self, side: int, last: int) -> None:
        assert ConvNet((1, side, side)).stages(torch.zeros(1, 1, side, side)).shape == (1, 64, last, last)


class TestSpectral:
    def test_training_moves_the_estimate_and_it_reaches_norm_one(self) -> None:
        body, x = MLP((6,), hidden=(32, 16), spectral=True), states((6,))
        for layer in body.layers:
            if isinstance(layer, nn.Linear):
                layer.parametrizations.weight.original.data.normal_(std=3.0)
        first = body(x)
        assert not torch.equal(body(x), first)
        for _ in range(300):
            body(x)
        body.eval()
        norms = [torch.linalg.matrix_norm(la.weight, 2) for la in body.layers if isinstance(la, nn.Linear)]
        assert len(norms) == 3
        torch.testing.assert_close(torch.stack(norms), torch.ones(3), rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("make", [CASES[name]["spectral"] for name in ("MLP", "ConvNet", "WideResNet")])
    def test_every_layer_with_weights_is_normalised(self, make: Callable[[], Made]) -> None:
        layers = [module for module in make()[0].modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        assert layers
        assert all(hasattr(layer, "parametrizations") for layer in layers)


class TestBounded:
    @pytest.mark.parametrize("bound", [0.3, 5.0])
    def test_squashes_smoothly_and_keeps_the_order(self, bound: float) -> None:
        energy = torch.linspace(-4 * bound, 4 * bound, 101, dtype=torch.float64)
        squashed = Bounded(bound)(energy)
        assert (squashed.abs() < bound).all()
        assert (squashed.diff() > 0).all()
        expected = bound * math.tanh(energy[70].item() / bound)
        assert squashed[70].item() == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("name", ["MLP", "ConvNet", "WideResNet"])
    def test_bodies_stay_inside(self, name: str) -> None:
        body, shape = CASES[name]["bounded"]()
        with torch.no_grad():
            for parameter in body.parameters():
                parameter.mul_(30)
            energies = body(10 * states(shape))
        assert energies.abs().max() <= 2.0
        assert energies.abs().max() > 1.0


class TestRecipes:
    """A recipe names a body by class path; the shape comes later, from the data."""

    @staticmethod
    def build(text: str, shape: tuple[int, ...]) -> nn.Module:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--network", type=Body)
        config = parser.parse_string(text)
        again = parser.parse_string(parser.dump(config))
        return parser.instantiate(again).network(shape)

    def test_plain_data_is_enough(self) -> None:
        body = self.build(
            """
            network:
              class_path: erg.networks.ConvNet
              init_args:
                channels: [4, 8]
                hidden: 16
                activation: torch.nn.Softplus
                spectral: true
                bound: 3.0
            """,
            (1, 8, 8),
        )
        assert isinstance(body, ConvNet)
        assert [layer.out_channels for layer in body.stages if isinstance(layer, nn.Conv2d)] == [4, 8]
        assert any(isinstance(layer, nn.Softplus) for layer in body.modules())
        assert isinstance(body.squash, Bounded)
        assert body(torch.zeros(2, 1, 8, 8)).shape == (2,)

    def test_an_activation_may_have_arguments(self) -> None:
        body = self.build(
            """
            network:
              class_path: erg.networks.MLP
              init_args:
                hidden: [8]
                activation: {class_path: torch.nn.Softplus, init_args: {beta: 2.5}}
            """,
            (3,),
        )
        assert body.layers[1].beta == 2.5

    def test_defaults_need_no_arguments(self) -> None:
        body = self.build("network: {class_path: erg.networks.WideResNet}", (3, 8, 8))
        assert isinstance(body, WideResNet)


class TestWrongSizes:
    @every_image_body
    def test_events_that_are_not_images_are_refused(self, body: type[nn.Module]) -> None:
        with pytest.raises(ValueError, match=r"\(channels, height, width\), but got the event shape \(28, 28\)"):
            body((28, 28))

    @every_image_body
    def test_tiny_images_are_refused(self, body: type[nn.Module]) -> None:
        with pytest.raises(ValueError, match=r"images of at least . x . pixels, but got 3 x 28"):
            body((1, 3, 28))

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: MLP((2,), hidden=()), "MLP needs one or more positive hidden widths"),
            (lambda: MLP((0,)), "MLP needs one or more positive event sizes"),
            (lambda: ConvNet((1, 8, 8), first_stride=3), "ConvNet needs a first_stride of 1 or 2, but got 3"),
            (lambda: ConvNet((1, 8, 8), channels=(4, 0)), "ConvNet needs one or more positive channels"),
            (lambda: WideResNet((1, 8, 8), blocks=0), "WideResNet needs one or more positive widening"),
            (lambda: MLP((2,), bound=-1.0), "Bounded needs a positive, finite bound"),
        ],
    )
    def test_wrong_sizes_are_refused(self, make: Callable[[], nn.Module], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            make()
