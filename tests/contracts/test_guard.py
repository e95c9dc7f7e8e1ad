"""The divergence guard: what counts as divergence, what is put back, what is lowered, and when it gives up."""

import copy
import io
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from erg.energies import Neural
from erg.errors import UserError
from erg.negatives import Every, FromData, FromNoise, Persistent
from erg.objectives import MaximumLikelihood, Weighted
from erg.roles import Kernel
from erg.samplers import Constant, Scheduled, mala, random_walk, sgld, temperature, ula
from erg.samplers.rules import Position
from erg.support import Box
from erg.training import train
from erg.training.averaging import Averaged
from erg.training.guard import DivergenceError, Guard
from erg.training.scaling import scaled
from erg.training.signals import Detector, Limits
from erg.training.snapshots import restart
from erg.training.state import restore, states


class Run:
    """A tiny training run with every part that a guard looks after."""

    def __init__(self, **settings):
        self.rng = torch.Generator().manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.uniform_(-0.5, 0.5, generator=self.rng)
        self.energy = Neural(network, support=Box(-3.0, 3.0))
        self.optimizer = torch.optim.Adam(self.energy.parameters(), lr=1e-3)
        self.chains = Persistent(sgld(0.1, 0.4), 3, size=64)
        self.objective = Weighted({"likelihood": (1.0, MaximumLikelihood(self.chains))})
        self.averaged = Averaged(self.energy, 0.9)
        self.batches = [torch.randn(16, 2, generator=self.rng) for _ in range(400)]
        settings = {"snapshot_every": 10, "limits": Limits(window=20, patience=5)} | settings
        parts = {"energy": self.energy, "optimizer": self.optimizer, "objective": self.objective}
        self.guard = Guard(**parts, averaged=self.averaged, rng=self.rng, **settings)

    def losses(self, first=0, last=400):
        batches = self.batches[first:last]
        for loss in self.guard.watch(train(self.energy, self.objective, batches, self.optimizer, self.rng)):
            self.averaged.update()
            yield loss

    def everything(self):
        parts = {"energy": self.energy, "optimizer": self.optimizer, "objective": self.objective}
        return copy.deepcopy(states(parts | {"averaged": self.averaged, "rng": self.rng, "guard": self.guard}))

    @property
    def rate(self):
        return self.optimizer.param_groups[0]["lr"]

    @torch.no_grad()
    def poison(self):
        self.energy.network[0].weight[0, 0] = math.nan


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def test_a_start_that_is_not_finite_is_refused():
    run = Run()
    run.poison()
    with pytest.raises(UserError, match="finite weights, buffers, optimiser and chains before the first update"):
        next(run.losses())


def test_a_mask_of_infinities_is_no_divergence():
    run = Run()
    for energy in (run.energy, run.averaged.energy):
        energy.register_buffer("mask", torch.tensor([-math.inf, 0.0]), persistent=False)
    assert len(list(run.losses(0, 30))) == 30 and not run.guard.events


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_batch_is_skipped_and_changes_nothing_but_the_chains(value):
    run = Run()
    run.batches[3] = torch.full((16, 2), value)
    for step, loss in enumerate(run.losses(0, 5)):
        if step == 2:
            before = copy.deepcopy([run.energy.state_dict(), run.optimizer.state_dict()])
        if step == 3:
            assert not loss.value.isfinite()
            assert same(before, [run.energy.state_dict(), run.optimizer.state_dict()])
    assert [(event.step, event.kind, event.signal) for event in run.guard.events] == [(4, "skip", "non-finite")]
    assert run.guard.learning_rate_factor == run.guard.step_size_factor == 1.0
    assert run.chains.positions.isfinite().all()


def test_the_data_are_blamed_when_chains_start_at_them():
    run = Run()
    objective = MaximumLikelihood(FromData(ula(0.1), 2))
    run.batches[2:8] = [torch.full((16, 2), math.nan)] * 6
    guard = Guard(energy=run.energy, optimizer=run.optimizer, objective=objective, rng=run.rng)
    for _ in guard.watch(train(run.energy, objective, run.batches[:10], run.optimizer, run.rng)):
        pass
    assert [(event.kind, event.signal) for event in guard.events] == [("skip", "non-finite")] * 6


@dataclass(frozen=True)
class Lost(Kernel):
    """Leaves for nowhere."""

    step_size: float

    def init(self, energy, x):
        return Position(x)

    def step(self, energy, state, rng):
        return Position(state.x * math.nan), torch.zeros(len(state.x))


