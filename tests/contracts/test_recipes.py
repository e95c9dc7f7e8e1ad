"""Every shipped recipe resolves, starts and runs; so does one of one's own."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from erg.errors import UserError
from erg.runs.config import resolve, shipped
from erg.runs.experiment import Experiment
from erg.runs.folder import RunFolder
from tests.contracts.commands import DIGITS, SMALL_NET, TINY, erg, pictures, refusal, table

# Recipes whose settings have other names; on scikit-learn's digits, since MNIST must be fetched.
MACHINE = ["--steps=2", "--batch_size=8", "--sampler.steps=2", "--validation.every=2", "--validation.samples=8",
           "--device=cpu", "--data.name=digits"]  # fmt: skip
MACHINES = {
    "rbm-mnist": [*MACHINE, "--network.hidden=4"],
    "rbm-mnist-500": [*MACHINE, "--network.hidden=4"],
    "deep-binary-mnist": [*MACHINE, "--network.network.channels=[2]", "--objective.negatives.size=16"],
}
OWN_DATA = {"digits": None, "mnist": "pictures", "images": "pictures", "table": "table"}


def overrides(name: str, folder: Path) -> list[str]:
    """Small settings, and data of one's own where the recipe's must be fetched or given."""
    if name in MACHINES:
        return MACHINES[name]
    kind = OWN_DATA[name]
    if kind == "table":
        return [*TINY, "--network.hidden=[4]", f"--data.path={table(folder / 'own.csv')}"]
    data = [] if kind is None else [f"--data.path={pictures(folder / 'pictures', size=12)}"]
    return [*TINY, *SMALL_NET, *data]


# tests/contracts/test_stored_runs.py, tests/contracts/test_layered_runs.py
ELSEWHERE = {"dbm-mnist", "gaussian-rbm-digits", "hopfield-digits", "ising-recovery"}


@pytest.mark.parametrize("name", sorted(set(shipped()) - ELSEWHERE))
def test_a_shipped_recipe_runs_two_steps(name, tmp_path):
    resolved = resolve(name, overrides(name, tmp_path))
    folder = RunFolder(tmp_path / "run")
    records = list(Experiment(resolved.recipe, folder, config=resolved.text).run())
    assert [record.step for record in records] == [1, 2]
    assert folder.read()["status"] == "finished" and folder.weights.exists()
    # What is run is what the resolved text says.
    file = tmp_path / "again.yaml"
    file.write_text(resolved.text)
    assert resolve(str(file)).text == resolved.text
    assert resolved.recipe.description and resolved.recipe.steps == 2


@pytest.mark.parametrize("name", ["images", "table"])
def test_recipes_for_own_data_ask_for_them(name, tmp_path):
    assert "give --data.path" in refusal("train", name, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_shorter_run_has_a_shorter_schedule(tmp_path):
    resolved = resolve("digits", [option for option in DIGITS[1:] if "steps=2" not in option] + ["--steps=4"])
    experiment = Experiment(resolved.recipe, RunFolder(tmp_path / "run"), config=resolved.text)
    experiment.tracker.close()
    base = experiment.optimizer.param_groups[0]["lr"]
    experiment.step = 4
    assert experiment._set_rate() == pytest.approx(base * 0.02)


@pytest.mark.parametrize("nothing", ["null", "None"])
def test_an_option_at_any_depth_can_be_nothing(nothing):
    options = ["clip_gradients", "objective.negatives.kernel.clip", "data.path"]
    text = resolve("digits", [f"--{option}={nothing}" for option in options]).text
    for option in options:
        found = yaml.safe_load(text)
        for part in option.split("."):
            found = found.get("init_args", found)[part]
        assert found is None
    assert resolve("digits", [word for option in options for word in (f"--{option}", nothing)]).text == text


def test_goals_are_for_the_recipes_own_data(tmp_path):
    path = f"--data.path={pictures(tmp_path / 'pictures')}"
    foreign = resolve("digits", [path])
    assert foreign.recipe.goals == {} and "goals: {}" in foreign.text
    assert foreign.notes == ("The goals of recipe digits are for its own data: this run has none.",)
    assert resolve("digits", ["--data.name=mnist"]).recipe.goals == {}
    assert set(resolve("digits", ["--data.noise=0.1"]).recipe.goals) == {"class_kl", "confidence", "auroc/noise"}
    own = resolve("digits", [path, "--goals={auroc/noise: ['>=', 0.5]}"])
    assert own.recipe.goals["auroc/noise"] == (">=", 0.5) and not own.notes
    file = tmp_path / "own.yaml"
    file.write_text(own.text)
    assert resolve(str(file)).text == own.text and not resolve(str(file)).notes


def test_a_run_on_foreign_data_says_that_it_has_no_goals_and_takes_all_of_a_few_rows(tmp_path):
    path = pictures(tmp_path / "pictures", rows=40)
    options = [*(option for option in DIGITS if "batch_size" not in option), "--objective.negatives.size=64"]
    answer = erg("train", *options, "--data.path", path, "--out", tmp_path / "run")
    assert answer.code == 0, answer
    assert "The goals of recipe digits are for its own data: this run has none.\n" in answer.out
    assert "There are 36 rows to train on: batch_size is 36, not 128.\n" in answer.out
    assert "\nbatch_size: 36\n" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_run_whose_data_have_shrunk_is_not_resumed(tmp_path):
    path = pictures(tmp_path / "pictures", rows=40)
    resolved = resolve("images", [*TINY, *SMALL_NET, f"--data.path={path}", "--batch_size=50"])
    Experiment(resolved.recipe, RunFolder(tmp_path / "run"), config=resolved.text).tracker.close()
    for file in sorted(path.iterdir())[:5]:
        file.unlink()
    assert "put the data back" in refusal("train", "--resume", tmp_path / "run")


OWN = """
import torch

