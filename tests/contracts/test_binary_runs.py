"""A run on binarised digits: every command works on it, and everything that it sees is 0 or 1."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from erg.data import binarise, load
from erg.energies import Independent
from erg.errors import UserError
from erg.evaluation.regions import regions_of
from erg.evaluation.shifts import shifted
from erg.runs.domain import Domain
from erg.runs.model import check_support, open_model
from erg.support import Binary
from tests.contracts.commands import DIGITS, erg, refusal

# Between two of the 17 grey levels of these digits, so that 8 bits in a picture round no pixel across it.
BINARY = [*DIGITS, "--data.noise=0", "--data.binarise=0.45", "--objective.negatives.kernel=erg.samplers.gwg"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binary") / "run"
    answer = erg("train", *BINARY, "--out", folder)
    assert answer.code == 0, answer
    return folder


def bits(x):
    return set(torch.as_tensor(x).unique().tolist()) == {0.0, 1.0}


class TestData:
    def test_pixels_above_the_threshold_are_one(self):
        grey, binary = load("digits"), load("digits", binarise=0.3)
        for name in ("train", "held_out"):
            expected = ((getattr(grey, name).x.double() + 1) / 2 > 0.3).float()
            assert torch.equal(getattr(binary, name).x, expected)
            assert torch.equal(getattr(binary, name).y, getattr(grey, name).y)
        assert binary.support == Binary()

    def test_a_table_is_refused(self, tmp_path):
        np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(20, 3)))
        with pytest.raises(UserError, match=r"leave data\.binarise out"):
            load(None, path=tmp_path / "table.npy", binarise=0.5)

    @pytest.mark.parametrize(
        ("option", "sentence"),
        [("--data.noise=0.1", "data.noise"), ("--data.dequantise=true", "data.dequantise")],
    )
    def test_noise_is_refused(self, option, sentence, tmp_path):
        assert sentence in refusal("train", *BINARY, option, "--out", tmp_path / "run")

    @pytest.mark.parametrize("threshold", ["1.0", "-0.1", "128"])
    def test_a_threshold_is_a_grey_level(self, threshold, tmp_path):
        line = refusal("train", *BINARY, f"--data.binarise={threshold}", "--out", tmp_path / "run")
        assert "grey level in [0, 1)" in line and not (tmp_path / "run").exists()


class TestShifts:
    def test_every_version_is_binary(self):
        x = load("digits", binarise=0.5).held_out.x[:50]
        versions = shifted(x, torch.Generator().manual_seed(0), support=Binary())
        assert set(versions) == {"noise", "blurred", "flipped", "shrunk"} and all(map(bits, versions.values()))
        assert torch.equal(versions["flipped"], x.flip(-1))
        # Fair coins; 3,200 of them: the standard error is 0.009.
        assert abs(float(versions["noise"].mean()) - 0.5) < 0.045

    def test_what_is_empty_stays_empty(self):
        versions = shifted(torch.zeros(2, 1, 8, 8), support=Binary())
        assert not versions["blurred"].any() and not versions["shrunk"].any()

    def test_the_regions_of_digits_are_their_classes(self):
        held_out = load("digits", binarise=0.5).held_out
        regions = regions_of(held_out.x, support=Binary())
        assert regions.name == "classes" and (regions.assign(held_out.x) == held_out.y).float().mean() > 0.8


class TestCommands:
    def test_training_writes_what_the_rows_are(self, run):
        domain = Domain.from_json(json.loads((run / "energy.json").read_text())["config"])
        assert domain == Domain((1, 8, 8), Binary(), threshold=0.45)

    def test_evaluation_judges_by_the_classifier(self, run):
        assert erg("evaluate", run, "-n", 8).code == 0
        judged = json.loads((run / "evaluation.json").read_text())
        assert judged["classifier"]["name"] == "digits_8x8"
        assert judged["metrics"]["confidence_held_out"]["value"] > 0.9
        assert bits(np.load(run / "samples" / "samples.npy"))

    def test_samples_are_black_and_white(self, run):
        assert erg("sample", run, "-n", 4, "--steps", 0).code == 0
        for name in ("drawn", "final", "chain"):
            picture = np.asarray(Image.open(run / "samples" / f"{name}.png"))
            # 96 is the margin.
            assert set(np.unique(picture)) == {0, 96, 255}, name

    def test_scored_pictures_are_binarised(self, run, tmp_path):
        grey = load("digits").held_out.x[:1]
        levels = ((grey[0, 0] + 1) * 127.5).round().byte().numpy()
        Image.fromarray(levels).save(tmp_path / "digit.png")
        np.save(tmp_path / "bits.npy", binarise(grey, 0.45).numpy())
        rows = erg("score", run, tmp_path / "digit.png", tmp_path / "bits.npy").out.splitlines()[1:]
        energies = [float(row.split(",")[1]) for row in rows]
        model = open_model(run)
        assert energies[0] == energies[1] == pytest.approx(float(model.energy(binarise(grey, 0.45))), rel=1e-5)
        assert energies[0] != pytest.approx(float(model.energy(grey)), rel=1e-3)

    def test_the_report_is_written(self, run):
        assert erg("report", run).code == 0 and "binarise 0.45" in (run / "report.html").read_text()

    def test_discrete_langevin_trains_too(self, tmp_path):
        kernel = [
            "--objective.negatives.kernel=erg.samplers.dmala",
            "--objective.negatives.kernel.init_args.step_size=0.2",
        ]
        assert erg("train", *BINARY, *kernel, "--out", tmp_path / "run").code == 0

    def test_grey_rows_on_a_binary_energy_are_refused(self):
        coins = Independent.uniform((1, 8, 8), Binary())
        with pytest.raises(UserError, match=r"1797 rows of digits do not; set data.binarise=0\.5"):
            check_support(coins, load("digits"))
        check_support(coins, load("digits", binarise=0.5))