class Overflow(MaximumLikelihood):
    """A loss that is too large to be written down."""

    def __call__(self, energy, batch, rng=None):
        loss = super().__call__(energy, batch, rng)
        return loss._replace(value=loss.value * math.inf)


@pytest.mark.parametrize(
    ("objective", "kernel", "signal"),
    [(MaximumLikelihood, Lost(0.1), "chains"), (Overflow, ula(0.1), "gradients")],
)
def test_training_goes_back_when_sound_data_give_no_finite_loss(objective, kernel, signal):
    run = Run()
    run.chains.kernel, objective = kernel, objective(run.chains)
    before = copy.deepcopy(run.energy.state_dict())
    guard = Guard(energy=run.energy, optimizer=run.optimizer, objective=objective, rng=run.rng)
    for _ in guard.watch(train(run.energy, objective, run.batches[:3], run.optimizer, run.rng)):
        pass
    assert [event.kind for event in guard.events if event.kind != "repair"] == ["skip", "skip", "recovery"]
    assert guard.events[-1].signal == signal and guard.step_size_factor == 0.5
    assert same(before, run.energy.state_dict())


def test_weights_that_exploded_are_not_taken_for_a_bad_batch():
    run = Run()
    for step, _ in enumerate(run.losses(0, 14), start=1):
        if step == 12:
            for parameter in run.energy.parameters():
                parameter.data *= 1e30
    (event,) = run.guard.events
    assert (event.step, event.kind, event.signal) == (13, "recovery", "weights")


def test_when_no_batch_can_be_used_training_stops_with_one_sentence(tmp_path):
    run = Run(bad_batches=7, checkpoint=tmp_path / "last.pt")
    run.batches[5:] = [torch.full((16, 2), math.nan)] * 395
    before = None
    with pytest.raises(DivergenceError, match="7 batches in a row") as error:
        for step, _ in enumerate(run.losses()):
            before = copy.deepcopy(run.energy.state_dict()) if step == 4 else before
    assert str(tmp_path / "last.pt") in str(error.value) and "\n" not in str(error.value)
    assert same(before, run.energy.state_dict())
    assert run.guard.events[-1].kind == "stop" and run.guard.step == 12


def test_a_gradient_many_times_larger_than_usual_is_not_followed():
    run = Run()
    run.batches[30] = run.batches[30] * 1e5
    for step, _ in enumerate(run.losses(0, 32)):
        if step == 29:
            before = copy.deepcopy([run.energy.state_dict(), run.optimizer.state_dict()])
        if step == 30:
            assert same(before, [run.energy.state_dict(), run.optimizer.state_dict()])
    assert [(event.step, event.kind, event.signal) for event in run.guard.events] == [(31, "skip", "gradient")]


def test_poisoned_weights_go_back_with_optimiser_average_and_chains_but_not_the_random_stream():
    run = Run()
    for step, _ in enumerate(run.losses(0, 18), start=1):
        if step == 9:
            saved = run.everything()  # the snapshot of step 10 is taken before the average follows
        if step == 10:
            snapshot = copy.deepcopy([run.energy.state_dict(), run.chains.positions])
            stream = run.rng.get_state()
        if step == 16:
            run.poison()
        if step == 17:
            assert same(snapshot, [run.energy.state_dict(), run.chains.positions])
            assert run.optimizer.state_dict()["state"][0]["step"] == 10
            assert run.averaged.updates == saved["averaged"]["updates"] + 1  # the caller's own, after going back
            assert not torch.equal(stream, run.rng.get_state())
    (event,) = run.guard.events
    assert (event.step, event.kind, event.signal) == (17, "recovery", "weights")
    assert "back to step 10" in event.action and "not finite" in event.detail
    assert run.guard.learning_rate_factor == 0.5 and run.rate == 0.5e-3
    assert run.guard.step_size_factor == 0.9 and run.chains.kernel.move.step_size == 0.1 * 0.9


def test_failures_soon_after_each_other_go_further_back_and_lower_more():
    run = Run()
    for step, _ in enumerate(run.losses(0, 60), start=1):
        if step in (38, 42):
            run.poison()
    first, second = run.guard.events
    assert "back to step 30" in first.action and "back to step 20" in second.action
    assert run.guard.learning_rate_factor == pytest.approx(0.05) and run.rate == pytest.approx(0.05e-3)


