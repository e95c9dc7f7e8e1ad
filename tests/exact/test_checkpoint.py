"""Checkpoints: nothing is lost, nothing damaged is believed, and what is restored is the same bit for bit."""

import os
import random
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from erg.errors import UserError
from erg.negatives import Every, Persistent
from erg.objectives import MaximumLikelihood, Weighted
from erg.samplers import ula
from erg.training import checkpoint, train
from erg.training.averaging import Averaged
from erg.training.checkpoint import Checkpoints
from erg.training.state import restore, rng_states, set_rng_states, stateful, states

SYSTEM_CALLS = ("open", "fsync", "replace", "chmod", "unlink")
# Forking is what is tested here; Python 3.12 warns that other threads would be lost.
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def payload(step, size=20_000):
    return {"step": step, "x": torch.full((size,), float(step)), "names": ["a", None, True], "pair": (1, 2.5)}


def whole(loaded):
    assert loaded["names"] == ["a", None, True] and loaded["pair"] == (1, 2.5)
    assert bool((loaded["x"] == loaded["step"]).all())
    return loaded["step"]


def in_child(action):
    """Run `action` in a forked process; returns its id at once."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return child


def test_a_payload_comes_back_and_the_one_before_is_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        checkpoints.save(payload(step))
    assert whole(checkpoints.load()) == 3
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["last.pt", "previous.pt"]
    checkpoints.last.unlink()
    assert whole(checkpoints.load()) == 2


def test_the_best_stands_beside_the_last(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(payload(1))
    checkpoints.save(payload(2))
    assert (whole(checkpoints.load_best()), whole(checkpoints.load())) == (1, 2)


def test_torch_reads_the_file_without_pickled_classes(tmp_path):
    Checkpoints(tmp_path).save(payload(7))
    assert whole(torch.load(tmp_path / "last.pt", weights_only=True)["payload"]) == 7


@forks
def test_a_kill_at_a_random_moment_loses_nothing(tmp_path):
    chance = random.Random(0)
    checkpoints = Checkpoints(tmp_path)
    started = time.monotonic()
    checkpoints.save(payload(0))
    duration = time.monotonic() - started
    done = kills = 0
    # A busy machine may kill many children before their first save: go on until some were killed later.
    while kills < 20 or done <= 5:
        kills += 1
        reader, writer = os.pipe()

        def save_for_ever(step=done, writer=writer):
            while True:
                step += 1
                checkpoints.save(payload(step))
                os.write(writer, step.to_bytes(8, "big"))

        child = in_child(save_for_ever)
        os.close(writer)
        time.sleep(chance.uniform(0, 4 * duration))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as pipe:
            reported = pipe.read()
        done = int.from_bytes(reported[-8:], "big") if reported else done
        step = whole(checkpoints.load(notify=pytest.fail))
        assert step in (done, done + 1)
        done = step
    checkpoints.save(payload(done + 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


@forks
def test_a_kill_before_any_system_call_loses_nothing(tmp_path):
    def killed_before(call_number, folder):
        calls = 0
        for name in SYSTEM_CALLS:

            def counted(*args, original=getattr(os, name), **kwargs):
                nonlocal calls
                calls += 1
                if calls == call_number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)

            setattr(os, name, counted)
        Checkpoints(folder).save(payload(3))

    for call_number in range(1, 50):
        folder = tmp_path / str(call_number)
        checkpoints = Checkpoints(folder)
        checkpoints.save(payload(1))
        checkpoints.save(payload(2))
        child = in_child(lambda number=call_number, folder=folder: killed_before(number, folder))
        died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert whole(checkpoints.load(notify=pytest.fail)) in ((2, 3) if died else (3,))
        # What is left behind does not disturb the next save.
        checkpoints.save(payload(4))
        checkpoints.save(payload(5))
        assert whole(checkpoints.load()) == 5
        assert sorted(path.name for path in folder.iterdir()) == ["last.pt", "previous.pt"]
        if not died:
            break
    assert call_number > 5 and not died


def test_truncation_anywhere_falls_back_to_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(payload(1, size=200))
    checkpoints.save(payload(2, size=200))
    content = checkpoints.last.read_bytes()
    for length in (0, 1, 54, 55, 56, len(content) // 2, len(content) - 56, len(content) - 1):
        checkpoints.last.write_bytes(content[:length])
        notices = []
        assert whole(checkpoints.load(notify=notices.append)) == 1
        assert len(notices) == 1 and "last.pt is incomplete" in notices[0] and "previous.pt" in notices[0]


def test_one_flipped_bit_anywhere_falls_back_to_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(payload(1, size=200))
    checkpoints.save(payload(2, size=200))
    content = checkpoints.last.read_bytes()
    chance = random.Random(0)
    for position in [*chance.sample(range(len(content)), 150), *range(len(content) - 55, len(content))]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << chance.randrange(8)
        checkpoints.last.write_bytes(flipped)
        notices = []
        assert whole(checkpoints.load(notify=notices.append)) == 1
        assert len(notices) == 1


def test_a_damaged_last_checkpoint_does_not_replace_the_good_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(payload(1))
    checkpoints.save(payload(2))
    os.truncate(checkpoints.last, 100)
    checkpoints.save(payload(3))
    assert whole(checkpoints.load(notify=pytest.fail)) == 3
    checkpoints.last.unlink()
    assert whole(checkpoints.load()) == 1


def test_when_nothing_can_be_read_a_sentence_says_so(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match="There is no checkpoint in"):
        checkpoints.load()
    with pytest.raises(UserError, match=r"best\.pt cannot be read"):
        checkpoints.load_best()
    checkpoints.save(payload(1))
    checkpoints.save(payload(2))
    os.truncate(checkpoints.last, 100)
    os.truncate(checkpoints.previous, 0)
    with pytest.raises(UserError, match=r"last\.pt is incomplete; .*previous\.pt is incomplete"):
        checkpoints.load()


def test_another_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    Checkpoints(tmp_path).save(payload(1))
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"format 99.*reads format 1.*resume with the version"):
        Checkpoints(tmp_path).load()


class Custom:
    pass


@pytest.mark.parametrize("value", [Custom(), np.float64(1.0), np.zeros(2), {1, 2}, lambda: 0, Path("a")])
def test_what_could_not_be_loaded_safely_is_not_saved(tmp_path, value):
    with pytest.raises(TypeError, match=r"payload\['a'\]\[1\] is a " + type(value).__name__):
        Checkpoints(tmp_path).save({"a": [0, value]})
    assert not list(tmp_path.iterdir())


def test_a_pickled_class_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "check_plain", lambda value: None)
    Checkpoints(tmp_path).save({"a": Custom()})
    with pytest.raises(UserError, match="more than tensors and plain data"):
        Checkpoints(tmp_path).load()


@pytest.mark.parametrize("size", [200, 100_000])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_ones(tmp_path, size):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(payload(1))
    checkpoints.save(payload(2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"Cannot write .*next\.pt: .*nothing that existed was changed"):
            checkpoints.save(payload(3, size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert whole(checkpoints.load()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="Cannot write"):
        Checkpoints(tmp_path / "file" / "checkpoints").save(payload(1))


def test_random_streams_are_restored_bit_for_bit():
    rng = torch.Generator().manual_seed(5)
    torch.randn(3, generator=rng)
    np.random.standard_normal(3)  # leaves half of a Gaussian pair cached
    saved = rng_states({"chains": rng})

    def draw():
        return [
            torch.randn(4, generator=rng).tolist(),
            torch.rand(4).tolist(),
            np.random.standard_normal(4).tolist(),
            random.random(),
        ]

    first = draw()
    assert first != draw()
    set_rng_states(saved, {"chains": rng})
    assert draw() == first


def test_random_streams_survive_a_checkpoint(tmp_path):
    rng = torch.Generator().manual_seed(5)
    Checkpoints(tmp_path).save(rng_states({"chains": rng}))
    expected = torch.randn(4, generator=rng), random.random(), np.random.rand()
    other = torch.Generator()
    set_rng_states(Checkpoints(tmp_path).load(), {"chains": other})
    assert (torch.randn(4, generator=other) == expected[0]).all()
    assert (random.random(), np.random.rand()) == expected[1:]
    with pytest.raises(UserError, match="random streams"):
        set_rng_states(Checkpoints(tmp_path).load(), {"other": rng})


class Run:
    """Everything that changes while a small model trains."""

    def __init__(self):
        torch.manual_seed(0)
        self.energy = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1), nn.Flatten(0))
        self.optimizer = torch.optim.Adam(self.energy.parameters(), 1e-2)
        chains = Every(Persistent(ula(0.05), 3, size=40, fresh=0.2, dtype=torch.float16), 2)
        self.objective = Weighted({"likelihood": (0.7, MaximumLikelihood(chains))})
        self.average = Averaged(self.energy, 0.95)
        self.rng = torch.Generator().manual_seed(1)
        self.step = 0

    @property
    def parts(self):
        return vars(self)

    def advance(self, updates):
        data = torch.randn(100, 16, 2, generator=torch.Generator().manual_seed(2))
        batches = data[self.step : self.step + updates]
        losses = []
        for loss in train(self.energy, self.objective, batches, self.optimizer, self.rng):
            self.average.update()
            losses.append({name: term.item() for name, term in loss.terms.items()})
        self.step += updates
        return losses


def bits(value):
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().view(torch.uint8).tolist() if value.ndim else value.item()
    if isinstance(value, dict):
        return {key: bits(child) for key, child in value.items()}
    return [bits(child) for child in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_resumed_run_is_bit_identical_to_one_that_was_never_stopped(tmp_path, stop):
    whole_run = Run()
    losses = whole_run.advance(9)
    interrupted = Run()
    interrupted.advance(stop)
    Checkpoints(tmp_path).save({"step": interrupted.step, "states": states(interrupted.parts)})

    resumed = Run()
    torch.randn(7, generator=resumed.rng)
    saved = Checkpoints(tmp_path).load()
    restore(resumed.parts, saved["states"])
    resumed.step = saved["step"]
    assert resumed.advance(9 - stop) == losses[stop:]
    assert bits(states(resumed.parts)) == bits(states(whole_run.parts))


def test_chains_that_are_not_restored_would_be_noticed():
    saved = Run()
    saved.advance(4)
    without_chains = Run()
    kept = states(saved.parts)
    kept["objective.objectives.likelihood.1.negatives.negatives"] = {}
    restore(without_chains.parts, kept)
    without_chains.step = 4
    assert without_chains.advance(2) != saved.advance(2)


def test_names_say_where_state_was_found():
    assert list(stateful(Run().parts)) == [
        "energy",
        "optimizer",
        "average",
        "rng",
        "objective.objectives.likelihood.1.negatives",
        "objective.objectives.likelihood.1.negatives.negatives",
    ]


def test_a_recipe_that_does_not_fit_is_refused():
    run = Run()
    saved = states(run.parts)
    saved["other"] = saved.pop("objective.objectives.likelihood.1.negatives")
    with pytest.raises(UserError, match=r"no state for \['objective.*negatives'\] and holds \['other'\]"):
        restore(run.parts, saved)
