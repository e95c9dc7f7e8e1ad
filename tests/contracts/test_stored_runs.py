"""A run that stores its data: one step, and then a run like any other."""

import json

import pytest
import torch

from erg.applications import recall
from erg.data import load
from erg.energies import DenseMemory, Exponential, Polynomial, Rectified, StoredMemory
from erg.runs.model import open_model
from erg.support import Binary
from tests.contracts.commands import erg, refusal

TINY = ["hopfield-digits", "--network.slots=60", "--sampler.steps=3", "--validation.samples=8", "--device=cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "run"
    answer = erg("train", *TINY, "--out", folder)
    assert answer.code == 0 and "Report:" in answer.out, answer
    return folder


class TestRun:
    def test_it_is_finished_after_one_step(self, run):
        state = json.loads((run / "run.json").read_text())
        assert (state["status"], state["step"], state["steps"]) == ("finished", 1, 1)
        names = {name for line in (run / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}
        assert {"energy/data", "validation/quality"} <= names
        assert (run / "report.html").exists() and (run / "samples" / "final.png").exists()

    def test_what_is_stored_are_training_digits_and_they_are_recalled(self, run):
        model = open_model(run)
        assert isinstance(model.energy, StoredMemory)
        stored = (model.energy.memory.patterns.reshape(-1, 1, 8, 8) + 1) / 2
        digits = load("digits", binarise=0.5).train.x
        known = {tuple(row) for row in digits.flatten(1).tolist()}
        assert len(stored) == 60 and all(tuple(row) in known for row in stored.flatten(1).tolist())
        mask = (torch.arange(8)[:, None] < 4).expand(8, 8)
        _, group, count = torch.unique(stored[..., :4, :].flatten(1), dim=0, return_inverse=True, return_counts=True)
        apart = stored[count[group] == 1]
        found = recall(model.energy, torch.where(mask, apart, 0.5), mask)
        assert len(apart) > 50 and float((found.x == apart).flatten(1).all(1).float().mean()) > 0.8

    def test_commands_work_on_it(self, run):
        for command in (["evaluate", run, "-n", 8], ["sample", run, "-n", 4], ["report", run]):
            assert erg(*command).code == 0, command
        assert erg("score", run, run / "samples" / "samples.npy").code == 0
        assert "nothing to train" in erg("train", "--resume", run).out

    def test_lost_weights_are_stored_again(self, run):
        weights = run / "energy.safetensors"
        before = weights.read_bytes()
        weights.unlink()
        assert "written again" in erg("train", "--resume", run).out and weights.read_bytes() == before

    def test_a_run_that_was_killed_begins_again(self, run, tmp_path):
        state = json.loads((run / "run.json").read_text()) | {"status": "running", "step": 0}
        folder = tmp_path / "killed"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(state))
        (folder / "config.yaml").write_text((run / "config.yaml").read_text())
        (folder / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text())
        assert erg("train", "--resume", folder).code == 0
        assert (folder / "energy.safetensors").read_bytes() == (run / "energy.safetensors").read_bytes()
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            ("--network.slots=3000", "there are 1438 rows; set slots to at most that"),
            ("--network.slots=0", "slots of at least 1"),
            ("--steps=3", "in 1 step"),
            ("--sampler.kernel=null", "set sampler.kernel"),
            ("--data.binarise=null", "set data.binarise=0.5"),
            ("--network=erg.networks.ConvNet", "should store the data"),
            ("--optimizer=torch.optim.Adam", "objective and optimizer are null"),
        ],
    )
    def test_mistakes_are_one_line(self, option, said, tmp_path):
        assert said in refusal("train", *TINY, option, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestStoredMemory:
    def test_it_is_a_dense_memory_over_its_temperature(self):
        rng = torch.Generator().manual_seed(0)
        patterns, x = Binary().initial((7, 3, 4), rng), Binary().initial((5, 3, 4), rng)
        memory = StoredMemory((3, 4), slots=7, separation=Exponential(0.6), temperature=0.4)
        memory.store(patterns)
        torch.testing.assert_close(memory(x), DenseMemory(patterns, Exponential(0.6), support=Binary())(x) / 0.4)

    def test_it_knows_when_all_bits_may_move_at_once(self):
        for separation, concave in ((Exponential(), True), (Rectified(3), True), (Polynomial(3), False)):
            assert StoredMemory((4,), slots=2, separation=separation).concave == concave

    def test_the_generator_chooses_the_rows(self):
        rows = Binary().initial((50, 30), torch.Generator().manual_seed(0))
        first, second, third = (StoredMemory((30,), slots=9) for _ in range(3))
        for memory, seed in ((first, 0), (second, 0), (third, 1)):
            memory.store(rows, torch.Generator().manual_seed(seed))
        assert torch.equal(first.memory.patterns, second.memory.patterns)
        assert not torch.equal(first.memory.patterns, third.memory.patterns)

    def test_rows_off_the_support_are_refused(self):
        with pytest.raises(ValueError, match="binarise"):
            StoredMemory((4,), slots=2).store(torch.full((3, 4), 0.5))
