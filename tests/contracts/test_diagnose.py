"""`erg diagnose`: a run whose chains get around and one whose chains cannot get different verdicts, in words."""

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from erg import draws
from erg.cli import diagnose
from erg.data import load
from erg.energies import Counted, Energy, Independent, Neural, Watched
from erg.estimate import Estimate
from erg.evaluation.meeting import meeting
from erg.evaluation.regions import regions_of
from erg.report import write_report
from erg.runs import diagnosis, exact
from erg.runs.diagnosis import Diagnosis, Plan
from erg.runs.exact import EXACT, TUNING, check_kernel, expected_seconds
from erg.runs.findings import law, verdict
from erg.runs.model import open_model
from erg.samplers import (
    AutomaticCycles,
    BlockGibbs,
    Compiled,
    Conditionals,
    Preconditioned,
    Scheduled,
    acs,
    chain,
    descent,
    mala,
    mams,
    mclmc,
    replica_exchange,
    sample,
    sgld,
    ula,
)
from erg.samplers.schedules import Constant
from erg.support import Binary, Box
from erg.training.checkpoint import Checkpoints
from tests.contracts import diagnosed
from tests.contracts.commands import contents, erg, refusal
from tests.contracts.kernels import APART, DISCRETE, KERNELS
from tests.contracts.kernels import EXACT as EXACT_CASES

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
    assert "an effective draw costs" in said(wide) and "more than" not in said(wide) + page(wide)


def test_chains_that_cannot_meet_make_samples_short_runs(wells):
    found = record(wells)
    assert found["verdict"]["outcome"] == "apart" and found["verdict"]["tone"] == "bad"
    assert found["meets_after"] is None
    # Chains that stay where they are have as many effective draws as chains: what one costs is not known.
    assert re.search(r"an effective draw costs more than [\d.]+ gradients\.", said(wells))
    assert re.search(r"Gradients an effective draw\s+more than \d+", page(wells))
    assert f"do not meet within {STEPS} steps: the model's samples, of 5 steps, are short-run samples." in said(wells)
    start, end = (found["energy"]["noise"][key]["value"] for key in ("start", "end"))
    assert f"of chains from noise from {start:.4g} to {end:.4g}." in said(wells)
    assert found["summaries"]["component 2"]["apart"] and found["summaries"]["component 2"]["rhat"] > 1.2
    assert not found["summaries"]["component 1"]["apart"], "along the valleys both are alike"


def judged(data, noise, steps=STEPS, **how):
    """The outcome and the verdict on chains made up here, shape (chains, steps + 1, summaries)."""
    plan = Plan(len(data), steps, 1)
    found = Diagnosis(
        plan, ("energy", "place"), data, noise, meeting(data, noise), None, None, "", Estimate(0.0, 0.0), 0.0
    )
    return found.meeting.outcome.value, verdict(found, **({"kernel": mala(0.1), "sampler_steps": 5} | how))


def noise_of(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).split(CHAINS)


def test_chains_that_meet_away_from_the_data_say_so():
    data, noise = noise_of(2 * CHAINS, STEPS + 1, 2)
    assert "The energy" not in judged(data, noise)[1]
    data = data.clone()
    data[:, 0, 0] -= 9
    outcome, sentence = judged(data, noise)
    assert outcome == "converged" and "are draws from the model." in sentence
    assert re.search(r"The energy of chains from data goes from -[89]\.\d+ to -?0\.0", sentence)