def test_failures_long_after_each_other_start_mildly_again():
    run = Run()
    for step, _ in enumerate(run.losses(0, 120), start=1):
        if step in (38, 99):
            run.poison()
    assert "back to step 90" in run.guard.events[1].action
    assert run.guard.learning_rate_factor == 0.25 and run.rate == pytest.approx(0.25e-3)


def test_it_gives_up_after_the_allowed_recoveries_with_finite_weights_in_place():
    run = Run(recoveries=2)
    with pytest.raises(DivergenceError, match="it went back 2 times"):
        for _ in run.losses():
            run.poison()
    assert all(parameter.isfinite().all() for parameter in run.energy.parameters())
    assert [event.kind for event in run.guard.events] == ["recovery", "recovery", "stop"]


def test_chains_that_are_not_finite_restart_without_lowering_anything():
    run = Run()
    for step, _ in enumerate(run.losses(0, 10), start=1):
        if step == 5:
            run.chains.positions[::2] = math.nan
    assert {event.kind for event in run.guard.events} == {"skip", "repair"}
    assert run.guard.learning_rate_factor == run.guard.step_size_factor == 1.0
    assert run.chains.positions.isfinite().all() and run.energy.network[0].weight.isfinite().all()


def test_a_snapshot_is_not_taken_of_what_is_not_finite():
    run = Run()
    for step, _ in enumerate(run.losses(0, 30), start=1):
        if step == 19:
            run.optimizer.state[run.energy.network[2].bias]["exp_avg"].fill_(math.nan)
    assert "back to step 10" in run.guard.events[-1].action


def test_the_chains_are_blamed_for_saturation_and_the_kernel_keeps_its_temperature():
    run = Run()
    run.chains.kernel = sgld(1e6, 0.4)
    guard = Guard(
        energy=run.energy, optimizer=run.optimizer, objective=run.objective, limits=Limits(patience=5), rng=run.rng
    )
    for _ in guard.watch(train(run.energy, run.objective, run.batches[:10], run.optimizer, run.rng)):
        pass
    assert guard.events[0].signal == "saturation"
    assert guard.step_size_factor == 0.5 * 0.1 and guard.learning_rate_factor == pytest.approx(0.81)
    move = run.chains.kernel.move
    assert temperature(move.step_size, move.noise) == pytest.approx(temperature(1e6, 0.4))


def test_a_resumed_guard_decides_as_one_that_was_never_stopped():
    whole, told = Run(), []
    for step, _ in enumerate(whole.losses(0, 60), start=1):
        if step in (24, 44, 47):
            whole.poison()
        if step == 40:
            file = io.BytesIO()
            torch.save(whole.everything(), file)
    resumed = Run(notify=told.append)
    file.seek(0)
    parts = {"energy": resumed.energy, "optimizer": resumed.optimizer, "objective": resumed.objective}
    parts |= {"averaged": resumed.averaged, "rng": resumed.rng, "guard": resumed.guard}
    restore(parts, torch.load(file, weights_only=True))
    assert resumed.chains.kernel.move.step_size == pytest.approx(0.1 * 0.9)
    for step, _ in enumerate(resumed.losses(40, 60), start=41):
        if step in (44, 47):
            resumed.poison()
    assert len(told) == 2 and len(resumed.guard.events) == 3
    assert same(whole.everything(), resumed.everything())


def test_numbers_are_shared_over_processes_before_they_are_judged():
    vectors = []
    run = Run(share=lambda vector: (vectors.append(vector), vector)[1])
    next(run.losses())
    assert vectors[0].ndim == 1 and vectors[0].isfinite().all()


def test_kernels_and_chains_are_found_inside_wrappers():
    run = Run()
    inner = FromNoise(Scheduled(ula(0.1), {"step_size": Constant(0.2)}), 2)
    objective = Weighted({"a": (1.0, MaximumLikelihood(Every(inner, 2))), "b": (1.0, MaximumLikelihood(run.chains))})
    guard = Guard(energy=run.energy, optimizer=run.optimizer, objective=objective, rng=run.rng)
    for step, _ in enumerate(guard.watch(train(run.energy, objective, run.batches[:3], run.optimizer, run.rng))):
        if step == 0:
            run.poison()
    assert inner.kernel.at(0).move.step_size == pytest.approx(0.2 * 0.9)
    assert run.chains.kernel.move.step_size == pytest.approx(0.1 * 0.9)


