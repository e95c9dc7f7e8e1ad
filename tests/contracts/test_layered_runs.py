"""Runs of machines with Gaussian units and with several layers: small settings, and every command on them."""

import json

import numpy as np
import pytest
import torch

from erg.applications import PretrainedDBM
from erg.energies import DBM, GaussianRBM
from erg.runs.config import reopen
from erg.runs.experiment import Experiment
from erg.runs.folder import RunFolder
from erg.runs.model import open_model
from tests.contracts.commands import erg, refusal

SHORT = [
    *("--steps=4", "--batch_size=16", "--sampler.steps=3", "--validation.every=2", "--validation.samples=8"),
    *("--device=cpu", "--likelihood.betas=20", "--likelihood.chains=8"),
    "--goals={}",
    "--objective.objective.negatives.size=16",
]
GAUSSIAN = ["gaussian-rbm-digits", *SHORT, "--network.hidden=3"]
DEEP = [
    *("dbm-mnist", "--data.name=digits", *SHORT[:-1], "--objective.objective.objective.negatives.size=16"),
    *("--network.hidden=[4,3]", "--network.epochs=1", "--network.batch_size=500"),
]
RUNS = {"gaussian": (GAUSSIAN, GaussianRBM), "deep": (DEEP, DBM)}


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory):
    options, kind = RUNS[request.param]
    folder = tmp_path_factory.mktemp("layered") / "run"
    answer = erg("train", *options, "--out", folder)
    assert answer.code == 0 and "Report:" in answer.out, answer
    assert isinstance(open_model(folder).energy, kind)
    return folder


def test_the_likelihood_is_summed_exactly(run):
    metrics = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert metrics["log_z"]["standard_error"] == 0
    assert torch.tensor(metrics["log_likelihood/held_out"]["value"]).isfinite()
    assert (run / "samples" / "final.png").exists()


def test_commands_work_on_it(run, tmp_path):
    for command in (["sample", run, "-n", 4], ["report", run]):
        answer = erg(*command)
        assert answer.code == 0, answer
    drawn = np.load(run / "samples" / "samples.npy").clip(-1, 1)  # Gaussian pixels may be whiter than white
    np.save(tmp_path / "rows.npy", drawn)
    assert erg("score", run, tmp_path / "rows.npy").code == 0


def test_missing_parts_are_drawn_by_all_layers_and_chains_are_diagnosed(run, tmp_path):
    drawn = np.load(run / "samples" / "samples.npy").clip(-1, 1)[:3]
    np.save(tmp_path / "rows.npy", drawn)
    out = tmp_path / "restored.npy"
    assert erg("restore", run, tmp_path / "rows.npy", "--mask", "lower", "--steps", 5, "--out", out).code == 0
    found = np.load(out)
    assert np.allclose(found[:, :, :4], drawn[:, :, :4], atol=1e-6) and not np.array_equal(found, drawn)
    answer = erg("diagnose", run, "--chains", 8, "--steps", 40)
    assert answer.code == 0 and "Report:" in answer.out, answer


def test_whole_layers_have_no_other_temperature(run):
    assert "temperature 1 only" in refusal("sample", run, "--temperature", 0.5)


def test_a_bound_is_called_one(run):
    notes = json.loads((run / "evaluation.json").read_text())["notes"]
    assert any("lower bounds" in note for note in notes) == isinstance(open_model(run).energy, DBM)


def test_a_machine_is_pretrained_once(run, monkeypatch):
    """A resumed run has its weights in a checkpoint."""

    def refuse(self, x):
        raise AssertionError("started again")

    for kind in (PretrainedDBM, GaussianRBM):
        monkeypatch.setattr(kind, "start_at", refuse)
    folder = RunFolder(run)
    again = Experiment(reopen(folder.config).recipe, folder)
    again.tracker.close()
    assert again.step == 4


def test_grey_digits_are_refused_by_a_machine_of_bits(tmp_path):
    line = refusal("train", *DEEP, "--data.binarise=null", "--out", tmp_path / "run")
    assert "binarise" in line