def test_chains_that_stay_where_they_began_are_slow():
    wobble, places = noise_of(2 * CHAINS, STEPS + 1, 2), noise_of(2 * CHAINS, 1, 2)
    data, noise = (place + 0.2 * here for place, here in zip(places, wobble, strict=True))
    outcome, sentence = judged(data, noise)
    assert outcome == "slow"
    worst = float(meeting(data, noise).convergence.rhat.max())
    start, end = (float(x) for x in (data[:, 0, 0].mean(), data[:, -(STEPS // 4) :, 0].mean()))
    assert sentence.startswith(
        "Chains from data and from noise cannot be told apart from the first steps on, but chains do not get around "
        f"within {STEPS} steps (R-hat {worst:.2f}, and at most 1.05 would do): how much each mode weighs may come "
        f"from the starts. The energy of chains from data goes from {start:.4g} to "
    )
    assert abs(float(sentence.split("from data goes from ")[1].split(" to ")[1].split(",")[0]) - end) < 0.01
    assert worst > 2
    # Chains that have been drawn to the others before they got stuck: the run's own are too short for that.
    data, noise = data.clone(), noise.clone()
    noise[:, : STEPS // 4] += 5
    outcome, sentence = judged(data, noise)
    assert outcome == "slow" and "cannot be told apart after about 50 steps, but" in sentence
    assert "from the starts. The run's own samples, of 5 steps, are shorter than that. The energy" in sentence
    assert "shorter than that" not in judged(data, noise, sampler_steps=60)[1]
    assert "shorter than that" not in judged(data, noise, other="nuts")[1]


def test_chains_that_meet_late_should_be_longer():
    data, noise = noise_of(2 * CHAINS, STEPS + 1, 2)
    noise = noise.clone()
    noise[:, : 3 * STEPS // 4] += 5
    outcome, sentence = judged(data, noise)
    assert outcome == "late"
    assert sentence == (
        "Chains from data and from noise meet only after about 150 steps of 200: run longer chains, with --steps 800,"
        " to see whether they stay together."
    )
    assert judged(data, noise, other="nuts")[1].startswith("Chains of nuts from data and from noise meet only after")


def test_lost_chains_are_counted():
    data, noise = noise_of(2 * CHAINS, STEPS + 1, 2)
    noise = noise.clone()
    noise[:11, 30:] = torch.nan
    assert judged(data, noise) == (
        "broken",
        "11 of 96 chains came to values that are not finite: this kernel does not sample this energy. Try a smaller "
        "step size.",
    )


@pytest.mark.parametrize(
    "kernel",
    ["hmc", "mala", pytest.param("mams", marks=pytest.mark.slow), pytest.param("nuts", marks=pytest.mark.slow)],
)
def test_an_exact_kernel_in_place_of_the_runs_own(wide, tmp_path, kernel):
    run = shutil.copytree(wide, tmp_path / "run")
    answer = erg("diagnose", run, "--trust", "--chains", 48, "--steps", 200, "--kernel", kernel)
    assert answer.code == 0, answer
    found = record(run)
    assert (found["kernel"], record(wide)["kernel"], found["checkpoint"]) == (kernel, "own", "last")
    assert found["verdict"]["outcome"] == "converged" and "are draws from the model." in answer.out
    assert f"Chains of {kernel} from data and from noise meet" in answer.out
    assert "shorter than that" not in answer.out
    assert f"2 × 48 of {kernel}, 200 steps" in page(run)
    for group in found["energy"].values():
        assert abs(group["end"]["value"] - 1) < 5 * group["end"]["standard_error"]


def test_another_kernel_that_does_not_get_around_does_not_judge_the_runs_samples():
    data, noise = noise_of(2 * CHAINS, STEPS + 1, 2)
    outcome, sentence = judged(data, noise + 5, other="nuts")
    assert outcome == "apart" and sentence.startswith(
        "Chains of nuts from data and from noise do not meet within 200 steps: they do not get around the model. The "
    )


def test_a_kernel_that_cannot_be_tuned_is_refused_in_one_line(wide, monkeypatch):
    monkeypatch.setitem(EXACT, "nuts", ula(0.1))
    before = contents(wide)
    line = refusal("diagnose", wide, "--trust", "--kernel", "nuts")
    assert "--kernel nuts cannot be tuned to this energy: Unadjusted(Langevin) makes every move" in line
    assert line.endswith(". Choose another --kernel, or leave it out for the run's own.\n")
    assert contents(wide) == before


@pytest.mark.parametrize(
    ("support", "kernel", "advice"),
    [(Box(-1.0, 1.0), "mams", "choose one of hmc, mala, nuts, or leave it out"), (Binary(), "nuts", "leave it out")],
)
def test_a_kernel_that_does_not_move_there_is_refused_before_the_data_are_loaded(
    wide, monkeypatch, support, kernel, advice
):
    elsewhere = replace(open_model(wide, trust=True), energy=Neural(lambda x: x.square().sum(1), support=support))
    check_kernel(open_model(wide, trust=True), kernel)
    monkeypatch.setattr("erg.runs.model.open_model", lambda *_, **__: elsewhere)
    monkeypatch.setattr("erg.runs.model.Model.data", lambda _: pytest.fail("the data were loaded"))
    line = refusal("diagnose", wide, "--trust", "--kernel", kernel)
    assert line == (
        f"erg: --kernel {kernel} does not move on {support} in shape (2,), as the rows of this run are; {advice} for "
        "the run's own.\n"
    )


def test_what_another_kernel_will_cost_is_told_before_it_begins_if_it_is_much(wide, tmp_path, monkeypatch):
    monkeypatch.setattr("erg.report.write_report", lambda path: path)
    run, told = shutil.copytree(wide, tmp_path / "run"), "--kernel mala will take about"
    asked = ("diagnose", run, "--trust", "--chains", 8, "--steps", 40, "--kernel", "mala")
    assert told not in erg(*asked).out
    monkeypatch.setattr("erg.cli.diagnose.PATIENCE", 0.0)
    monkeypatch.setattr(exact, "_seconds", lambda energy, x: 30.0)
    out = erg(*asked).out
    assert out.startswith(f"{told} 4 h 30 min here; --chains or --steps may shorten that.\n")
    assert out.index(told) < out.index("Running")


def test_the_cost_of_another_kernel_counts_its_gradients(wide, monkeypatch):
    monkeypatch.setattr(exact, "_seconds", lambda energy, x: float(len(x)))
    model, plan = open_model(wide, trust=True), Plan(16, 200, 1)
    scale = torch.tensor([1.0, 0.01])
    narrow = replace(model, energy=Neural(lambda x: (x / scale).square().sum(1) / 2))
    unit = TUNING * 16 + 200 * 32

    def gradients(name, model=model):
        return expected_seconds(model, model.data(), name, plan, device=torch.device("cpu")) / unit

    assert (gradients("mala"), gradients("hmc")) == (1, 8)
    assert 1 <= gradients("nuts") < 32, "a normal law is crossed in a few leaves"
    assert 60 < gradients("nuts", narrow) < 1024, "a hundred times narrower than long"


def test_the_diagnosis_of_the_best_checkpoint_is_kept_apart(wide, tmp_path):
    run = shutil.copytree(wide, tmp_path / "run")
    checkpoints = Checkpoints(run / "checkpoints")
    payload = checkpoints.load_best()
    weights = {name: torch.full_like(tensor, 3.0) for name, tensor in payload["energy"].items()}
    checkpoints.save_best(payload | {"step": 1, "energy": weights})
    before = contents(run)
    answer = erg("diagnose", run, "--trust", "--chains", 24, "--steps", 100, "--checkpoint", "best")
    assert answer.code == 0, answer
    after = contents(run)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"report.html", "best/diagnosis.json", "best/diagnosis.npz"}
    assert f"kept in {run / 'best'}; the report shows the last." in answer.out
    assert "those of the best are in best/" in page(run)
    found = record(run / "best")
    assert (found["checkpoint"], found["step"]) == ("best", 1)
    starts = (record(which)["energy"]["data"]["start"]["value"] for which in (run / "best", wide))
    assert next(starts) < 0.3 * next(starts), "a law three times as wide has a ninth of the energy at the same rows"


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


def test_shares_and_counts_of_chains_are_explained_where_they_are_shown(wide, tmp_path, capsys):
    moves = "less than a tenth of the width of all chains in the second half of the steps."
    assert f"\nHardly move: chains that stray {moves}\n" in said(wide)
    assert "\nNot finite: how many chains came to values that are not; they are left out of all else.\n" in said(wide)
    told = page(wide)
    assert "Hardly move, from data" in told and f"Chains that hardly move stray {moves}" in told
    assert "Not finite" not in told and "Chains that are not finite" not in told, "there are none"
    run = shutil.copytree(wide, tmp_path / "run")
    found = record(run)
    found["energy"]["noise"]["lost"] = 7
    (run / "diagnosis.json").write_text(json.dumps(found))
    told = page(run)
    assert re.search(r"Not finite, from noise\s+7", told)
    assert "Chains that are not finite came to values that are not, and are left out of all else." in told
    diagnose._show(found)
    assert re.search(r"from noise .* 7\n", capsys.readouterr().out)


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
        (["--kernel", "gibbs"], "choose from 'own', 'hmc', 'mala', 'mams', 'nuts'"),
        (["--checkpoint", "first"], "choose from 'last', 'best'"),
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


CASES = KERNELS | DISCRETE | APART
LAWS = {
    "the model, as soon as the kernel has found its settings": "AutomaticCycles MAMS Parallel-MAMS acs",
    "the model, up to the bias of an unadjusted kernel": (
        "Biased Compiled Compiled-mclmc Compiled-searching-underdamped LowPrecision MCLMC Parallel Unadjusted "
        "Underdamped Underdamped-with-a-friction dula mclmc replica_exchange-underdamped searching-underdamped ula "
        "underdamped"
    ),
    "the law that this kernel keeps, which is the model's at temperature 0.225 at best": (
        "Scheduled-sgld Unadjusted-ImageLangevin sgld"
    ),
    "the law that descent ends in, which is that of its starts": "Unadjusted-Descent descent",
    "the law that annealing ends in, which is the model's at the last temperature at best": (
        "Annealed annealed annealed-gibbs"
    ),
    "the law of moves that nothing tests, which know nothing of the model": "Unadjusted-RandomWalk",
}
INEXACT = {name: words for words, names in LAWS.items() for name in names.split()}


@pytest.mark.parametrize("name", CASES)
def test_every_kernel_is_said_to_have_its_law(name):
    assert law(CASES[name]) == INEXACT.get(name, "the model")
    assert name in EXACT_CASES or name in DISCRETE or name in APART or name in INEXACT


def test_a_kernel_that_tunes_itself_has_the_law_of_its_settings():
    assert law(Compiled(Preconditioned(mams(), torch.ones(2)))) == law(mams()) != law(mams(0.3, 1.0)) == "the model"
    assert law(Preconditioned(mclmc(), torch.ones(2))) == law(mclmc(0.3, 1.0)) == law(ula(0.1))
    assert law(replica_exchange(acs(), [1.0, 2.0])) == law(acs()) != "the model"
    assert law(AutomaticCycles(period=3, cycles=1).adapted(settled())) == "the model"


def settled():
    """The state of chains that have tuned themselves."""
    kernel = AutomaticCycles(period=3, cycles=1)
    coins = Independent(torch.tensor([0.0, 1.0]), Binary())
    states = chain(kernel, coins, torch.zeros(2, 2), torch.Generator().manual_seed(0))
    return next(states)[0]


def test_what_samples_are_draws_of_depends_on_the_kernel():
    assert law(mala(0.1)) == law(Compiled(mala(0.1))) == "the model"
    assert "bias of an unadjusted kernel" in law(ula(0.1))
    assert "bias of an unadjusted kernel" in law(Compiled(mclmc(0.1, 1.0)))
    assert "temperature 1.25e-06" in law(Compiled(sgld(10.0, 0.005)))
    assert "temperature 1.25e-06" in law(Scheduled(sgld(10.0, 0.005), {"noise": Constant(0.1)}))
    assert "descent" in law(descent(0.1))


class Machine(Energy):
    """A restricted Boltzmann machine of three visible and two hidden units."""

    support = Binary()

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.randn(3, 2, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return -torch.nn.functional.softplus(x @ self.weights).sum(1)

    def sample_hidden(self, x, rng=None):
        return draws.uniform(x @ self.weights, rng).lt((x @ self.weights).sigmoid()).to(x)

    def sample_visible(self, h, rng=None):
        return draws.uniform(h @ self.weights.T, rng).lt((h @ self.weights.T).sigmoid()).to(h)


def test_a_kernel_of_conditionals_costs_no_energy():
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(50, 3, generator=rng) < 0.5).float()
    assert diagnosis._probed(BlockGibbs(), Machine(), x, rng) == (0, 0)


@pytest.mark.parametrize("wrapper", [Counted, Watched])
def test_a_wrapper_has_conditionals_if_the_energy_inside_has_them(wrapper):
    wrapped, x = wrapper(wrapper(Machine())), torch.ones(4, 3)
    assert isinstance(wrapped, Conditionals)
    assert not isinstance(wrapper(Neural(lambda x: x.sum(1))), Conditionals)
    found = sample(BlockGibbs(), wrapped, x, 3, torch.Generator().manual_seed(1))
    assert torch.equal(found, sample(BlockGibbs(), Machine(), x, 3, torch.Generator().manual_seed(1)))
    alike = copy.deepcopy(wrapped)
    with torch.no_grad():
        alike.energy.energy.weights.fill_(-1e6)
    rng = torch.Generator().manual_seed(1)
    assert (alike.sample_hidden(x, rng) == 0).all(), "the copy asks its own energy"
    assert (wrapped.sample_hidden(x.repeat(20, 1), rng) == 1).any()


def test_states_without_a_finite_energy_are_counted_and_reported(wide: Path, tmp_path: Path, capsys) -> None:
    rng = torch.Generator().manual_seed(0)
    half = Neural(lambda x: torch.where(x[:, 0] < 0, torch.inf, x.square().sum(1) / 2))
    gradients, share = diagnosis._probed(Compiled(mala(1.0)), half, torch.rand(200, 2, generator=rng), rng)
    assert gradients == 1 and 0.1 < share < 0.5
    replicas = replica_exchange(mala(1.0), [1.0, 2.0, 4.0])
    assert diagnosis._probed(replicas, half, torch.rand(200, 2, generator=rng), rng)[0] == pytest.approx(3)

    assert record(wide)["nonfinite"] == 0
    assert "rejected" not in said(wide) + page(wide)
    run = shutil.copytree(wide, tmp_path / "run")
    found = record(run) | {"nonfinite": 0.123}
    (run / "diagnosis.json").write_text(json.dumps(found))
    assert re.search(r"rejected, no finite energy\s+12\s%", page(run))
    diagnose._show(found)
    assert "12 % of the states that were tried have no finite energy" in capsys.readouterr().out