class Own(torch.nn.Module):
    def __init__(self, shape, width=3):
        super().__init__()
        if width < 1:
            raise ValueError("Own needs a positive width.")
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[1] * shape[2], width),
                                          torch.nn.Dropout(), torch.nn.SiLU(), torch.nn.Linear(width, 1))

    def forward(self, x):
        return self.layers(x).squeeze(1)
"""


@pytest.fixture
def own_recipe(tmp_path, monkeypatch):
    """A recipe file with a class from a module beside it."""
    (tmp_path / "own_networks.py").write_text(OWN)
    resolved = yaml.safe_load(resolve("digits", DIGITS[1:]).text)
    resolved["network"] = {"class_path": "own_networks.Own", "init_args": {"width": 2}}
    resolved["goals"] = {}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(resolved))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "own.yaml"
    sys.modules.pop("own_networks", None)


def test_a_recipe_file_may_name_a_class_of_ones_own_and_its_run_must_be_trusted(own_recipe):
    answer = erg("train", own_recipe.name, "--network.width=4", "--out", "run")
    assert answer.code == 0, answer
    assert yaml.safe_load(Path("run/config.yaml").read_text())["network"]["init_args"] == {"width": 4}
    for arguments in (["sample", "run"], ["score", "run", "x.npy"], ["evaluate", "run"]):
        assert "--trust" in refusal(*arguments)
    assert erg("sample", "run", "-n", 2, "--trust").code == 0


def test_what_a_class_of_ones_own_complains_of_is_a_sentence(own_recipe):
    assert "Own needs a positive width" in refusal("train", own_recipe.name, "--network.width=0")
    assert "own_networks.Own" not in refusal("train", own_recipe.name, "--network.widht=1")
    own_recipe.with_name("own_networks.py").write_text("raise RuntimeError('no luck')")
    sys.modules.pop("own_networks", None)
    assert "no luck" in refusal("train", own_recipe.name)


def test_threads_are_those_of_the_recipe(tmp_path):
    before = torch.get_num_threads()
    try:
        resolved = resolve("digits", [*TINY, *SMALL_NET, "--threads=2"])
        Experiment(resolved.recipe, RunFolder(tmp_path / "run"), config=resolved.text).tracker.close()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with pytest.raises(UserError, match="threads is at least 1, but this recipe has threads=0"):
        resolve("digits", ["--threads=0"])
