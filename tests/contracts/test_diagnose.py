"""`erg diagnose`: a run whose chains get around and one whose chains cannot get different verdicts, in words."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from erg.data import load
from erg.evaluation.regions import regions_of
from erg.report import write_report
from erg.runs.findings import law
from erg.samplers import Compiled, Scheduled, descent, mala, mclmc, sgld, ula
from erg.samplers.schedules import Constant
from tests.contracts import diagnosed
from tests.contracts.commands import contents, erg, refusal

CHAINS, STEPS = 48, 200


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A diagnosed run of one mode."""
    root = tmp_path_factory.mktemp("wide")
    run = diagnosed.run(root / "wide", "Wide", diagnosed.table(root / "wide.csv", aligned=False))
    answer = erg("diagnose", run, "--trust", "--chains", CHAINS, "--steps", STEPS)
    assert answer.code == 0, answer
    (root / "said").write_text(answer.out)
    return run


@pytest.fixture(scope="module")
def wells(tmp_path_factory) -> Path:
    """A diagnosed run of valleys of which the data are in one only."""
    root = tmp_path_factory.mktemp("wells")
    run = diagnosed.run(root / "wells", "Wells", diagnosed.table(root / "wells.csv", aligned=True), step_size=0.005)
    answer = erg("diagnose", run, "--trust", "--chains", CHAINS, "--steps", STEPS)
    assert answer.code == 0, answer
    (root / "said").write_text(answer.out)
    return run


def record(run: Path) -> dict:
    return json.loads((run / "diagnosis.json").read_text())


def said(run: Path) -> str:
    return (run.parent / "said").read_text()


def page(run: Path) -> str:
    return re.sub(r"<[^>]*>|\s+", " ", write_report(run).read_text(encoding="utf-8"))


