"""``erg restore``, and the likelihood in an evaluation, on a small machine trained for a moment."""

import json

import numpy as np
import pytest
import torch

from erg.data import load
from erg.energies import RBM, Bits, Energy
from erg.evaluation.assessment import Goal
from erg.evaluation.likelihood import Effort, Partition, likelihoods, partition
from erg.evaluation.partition import log_likelihood, log_partition
from erg.runs.model import open_model
from erg.samplers import gwg
from tests.contracts.commands import erg, refusal
from tests.exact.test_restricted import BIT, World

SMALL = (
    *("rbm-mnist", "--data.name=digits", "--network.hidden=6", "--steps=60", "--batch_size=50", "--optimizer.lr=0.1"),
    *("--validation.every=30", "--validation.samples=8", "--sampler.steps=5"),
    *("--likelihood.betas=20", "--likelihood.chains=20", "--device=cpu"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("restored") / "run"
    answer = erg("train", *SMALL, "--out", folder)
    assert answer.code == 0 and "summed exactly" in answer.out, answer
    return folder


@pytest.fixture
def digits(tmp_path):
    """Four binary digits, and the file of them."""
    x = load("digits", binarise=0.5).held_out.x[:4]
    np.save(tmp_path / "digits.npy", (255 * x).byte().numpy())
    return x, tmp_path / "digits.npy"


class TestRestore:
    def test_what_is_observed_stays_and_the_rest_is_drawn(self, run, digits, tmp_path):
        x, file = digits
        out = tmp_path / "restored.npy"
        assert erg("restore", run, file, "--mask", "lower", "--steps", 20, "--out", out).code == 0
        found = torch.from_numpy(np.load(out))
        assert torch.equal(found[..., :4, :], x[..., :4, :])
        assert found.unique().tolist() == [0.0, 1.0] and not torch.equal(found, x)

    def test_means_are_probabilities(self, run, digits, tmp_path):
        out = tmp_path / "means.npy"
        assert erg("restore", run, digits[1], "--mask", "left", "--steps", 20, "--mean", "--out", out).code == 0
        found = np.load(out)
        assert found.min() >= 0 and found.max() <= 1 and len(np.unique(found[..., :4])) > 5

    def test_a_mask_may_be_a_file_of_one_event_or_of_every_row(self, run, digits, tmp_path):
        x, file = digits
        masks = torch.zeros(4, 1, 8, 8)
        masks[range(4), 0, range(4), :] = 1
        np.save(tmp_path / "masks.npy", (255 * masks).byte().numpy())
        out = tmp_path / "restored.npy"
        assert erg("restore", run, file, "--mask", tmp_path / "masks.npy", "--steps", 5, "--out", out).code == 0
        assert torch.equal(torch.from_numpy(np.load(out))[masks == 0], x[masks == 0])
        np.save(tmp_path / "masks.npy", (255 * masks[0]).byte().numpy())
        assert erg("restore", run, file, "--mask", tmp_path / "masks.npy", "--steps", 5, "--out", out).code == 0

    def test_by_default_a_picture_in_the_run(self, run, digits):
        answer = erg("restore", run, digits[1], "--mask", "upper", "--steps", 5)
        assert answer.out.strip() == str(run / "samples" / "restored.png")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--mask", "middle"], "upper, lower, left or right, or a file, but there is no file middle"),
            (["--mask", "lower", "--steps", "0"], "--steps of at least 1"),
            (["--mask", "lower", "--out", "x.jpg"], "FILE.png, FILE.npy or FILE.csv"),
            (["--mask", "lower", "--out", "x.csv"], "no rows of a table"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, run, digits, arguments, message):
        assert message in refusal("restore", run, digits[1], *arguments)

    def test_masks_that_do_not_fit_are_refused(self, run, digits, tmp_path):
        for masks, message in ((np.zeros((1, 8, 8)), "marks nothing"), (255 * np.ones((3, 1, 8, 8)), "give as many")):
            np.save(tmp_path / "mask.npy", masks.astype(np.uint8))
            assert message in refusal("restore", run, digits[1], "--mask", tmp_path / "mask.npy")


class TestLikelihood:
    def test_it_is_in_the_evaluation_and_in_the_report(self, run):
        judged = json.loads((run / "evaluation.json").read_text())
        model = open_model(run)
        exact = log_likelihood(model.energy, load("digits", binarise=0.5).held_out.x)
        assert judged["metrics"]["log_likelihood/held_out"]["value"] == pytest.approx(exact.value, abs=1e-3)
        assert "log_z/bracket" not in judged["metrics"]
        page = (run / "report.html").read_text()
        assert "Log-likelihood of held-out data" in page and "summed exactly" in page

    def test_the_standard_form_is_what_a_run_exports(self, run):
        from safetensors.torch import load_file

        tensors = load_file(run / "energy.safetensors")
        assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
            "weight": (64, 6),
            "visible_bias": (64,),
            "hidden_bias": (6,),
        }

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("digits", "--likelihood.enabled=true"), "set likelihood.enabled to false"),
            (("rbm-mnist", "--likelihood.chains=1"), "likelihood.chains is at least 2"),
            (("rbm-mnist", "--likelihood.betas=0"), "likelihood.betas is at least 1"),
        ],
    )
    def test_what_cannot_be_estimated_is_refused_before_training(self, tmp_path, arguments, message):
        assert message in refusal("train", *arguments, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_data_of_other_values_are_refused(self, tmp_path):
        assert "binarise" in refusal("train", *SMALL, "--data.binarise=null", "--out", tmp_path / "run")


class Plain(Energy):
    """A discrete energy of which nobody knows that it has a hidden layer."""

    def __init__(self, rbm):
        super().__init__()
        self.rbm, self.support = rbm, rbm.support

    def forward(self, x):
        return self.rbm(x)


@pytest.fixture
def unenumerated(monkeypatch):
    monkeypatch.setattr("erg.evaluation.likelihood.ENUMERATED", 1)


@pytest.mark.usefixtures("unenumerated")
class TestAnnealed:
    def test_both_ways_of_annealing_bracket_the_truth(self):
        world = World(Bits(), Bits(), 6, 3)
        rng = torch.Generator().manual_seed(0)
        law = (-world.rbm(world.x)).softmax(0)
        samples = world.x[torch.multinomial(law, 400, replacement=True, generator=rng)]
        truth = log_partition(world.rbm, (6,)).value
        for energy in (world.rbm, Plain(world.rbm)):
            found = partition(energy, samples, samples, kernel=gwg(), effort=Effort(betas=40, chains=400), rng=rng)
            assert found.reliable and abs(found.log_z.value - truth) < 5 * found.log_z.standard_error
            assert abs(found.bracket.combined.value - truth) < 5 * found.bracket.combined.standard_error < 0.3
            metrics, notes = likelihoods(energy, found, train=samples, held_out=samples)
            assert {"log_likelihood/held_out/low", "log_z/bracket"} <= set(metrics) and "count as reliable" in notes[
                0
            ]

    def test_ends_that_are_far_apart_are_called_unreliable(self):
        rbm = RBM(8, 4, scale=8.0)
        rng = torch.Generator().manual_seed(0)
        x = torch.tensor(BIT)[torch.randint(2, (50, 8), generator=rng)]
        found = partition(rbm, x, x, kernel=gwg(), effort=Effort(betas=2, chains=50), rng=rng)
        assert isinstance(found, Partition) and not found.reliable
        metrics, notes = likelihoods(rbm, found, train=x, held_out=x)
        assert "unreliable" in notes[0]
        easy = metrics["log_likelihood/held_out"]._replace(goal=Goal(">=", -1e9))
        assert easy.to_json()["goal"]["pass"] is False
