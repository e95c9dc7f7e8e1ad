"""A recipe with `Tuned` negatives: its runs sample with the step size that training found, resumed or not."""

import json
import shutil

import pytest
import torch
import yaml

from erg.errors import UserError
from erg.runs.config import reopen, resolve
from erg.runs.experiment import Experiment
from erg.runs.folder import RunFolder
from erg.runs.model import open_model, sampling_kernel
from erg.samplers.schedules import setting
from erg.training.checkpoint import Checkpoints
from tests.contracts import diagnosed
from tests.contracts.commands import erg

RECIPE = """\
name: tuned
data: {{name: table, path: {data}}}
network: {{class_path: erg.networks.MLP, init_args: {{hidden: [4]}}}}
objective:
  class_path: erg.objectives.MaximumLikelihood
  init_args:
    negatives:
      class_path: erg.negatives.Every
      init_args:
        updates: 2
        negatives:
          class_path: erg.negatives.Tuned
          init_args:
            rate: 2.0
            negatives:
              class_path: erg.negatives.Persistent
              init_args: {{kernel: {kernel}, steps: 3, size: 32}}
    penalties: {{magnitude: [0.1, {{class_path: erg.objectives.Magnitude}}]}}
optimizer: {{class_path: torch.optim.Adam, init_args: {{lr: 1.0e-3}}}}
sampler: {{steps: 4}}
validation: {{every: 6, samples: 8}}
steps: 12
batch_size: 16
log_every: 1
device: cpu
"""
KERNELS = {
    "step_size": "{class_path: erg.samplers.mala, init_args: {step_size: 1.0e-3}}",
    "scale": "{class_path: erg.samplers.random_walk, init_args: {scale: 1.0e-3}}",
}


@pytest.fixture(scope="module", params=KERNELS)
def run(request, tmp_path_factory):
    """The name of the setting, the recipe and a finished run of it."""
    root = tmp_path_factory.mktemp(request.param)
    recipe = root / "tuned.yaml"
    data = diagnosed.table(root / "rows.csv", aligned=False)
    recipe.write_text(RECIPE.format(data=data, kernel=KERNELS[request.param]))
    answer = erg("train", recipe, "--out", root / "run")
    assert answer.code == 0, answer
    return request.param, recipe, root / "run"


def made(recipe, path, *, stops=None):
    """A run of the recipe, stopped after so many updates and resumed."""
    resolved = resolve(str(recipe), [])
    for record in Experiment(resolved.recipe, RunFolder(path), config=resolved.text).run():
        if record.step == stops:
            break
    if stops is not None:
        for _ in Experiment(reopen(path / "config.yaml").recipe, RunFolder(path)).run():
            pass
    return path


def logged(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_run_samples_with_the_setting_that_training_found(run):
    name, _, path = run
    sizes = [line[f"chain/{name}"] for line in logged(path) if f"chain/{name}" in line]
    assert sizes[0] == pytest.approx(1e-3) and sizes[-1] > 10 * sizes[0]
    (tuned,) = json.loads((path / "energy.json").read_text())["config"]["tuned"].items()
    assert tuned[0] == name and tuned[1] >= sizes[-1] / sizes[0] * 0.99
    model = open_model(path)
    assert setting(model.kernel, name) == pytest.approx(1e-3 * tuned[1])
    x = model.energy.support.initial((64, 2), torch.Generator().manual_seed(0))
    found = model.draw(64, rng=torch.Generator().manual_seed(0))
    assert (found - x).abs().mean() > 0.05, "with the recipe's own setting chains would hardly move"


def test_the_best_checkpoint_is_sampled_with_the_setting_of_its_time(run):
    name, _, path = run
    payload = Checkpoints(path / "checkpoints").load_best()
    best = open_model(path, best=True)
    assert setting(best.kernel, name) == pytest.approx(1e-3 * payload["tuned"][name])
    if payload["step"] < 12:
        assert payload["tuned"][name] < json.loads((path / "energy.json").read_text())["config"]["tuned"][name]


def test_looks_at_samples_use_it_too(run):
    name, _, path = run
    experiment = Experiment(reopen(RunFolder(path).config).recipe, RunFolder(path))  # from its last checkpoint
    exported = json.loads((path / "energy.json").read_text())["config"]["tuned"][name]
    assert setting(sampling_kernel(experiment.recipe), name) == pytest.approx(1e-3 * exported)


def test_a_resumed_run_has_the_same_bits(run, tmp_path):
    _, recipe, path = run
    broken = made(recipe, tmp_path / "run", stops=5)
    for file in ("energy.safetensors", "energy.json"):
        assert (broken / file).read_bytes() == (path / file).read_bytes()


def test_a_resumed_run_goes_on_from_all_replicas(tmp_path):
    kernel = f"{{class_path: erg.samplers.replica_exchange, init_args: {{kernel: {KERNELS['step_size']}, "
    recipe, data = tmp_path / "replicas.yaml", diagnosed.table(tmp_path / "rows.csv", aligned=False)
    recipe.write_text(RECIPE.format(data=data, kernel=f"{kernel}temperatures: [1.0, 2.0, 5.0]}}}}"))
    whole, broken = made(recipe, tmp_path / "whole"), made(recipe, tmp_path / "broken", stops=5)
    saved, other = (Checkpoints(path / "checkpoints").load()["parts"][0] for path in (whole, broken))
    (buffer,) = (name for name, part in saved.items() if "positions" in part)
    assert saved[buffer]["positions"].shape == (32, 3, 2)
    assert torch.equal(saved[buffer]["positions"], other[buffer]["positions"])
    assert (whole / "energy.safetensors").read_bytes() == (broken / "energy.safetensors").read_bytes()
    assert setting(open_model(whole).kernel, "step_size") > 1e-2


def test_the_guards_cut_and_the_correction_are_both_applied(run, tmp_path):
    name, _, path = run
    before, path = setting(open_model(path).kernel, name), shutil.copytree(path, tmp_path / "run")
    content = json.loads((path / "energy.json").read_text())
    halved = content | {"config": content["config"] | {"step_size_factor": 0.5}}
    (path / "energy.json").write_text(json.dumps(halved))
    cut = 0.5 if name == "step_size" else 1.0  # the guard cuts step sizes only
    assert setting(open_model(path).kernel, name) == pytest.approx(cut * before)


@pytest.mark.parametrize("key", ["tuned", "step_size_factor"])
def test_a_run_of_an_older_format_is_refused_in_a_sentence(run, tmp_path, key):
    path = shutil.copytree(run[2], tmp_path / "run")
    content, checkpoints = json.loads((path / "energy.json").read_text()), Checkpoints(path / "checkpoints")
    payload = checkpoints.load_best()
    payload.pop(key)
    checkpoints.save_best(payload)
    with pytest.raises(UserError, match=f"best.pt is of an older format: it does not say '{key}'; use the version"):
        open_model(path, best=True)
    content["config"].pop(key)
    (path / "energy.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"energy.json is of an older format: it does not say '{key}'; use the"):
        open_model(path)


def test_a_sampler_of_ones_own_is_not_touched(run, tmp_path):
    path = shutil.copytree(run[2], tmp_path / "run")
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["sampler"]["kernel"] = {"class_path": "erg.samplers.mala", "init_args": {"step_size": 0.25}}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    assert open_model(path).kernel.proposal.step_size == 0.25