def test_chains_that_get_around_make_samples_draws_from_the_model(wide):
    found = record(wide)
    assert found["verdict"]["outcome"] == "converged" and found["verdict"]["tone"] == "good"
    assert "Chains from data and from noise meet" in said(wide) and "are draws from the model." in said(wide)
    assert found["verdict"]["sentence"] in said(wide)
    assert not any(row["apart"] for row in found["summaries"].values())
    assert all(row["rhat"] < 1.05 and row["bulk"] > 500 for row in found["summaries"].values())
    # In two dimensions the energy of a normal law has the mean 1.
    for group in found["energy"].values():
        assert abs(group["end"]["value"] - 1) < 5 * group["end"]["standard_error"] and group["lost"] == 0
    cost = found["gradients_per_effective_draw"]
    draws, least = 2 * CHAINS * (STEPS // 2 + 1), min(row["bulk"] for row in found["summaries"].values())
    assert cost["value"] == pytest.approx(draws / least), "this kernel takes one gradient a step"
    assert cost["standard_error"] < cost["value"] / 2


def test_chains_that_cannot_meet_make_samples_short_runs(wells):
    found = record(wells)
    assert found["verdict"]["outcome"] == "apart" and found["verdict"]["tone"] == "bad"
    assert found["meets_after"] is None
    assert f"do not meet within {STEPS} steps: the model's samples, of 5 steps, are short-run samples." in said(wells)
    start, end = (found["energy"]["noise"][key]["value"] for key in ("start", "end"))
    assert f"of chains from noise from {start:.4g} to {end:.4g}." in said(wells)
    assert found["summaries"]["component 2"]["apart"] and found["summaries"]["component 2"]["rhat"] > 1.2
    assert not found["summaries"]["component 1"]["apart"], "along the valleys both are alike"


def test_the_files_hold_the_traces_of_all_chains(wide):
    found = record(wide)
    with np.load(wide / "diagnosis.npz", allow_pickle=False) as arrays:
        assert arrays["data"].shape == arrays["noise"].shape == (CHAINS, STEPS + 1, len(found["summaries"]))
        assert arrays["steps"].tolist() == list(range(STEPS + 1))
        assert arrays["autocorrelation"].shape == (len(arrays["lags"]), len(found["summaries"]))
        assert arrays["data"][:, 0, 0].mean() == pytest.approx(found["energy"]["data"]["start"]["value"], rel=1e-5)


def test_the_same_seed_gives_the_same_diagnosis_and_another_one_does_not(wide, tmp_path, monkeypatch):
    monkeypatch.setattr("erg.report.write_report", lambda path: path)
    run = shutil.copytree(wide, tmp_path / "run")
    found = []
    for seed in (3, 3, 4):
        assert erg("diagnose", run, "--trust", "--chains", 8, "--steps", 40, "--seed", seed).code == 0
        found.append((run / "diagnosis.json").read_text())
    assert found[0] == found[1] and found[0] != found[2]


def test_long_chains_are_kept_every_so_often(wide, tmp_path, monkeypatch):
    monkeypatch.setattr("erg.report.write_report", lambda path: path)
    run = shutil.copytree(wide, tmp_path / "run")
    assert erg("diagnose", run, "--trust", "--chains", 4, "--steps", 401).code == 0
    assert record(run)["every"] == 2 and record(run)["steps"] == 400
    with np.load(run / "diagnosis.npz") as arrays:
        assert arrays["steps"].tolist() == list(range(0, 401, 2)) and arrays["data"].shape[:2] == (4, 201)


def test_the_report_shows_verdict_traces_and_figures(wide, wells):
    for run, mark in ((wide, "✓"), (wells, "✕")):
        told = page(run)
        assert f"{mark} {record(run)['verdict']['sentence']}".replace("'", "&#x27;") in told.replace("  ", " ")
        for heading in ("Convergence", "Energy along the chains", "Autocorrelation", "Energies at the end", "R-hat"):
            assert heading in told, heading
        assert "is damaged" not in told and "npz is missing" not in told
    markup = write_report(wells).read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', markup)
    assert len(ids) == len(set(ids)) and '<b class="bad">apart</b>' in markup


def test_a_report_without_a_diagnosis_does_not_speak_of_it(wide, tmp_path):
    run = shutil.copytree(wide, tmp_path / "run")
    for name in ("diagnosis.json", "diagnosis.npz"):
        (run / name).unlink()
    assert "Convergence" not in page(run) and "diagnosis" not in page(run)


@pytest.mark.parametrize("name", ["diagnosis.json", "diagnosis.npz"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"verdict": 3, "summaries": [1]}', bytes(range(256))])
def test_a_damaged_diagnosis_is_named_in_the_report(wide, tmp_path, name, content):
    run = shutil.copytree(wide, tmp_path / "run")
    (run / name).write_bytes(content)
    assert f"{name} is damaged" in page(run)


def test_a_diagnosis_of_nonsense_is_still_a_page(wide, tmp_path):
    run = shutil.copytree(wide, tmp_path / "run")
    evil = "<script>alert(1)</script>"
    broken = {
        "verdict": {"sentence": evil, "tone": evil}, "chains": evil, "steps": "nan", "meets_after": [evil],
        "jumps": evil, "energy": {evil: {"still": {"value": "inf"}, "lost": evil}, "noise": 3},
        "summaries": {evil: {"rhat": "inf", "bulk": evil, "location": {"value": "nan"}, "apart": evil}, "b": 1},
        "gradients_per_effective_draw": {"value": evil},
    }  # fmt: skip
    (run / "diagnosis.json").write_text(json.dumps(broken))
    arrays = {"steps": np.arange(9.0), "data": np.full((3, 9, 2), np.nan), "noise": np.ones((3, 9, 2))}
    np.savez(run / "diagnosis.npz", **arrays)
    write_report(run)
    markup = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in markup and "&lt;script" in markup and "∞" in markup
    np.savez(run / "diagnosis.npz", **(arrays | {"noise": np.ones((3, 8, 2))}))
    assert "diagnosis.npz is damaged" in page(run)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--chains", 3], "--chains of at least 4"),
        (["--steps", 39], "--steps of at least 40"),
        (["--steps", "many"], "invalid int value"),
        (["--device", "gpu"], "auto, cpu, cuda, mps, but got 'gpu'"),
        (["--chain", 3], "did you mean '--chains'?"),
        ([], "is not one of erg's or torch's own classes"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(wide, options, what):
    before = contents(wide)
    assert what in refusal("diagnose", wide, *options)
    assert contents(wide) == before


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    assert "is not a run folder" in refusal("diagnose", tmp_path / "nowhere")


def test_an_interrupted_diagnosis_leaves_the_former_one(wide, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = contents(wide)
    monkeypatch.setattr("erg.runs.diagnosis.meeting", interrupted)
    answer = erg("diagnose", wide, "--trust", "--chains", 4, "--steps", 40)
    assert answer.code == 130 and answer.err == "erg: interrupted; nothing was written.\n"
    assert contents(wide) == before


def test_regions_are_the_classes_of_digits_and_clusters_of_other_data():
    digits = load("digits").held_out
    classes = regions_of(digits.x)
    assert classes.name == "classes" and (classes.assign(digits.x) == digits.y).float().mean() > 0.95
    places = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    clusters = regions_of(places.repeat(5, 1))
    assert clusters.name == "clusters" and len(set(clusters.assign(places).tolist())) == 3
    assert clusters.assign(places + 1).tolist() == clusters.assign(places).tolist()


def test_what_samples_are_draws_of_depends_on_the_kernel():
    assert law(mala(0.1)) == law(Compiled(mala(0.1))) == "the model"
    assert "bias of an unadjusted kernel" in law(ula(0.1))
    assert "bias of an unadjusted kernel" in law(Compiled(mclmc(0.1, 1.0)))
    assert "temperature 1.25e-06" in law(Compiled(sgld(10.0, 0.005)))
    assert "temperature 1.25e-06" in law(Scheduled(sgld(10.0, 0.005), {"noise": Constant(0.1)}))
    assert "descent" in law(descent(0.1))
