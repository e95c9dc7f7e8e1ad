"""What surrounds an update: average, hooks, learning rates, run files, exported weights, engine."""

import json
import math
import resource
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from erg.errors import UserError
from erg.negatives import FromNoise
from erg.objectives import MaximumLikelihood
from erg.roles import Loss, Objective
from erg.samplers import Constant, ula
from erg.training.averaging import Averaged
from erg.training.engine import Engine
from erg.training.export import export_energy, load_energy
from erg.training.grids import grid
from erg.training.hooks import average_gradients, clip_gradients
from erg.training.rates import Cosine, Exponential, WarmUp, set_learning_rate
from erg.training.tracking import Tracker


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 1), nn.Flatten(0))


def lines(path):
    """The objects of a .jsonl file; every line must be whole."""
    content = path.read_text()
    assert content.endswith("\n")
    return [json.loads(line) for line in content.splitlines()]


class Tied(nn.Module):
    """Two names for one weight, a buffer, and a whole number."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.rand(3).t())
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("none", torch.zeros(0))

    def forward(self, x):
        return (self.second(self.first(x)) * self.scale).sum(1)


class TestAveraged:
    def test_the_average_follows_the_formula(self):
        energy = Tied()
        average = Averaged(energy, 0.6)
        expected = energy.first.weight.detach().double().clone()
        for update in range(1, 9):
            with torch.no_grad():
                energy.first.weight.normal_()
                energy.scale.normal_()
                energy.count += 1
            average.update()
            decay = min(0.6, (1 + update) / (10 + update))
            expected = decay * expected + (1 - decay) * energy.first.weight.detach().double()
        assert decay == 0.5  # the warm-up still rules, ...
        torch.testing.assert_close(average.energy.first.weight.double(), expected, atol=1e-6, rtol=0)
        for _ in range(20):
            average.update()  # ... and here the decay does
        expected = energy.first.weight.detach()
        torch.testing.assert_close(average.energy.first.weight, expected, atol=2e-3, rtol=0)
        assert (average.energy.first.weight != expected).any()
        assert average.energy.count == 8
        assert average.energy.second.weight is average.energy.first.weight

    def test_the_copy_is_for_evaluation_and_the_original_is_left_alone(self):
        energy = nn.Sequential(network(), nn.Dropout(0.5))
        before = [parameter.clone() for parameter in energy.parameters()]
        average = Averaged(energy, 0.9)
        average.update()
        assert energy.training and not any(module.training for module in average.energy.modules())
        assert all(p.requires_grad for p in energy.parameters())
        assert not any(p.requires_grad for p in average.energy.parameters())
        assert all((p == q).all() for p, q in zip(energy.parameters(), before, strict=True))

    def test_a_mask_of_infinities_stays(self):
        energy = nn.Linear(2, 1)
        energy.register_buffer("mask", torch.tensor([-math.inf, 1.0]))
        average = Averaged(energy, 0.9)
        average.update()
        assert average.energy.mask.tolist() == [-math.inf, 1.0]

    def test_the_average_of_a_spectrally_normalised_layer_is_normalised(self):
        layer = spectral_norm(nn.Linear(2, 2))
        average = Averaged(layer, 0.99)
        for update in range(400):
            # The singular vectors turn with the weights.
            cos, sin = math.cos(0.1 * update), math.sin(0.1 * update)
            turn = torch.tensor([[cos, -sin], [sin, cos]])
            with torch.no_grad():
                layer.parametrizations.weight.original.copy_(turn @ torch.diag(torch.tensor([1.5, 0.5])) @ turn.T)
            layer(torch.ones(1, 2))
            average.update()
        assert 0.95 < torch.linalg.matrix_norm(average.energy.weight, 2) < 1.1

    def test_state_comes_back(self):
        energy, other = Tied(), Tied()
        average, second = Averaged(energy, 0.9), Averaged(other, 0.9)
        average.update()
        second.load_state_dict(average.state_dict())
        assert second.updates == 1
        assert (second.energy.first.weight == average.energy.first.weight).all()

    @pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
    def test_a_decay_outside_of_its_range_is_refused(self, decay):
        with pytest.raises(ValueError, match=r"decay in \[0, 1\)"):
            Averaged(network(), decay)


class TestRates:
    @pytest.mark.parametrize("step", [0, 1, 9, 10, 37, 400])
    def test_factors_follow_their_formulas(self, step):
        assert Exponential(0.97, every=10)(step) == pytest.approx(0.97 ** math.floor(step / 10))
        progress = min(step / 40, 1)
        assert Cosine(40, end=0.1)(step) == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * progress)))
        assert WarmUp(20, Constant(0.5))(step) == pytest.approx(0.5 * min((step + 1) / 20, 1))
        assert WarmUp(4)(step) <= 1.0

    @pytest.mark.parametrize(
        "make", [lambda: Exponential(0.0), lambda: Exponential(0.9, 0), lambda: Cosine(0), lambda: WarmUp(0)]
    )
    def test_settings_without_meaning_are_refused(self, make):
        with pytest.raises(ValueError, match="needs"):
            make()

    def test_every_group_gets_the_rate(self):
        parts = network()
        optimizer = torch.optim.Adam([{"params": parts[0].parameters()}, {"params": parts[2].parameters(), "lr": 9}])
        assert set_learning_rate(optimizer, 0.2, factor=0.25) == 0.05
        assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]


class TwoProcesses:
    """Stands in for a fabric: the other process has the gradients it is given."""

    world_size = 2

    def __init__(self, other):
        self.other = other

    def all_reduce(self, tensor, reduce_op):
        assert reduce_op == "mean"
        return (tensor + self.other) / 2


class TestHooks:
    def parameters(self, *gradients):
        parameters = [nn.Parameter(torch.zeros(len(gradient or [0, 0]))) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else torch.tensor(gradient)
        return parameters

    def test_the_total_norm_is_measured_and_limited(self):
        parameters = self.parameters([3.0, 0.0], None, [0.0, 4.0])
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        clipping = clip_gradients(optimizer, 0.5)
        optimizer.step()
        assert clipping.norm == 5.0 and clipping.norm.shape == ()
        torch.testing.assert_close(parameters[0].detach(), torch.tensor([-0.3, 0.0]))
        torch.testing.assert_close(parameters[2].detach(), torch.tensor([0.0, -0.4]))

    def test_small_gradients_are_left_alone(self):
        parameters = self.parameters([3.0, 4.0])
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        clipping = clip_gradients(optimizer)
        optimizer.step()
        assert clipping.norm == 5.0 and parameters[0].tolist() == [-3.0, -4.0]

    def test_a_gradient_that_is_not_finite_shows(self):
        optimizer = torch.optim.SGD(self.parameters([math.nan, 1.0]), lr=1.0)
        clipping = clip_gradients(optimizer, 1.0)
        optimizer.step()
        assert not clipping.norm.isfinite()

    def test_gradients_are_averaged_before_they_are_clipped(self):
        # First in both processes, then only in the other, only here, and in neither.
        parameters = self.parameters([2.0, 0.0], None, [8.0], None)
        other = torch.tensor([0.0, 4.0, 1.0, 3.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        average_gradients(optimizer, TwoProcesses(other))
        clipping = clip_gradients(optimizer)
        optimizer.step()
        assert [p.grad if p.grad is None else p.grad.tolist() for p in parameters] == [[1, 2], [0.5, 1.5], [4], None]
        assert clipping.norm == pytest.approx(math.sqrt(1 + 4 + 0.25 + 2.25 + 16))

    def test_without_a_limit_that_means_something_it_is_refused(self):
        with pytest.raises(ValueError, match="positive norm, but got 0"):
            clip_gradients(torch.optim.SGD(self.parameters([1.0]), lr=1.0), 0.0)


class TestTracker:
    def test_one_line_a_call(self, tmp_path):
        tracker = Tracker(tmp_path)
        tracker.scalars(10, {"loss": torch.tensor(0.1), "energy/gap": 2.5})
        tracker.scalars(20, {"loss": math.nan, "energy/gap": -torch.tensor(math.inf)})
        tracker.event("recovery", 20, {"signal": "gap", "values": torch.tensor([1.0, math.inf])})
        written = (tmp_path / "metrics.jsonl").read_text().splitlines()
        tracker.close()
        first, second = (json.loads(line, parse_constant=pytest.fail) for line in written)
        assert first.pop("time") <= second.pop("time")
        assert first == {"step": 10, "loss": torch.tensor(0.1).item(), "energy/gap": 2.5}
        assert second == {"step": 20, "loss": "nan", "energy/gap": "-inf"}
        assert math.isnan(float(second["loss"])) and float(second["energy/gap"]) == -math.inf
        event = {"step": 20, "kind": "recovery", "signal": "gap", "values": [1.0, "inf"]}
        assert lines(tmp_path / "events.jsonl") == [event]

    def test_a_resumed_run_forgets_later_steps_and_half_a_line(self, tmp_path):
        tracker = Tracker(tmp_path)
        for step in range(1, 8):
            tracker.scalars(step, {"loss": step / 3})
        tracker.event("recovery", 3)
        tracker.event("recovery", 6)
        tracker.close()
        before = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(b'{"step": 8, "los')
        resumed = Tracker(tmp_path, resume_step=5)
        assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(before[:5])
        resumed.scalars(6, {"loss": 2.0})
        resumed.close()
        assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
        assert [line["step"] for line in lines(tmp_path / "events.jsonl")] == [3]

    @pytest.mark.parametrize("cut", [1, 5, 20])
    def test_half_a_last_line_is_dropped_even_if_its_step_is_kept(self, tmp_path, cut):
        tracker = Tracker(tmp_path)
        tracker.scalars(1, {"loss": 1.0})
        tracker.scalars(2, {"loss": 2.0})
        tracker.close()
        path = tmp_path / "metrics.jsonl"
        path.write_bytes(path.read_bytes()[:-cut])
        Tracker(tmp_path, resume_step=2).close()
        assert [line["step"] for line in lines(path)] == [1]
        assert path.read_bytes().endswith(b"}\n")

    def test_time_goes_on_where_it_stopped(self, tmp_path):
        (tmp_path / "metrics.jsonl").write_text('{"step": 1, "time": 1000.0}\n')
        tracker = Tracker(tmp_path, resume_step=1)
        assert 1000 <= tracker.seconds < 1100
        tracker.close()

    def test_a_new_run_does_not_overwrite_another(self, tmp_path):
        (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
        with pytest.raises(UserError, match="belongs to another run"):
            Tracker(tmp_path)
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'

    def test_a_full_disk_leaves_whole_lines(self, tmp_path):
        tracker = Tracker(tmp_path)
        tracker.event("started", 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises(UserError, match=r"Cannot write .*events\.jsonl"):
                tracker.event("long", 1, {"text": "x" * 200})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        tracker.close()
        assert [line["kind"] for line in lines(tmp_path / "events.jsonl")] == ["started"]

    def test_a_full_disk_is_one_sentence_for_tensorboard_too(self, tmp_path, capfd):
        tracker = Tracker(tmp_path)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            with pytest.raises(UserError, match=r"Cannot write .*events\.out\.tfevents"):
                for step in range(100):
                    tracker.histogram(step, "energies", torch.randn(100))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        tracker.close()
        assert capfd.readouterr().err == ""

    def test_a_folder_that_cannot_be_made_is_one_sentence(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="Cannot write"):
            Tracker(tmp_path / "file" / "run")

    def test_pictures_histograms_and_curves_reach_their_files(self, tmp_path):
        from PIL import Image
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        tracker = Tracker(tmp_path)
        x = torch.linspace(-1, 1, 5 * 3 * 4 * 6).reshape(5, 3, 4, 6)
        path = tracker.images(500, "samples", x)
        assert path == tmp_path / "samples" / "step_00000500.png"
        with Image.open(path) as image:
            assert image.mode == "RGB" and image.size == (3 * 32 + 2, 2 * 22 + 2)
        path = tracker.strip(500, "chain/noise", torch.zeros(2, 7, 1, 4, 6))
        assert path == tmp_path / "samples" / "chain_noise_00000500.png"
        with Image.open(path) as image:
            assert image.mode == "L" and image.size == (7 * 32 + 2, 2 * 22 + 2)
        tracker.histogram(500, "energies", torch.tensor([1.0, 2.0, math.inf]))
        tracker.histogram(500, "nothing", torch.tensor([math.nan]))
        tracker.scalars(500, {"loss": 0.5})
        tracker.scalars(501, {"loss": 0.25})
        tracker.close()
        resumed = Tracker(tmp_path, resume_step=500)
        resumed.scalars(501, {"loss": 0.125})
        resumed.close()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        assert [(scalar.step, scalar.value) for scalar in board.Scalars("loss")] == [(500, 0.5), (501, 0.125)]
        assert sorted(board.Tags()["images"]) == ["chain/noise", "samples"]
        assert board.Tags()["histograms"] == ["energies"]

    def test_a_grid_shows_every_pixel_at_its_place(self):
        x = torch.full((3, 1, 2, 2), -1.0)
        x[0, 0, 0, 1], x[1, 0, 1, 0], x[2, 0, 1, 1] = 1.0, math.nan, 7.0
        picture = grid(x, columns=2)
        # Each pixel is a square of 16, so that a cell has 32.
        assert picture.shape == (70, 70, 1)
        squares = torch.ones(16, 16, dtype=torch.uint8)
        for top, left, pixels in ((2, 2, [[0, 255], [0, 0]]), (2, 36, [[0, 0], [0, 0]]), (36, 2, [[0, 0], [0, 255]])):
            shown = torch.from_numpy(picture[top : top + 32, left : left + 32, 0])
            assert torch.equal(shown, torch.kron(torch.tensor(pixels, dtype=torch.uint8), squares))
        assert (picture[36:68, 36:68] == 96).all()

    def test_a_grid_of_large_images_is_not_magnified(self):
        assert grid(torch.zeros(1, 3, 28, 28)).shape == (32, 32, 3)

    @pytest.mark.parametrize("shape", [(4, 2), (4, 2, 5, 5), (0, 1, 5, 5), (3, 5, 5)])
    def test_a_grid_of_what_is_no_image_is_refused(self, shape):
        with pytest.raises((ValueError, TypeError)):
            grid(torch.zeros(shape))


class TestExport:
    def test_tied_weights_come_back_tied_and_equal(self, tmp_path):
        energy = Tied().train()
        path = tmp_path / "energy.safetensors"
        export_energy(path, energy, {"width": 3, "names": ["a"]})
        configs = []
        loaded = load_energy(path, lambda config: configs.append(config) or Tied())
        assert configs == [{"width": 3, "names": ["a"]}]
        assert not loaded.training and loaded.second.weight is loaded.first.weight
        x = torch.randn(5, 3)
        assert (loaded(x) == energy(x)).all()

    def test_safetensors_reads_the_file_itself(self, tmp_path):
        from safetensors.torch import load_model

        energy, other = Tied(), Tied()
        export_energy(tmp_path / "energy.safetensors", energy, {})
        load_model(other, tmp_path / "energy.safetensors")
        assert (other.second.weight == energy.first.weight).all() and (other.scale == energy.scale).all()

    def test_what_cannot_be_loaded_is_one_sentence(self, tmp_path):
        path = tmp_path / "energy.safetensors"
        with pytest.raises(UserError, match=r"There is no .*energy\.json"):
            load_energy(path, lambda config: Tied())
        export_energy(path, Tied(), {})
        with pytest.raises(UserError, match="does not fit the energy"):
            load_energy(path, lambda config: network())
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(UserError, match="cannot be read as weights"):
            load_energy(path, lambda config: Tied())
        path.unlink()
        with pytest.raises(UserError, match="no weights at"):
            load_energy(path, lambda config: Tied())
        path.with_suffix(".json").write_text('{"format": 7, "config": {}}')
        with pytest.raises(UserError, match="has format 7"):
            load_energy(path, lambda config: Tied())
        path.with_suffix(".json").write_text("{")
        with pytest.raises(UserError, match="does not say how to rebuild"):
            load_energy(path, lambda config: Tied())


class TestEngine:
    def test_an_objective_stays_an_objective_and_the_loss_is_precise(self):
        engine = Engine("cpu", "bf16-mixed")
        seen = []

        class Mean(Objective):
            def __call__(self, energy, batch, rng=None):
                value = energy(batch)
                seen.append(value.dtype)
                return Loss(value.mean(), {"energy/data": value.mean().detach()})

        energy = engine.energy(network())
        objective = engine.objective(Mean())
        assert isinstance(objective, Objective)
        loss = objective(energy, torch.randn(4, 3))
        loss.value.backward()
        assert seen == [torch.bfloat16] and loss.value.dtype == torch.float32
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in energy.parameters())

    def test_full_precision_changes_nothing(self):
        energy, batch = network(), torch.randn(4, 3)
        objective = MaximumLikelihood(FromNoise(ula(0.1), steps=2))
        first = objective(energy, batch, torch.Generator().manual_seed(0))
        second = Engine("cpu").objective(objective)(energy, batch, torch.Generator().manual_seed(0))
        assert first.value == second.value

    def test_it_says_nothing(self, capfd, caplog):
        Engine("cpu", "bf16-mixed")
        Engine("auto")
        assert capfd.readouterr() == ("", "") and not caplog.records

    def test_streams_differ_by_seed_and_repeat(self):
        engine = Engine("cpu")
        draws = [torch.rand(3, generator=engine.rng(seed)).tolist() for seed in (0, 1, 2**62, 0)]
        assert draws[0] == draws[3] and draws[0] != draws[1] != draws[2]

    def test_one_process_keeps_whole_batches(self):
        engine = Engine("cpu")
        x, y = next(engine.batches([(torch.arange(6).reshape(3, 2), torch.arange(3))]))
        assert x.tolist() == [[0, 1], [2, 3], [4, 5]] and y.tolist() == [0, 1, 2]
        assert (engine.rank, engine.processes, engine.device.type) == (0, 1, "cpu")
        assert engine.decide(True) and not engine.decide(False)
        assert engine.gather("a") == ["a"] and engine.mean(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]

    @pytest.mark.skipif(torch.cuda.is_available(), reason="cuda is there")
    def test_a_missing_gpu_is_one_sentence(self):
        with pytest.raises(UserError, match=r"cuda was asked for, but .*; use --device cpu"):
            Engine("cuda")

    def test_settings_that_do_not_exist_are_refused(self):
        with pytest.raises(UserError, match="auto, cpu, cuda or mps, but got 'tpu'"):
            Engine("tpu")
        with pytest.raises(UserError, match="32-true or bf16-mixed, but got '16-true'"):
            Engine("cpu", "16-true")
        with pytest.raises(UserError, match="at least one device"):
            Engine("cpu", devices=0)