def test_scaling_changes_step_sizes_and_leaves_other_kernels_alone():
    assert scaled(mala(0.4), 0.5) == mala(0.2)
    assert scaled(sgld(10.0, 0.005, clip=0.03), 0.25) == sgld(2.5, 0.0025, clip=0.03)
    assert scaled(random_walk(0.4), 0.5) == random_walk(0.4)
    assert scaled(ula(torch.tensor([0.2, 0.4])), 0.5).move.step_size.tolist() == pytest.approx([0.1, 0.2])
    scheduled = scaled(Scheduled(sgld(10.0, 0.005), {"noise": Constant(0.1)}), 0.25)
    assert scheduled.at(3) == sgld(2.5, 0.05)


def test_restarts_take_what_is_outside_or_everything(rng):
    energy = Neural(lambda x: x.sum(1), support=Box(-1.0, 1.0))
    buffer = Persistent(ula(0.1), 1, size=4, dtype=torch.float16)
    assert restart(buffer, energy, rng) == 0
    buffer.positions = torch.tensor([[0.5, 0.5], [2.0, 0.0], [math.nan, 0.0], [-1.0, 1.0]]).half()
    assert restart(buffer, energy, rng) == 2
    assert buffer.positions[0].tolist() == [0.5, 0.5] and buffer.positions[3].tolist() == [-1.0, 1.0]
    assert energy.support.contains(buffer.positions).all()
    assert restart(buffer, energy, rng, every=True) == 4 and buffer.positions[0].tolist() != [0.5, 0.5]


@pytest.mark.parametrize("setting", ["snapshot_every", "depth", "bad_batches"])
def test_counts_below_one_are_refused(setting):
    with pytest.raises(ValueError, match=setting):
        Run(**{setting: 0})


def test_limits_below_zero_are_refused():
    with pytest.raises(ValueError, match="patience"):
        Limits(patience=0)


LIMITS = Limits(window=40, patience=5)


def numbers(step, prefix="", **changes):
    """A healthy update: the gap swings around zero, the level wanders, the gradient norm varies threefold."""
    swing = math.sin(step / 3) + 0.3 * math.sin(2.7 * step)
    values = {"data": 0.1 * math.sin(step / 30), "gap": 0.2 * swing, "spread": 1.0, "norm": math.exp(0.5 * swing)}
    values |= changes
    return {
        f"{prefix}energy/data": values["data"],
        f"{prefix}energy/model": values["data"] + values["gap"],
        f"{prefix}energy/spread": values["spread"],
        f"{prefix}chain/saturated": values.get("saturated", 0.6),
        f"{prefix}data/saturated": 0.6,
        "gradient_norm": values["norm"],
    }


def alarms(change, prefix="", start=100, steps=60):
    """The signals that a change from `start` on raises, after a healthy time."""
    detector = Detector(LIMITS)
    before = [detector.look(numbers(step, prefix)) for step in range(start)]
    assert before == [None] * start
    found = [detector.look(numbers(step, prefix, **change(step))) for step in range(start, start + steps)]
    return {alarm.signal: alarm.cause for alarm in found if alarm is not None}


@pytest.mark.parametrize("prefix", ["", "likelihood/"])
@pytest.mark.parametrize(
    ("change", "signal", "cause"),
    [
        (lambda step: {"gap": 50.0}, "gap", "either"),
        (lambda step: {"gap": -50.0}, "gap", "either"),
        (lambda step: {"gap": 4.0, "spread": 0.5}, "separation", "either"),
        (lambda step: {"data": 30.0}, "drift", "weights"),
        (lambda step: {"data": 2e4}, "energy", "weights"),
        (lambda step: {"gap": 2e4}, "energy", "either"),
        (lambda step: {"saturated": 0.99}, "saturation", "chains"),
        (lambda step: {"norm": 1e-4}, "flat", "weights"),
    ],
)
def test_each_signal_is_raised(change, signal, cause, prefix):
    assert alarms(change, prefix).get(signal) == cause


def test_a_healthy_run_raises_nothing():
    assert alarms(lambda step: {}, steps=2000) == {}


def test_a_few_updates_out_of_line_raise_nothing():
    assert alarms(lambda step: {"gap": 50.0, "data": 30.0} if step % 10 < 4 else {}) == {}


def test_data_that_live_on_the_faces_raise_no_saturation():
    assert alarms(lambda step: {"saturated": 0.9}) == {}


def test_an_objective_without_energies_is_watched_by_its_gradient_only():
    detector = Detector(LIMITS)
    for step in range(50):
        assert detector.look({"loss": 1.0 / (step + 1), "gradient_norm": 1.0}) is None
    assert detector.steepest == pytest.approx(100.0)
