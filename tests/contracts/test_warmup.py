"""What warm-up takes, what it gives back, and what it costs."""

import copy
import io
from dataclasses import replace

import pytest
import torch

from erg.energies import Counted, Gaussian, Independent, Neural
from erg.negatives import Every, FromData, FromNoise, Persistent, Tuned
from erg.objectives import MaximumLikelihood
from erg.samplers import (
    Compiled,
    Geometric,
    LowPrecision,
    Metropolis,
    Parallel,
    Preconditioned,
    Scheduled,
    acs,
    advance,
    descent,
    dmala,
    gibbs,
    gwg,
    mala,
    mams,
    mclmc,
    random_walk,
    replica_exchange,
    sgld,
    tempered_transitions,
    ula,
    underdamped,
    warmup,
)
from erg.samplers.tuning.tunable import tuning_of
from erg.support import Binary, Box
from erg.training import train
from erg.training.guard import Guard
from erg.training.state import restore, states


def normal(x):
    return x.flatten(1).square().sum(1) / 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def coins():
    return Independent(torch.tensor([0.0, 2.0, -2.0] * 4), Binary())


# What it costs.


@pytest.mark.parametrize("steps", [40, 130])
@pytest.mark.parametrize("constructor", [mala, random_walk])
def test_a_step_costs_one_evaluation_and_starts_are_few(constructor, steps):
    energy = Counted(Gaussian.standard(3))
    warmup(constructor(0.3), energy, torch.randn(8, 3, generator=seeded()), steps, seeded())
    assert steps < energy.gradients + energy.values <= steps + 6


def test_a_tuned_kernel_repeats_nothing():
    energy = Counted(Gaussian.standard(3))
    kernel = warmup(mala(0.3), energy, torch.zeros(8, 3), 40, seeded())
    before = energy.gradients
    for _ in range(3):
        advance(kernel, energy, torch.zeros(8, 3), 1, seeded())
    assert energy.gradients - before == 3 * 2


@pytest.mark.parametrize("kernel", [gwg(), gibbs(), Compiled(gwg())], ids=["gwg", "gibbs", "compiled"])
def test_where_there_is_nothing_to_tune_nothing_is_evaluated(kernel):
    energy = Counted(coins())
    assert warmup(kernel, energy, Binary().initial((8, 12), seeded()), 100, seeded()) is kernel
    assert energy.gradients == energy.values == 0


@pytest.mark.parametrize(
    "kernel", [underdamped(0.1, 1.0), mclmc(0.2, 1.0), mams(0.2, 1.0)], ids=["underdamped", "mclmc", "mams"]
)
def test_kernels_that_could_tune_themselves_stay_as_they_are_if_all_is_given(kernel):
    energy = Counted(normal)
    assert warmup(kernel, energy, torch.randn(8, 2, generator=seeded()), 100, seeded()) is kernel
    assert energy.gradients == energy.values == 0


@pytest.mark.parametrize("kernel", [sgld(1.0, 0.1), descent(0.1)])
def test_recipes_and_descent_have_nothing_to_tune(kernel):
    assert warmup(kernel, normal, torch.zeros(4, 2), 100) is kernel


# What it gives back.


@pytest.mark.parametrize(
    "wrap", [Compiled, LowPrecision, lambda k: Parallel(k, 2), lambda k: Compiled(LowPrecision(k))]
)
def test_wrappers_stay_where_they_are_and_the_kernel_inside_is_tuned(wrap):
    x = torch.randn(32, 3, generator=seeded())
    given = wrap(mala(1e-4))
    kernel = warmup(given, normal, x, 150, seeded())
    inner, types, kept = kernel, [], []
    while not isinstance(inner, Metropolis):
        types.append(type(inner))
        inner = inner.kernel
    while not isinstance(given, Metropolis):
        kept.append(type(given))
        given = given.kernel
    assert types == kept
    assert inner.proposal.step_size == warmup(mala(1e-4), normal, x, 150, seeded()).proposal.step_size


def test_a_schedule_is_scaled_as_a_whole():
    given = Scheduled(mala(1.0), {"step_size": Geometric(1e-5, 1e-3, steps=10)})
    kernel = warmup(given, normal, torch.randn(32, 3, generator=seeded()), 200, seeded())
    first, last = (kernel.at(step).proposal.step_size for step in (0, 10))
    assert last / first == pytest.approx(100) and 0.3 < last < 3


def test_one_step_size_per_chain_is_scaled_as_a_whole():
    given = torch.linspace(1.0, 2.0, 16) / 1000
    kernel = warmup(mala(given), normal, torch.randn(16, 3, generator=seeded()), 200, seeded())
    torch.testing.assert_close(kernel.proposal.step_size / kernel.proposal.step_size[0], given / given[0])
    assert kernel.proposal.step_size[0] > 0.1


def test_a_scale_goes_inside_of_the_wrappers_or_replaces_the_one_that_is_there():
    variances = torch.tensor([1e-2, 1.0, 100.0])
    energy = Gaussian(torch.zeros(3), variances)
    x = energy.exact_samples(32, seeded())
    kernel = warmup(Compiled(mala(1.0)), energy, x, 200, seeded())
    assert isinstance(kernel, Compiled) and isinstance(kernel.kernel, Preconditioned)
    assert (advance(kernel, energy, x, 40, seeded())[1].mean() - 0.574).abs() < 0.1
    outside = warmup(Preconditioned(Compiled(mala(1.0)), torch.ones(3)), energy, x, 200, seeded())
    torch.testing.assert_close(outside.scale, variances.sqrt(), rtol=0.3, atol=0)
    torch.testing.assert_close(kernel.kernel.scale, variances.sqrt(), rtol=0.3, atol=0)
    assert isinstance(outside.kernel, Compiled) and isinstance(outside.kernel.kernel, Metropolis)
    walk = warmup(Preconditioned(random_walk(0.01), torch.ones(3)), energy, x, 200, seeded())
    torch.testing.assert_close(walk.scale, variances.sqrt(), rtol=0.3, atol=0)


def test_no_scale_without_mass_in_a_box_or_where_entries_are_alike():
    uneven = Gaussian(torch.zeros(2), torch.tensor([0.01, 1.0]))
    x = uneven.exact_samples(32, seeded())
    assert isinstance(warmup(mala(0.1), uneven, x, 100, seeded(), mass=False), Metropolis)
    kept = warmup(Preconditioned(mala(0.1), torch.tensor([1.0, 2.0])), uneven, x, 100, seeded(), mass=False)
    assert kept.scale.tolist() == [1.0, 2.0]
    assert isinstance(warmup(mala(0.1), normal, torch.randn(64, 2, generator=seeded()), 100, seeded()), Metropolis)
    box = Neural(uneven, support=Box(-1.0, 1.0))
    assert isinstance(warmup(mala(0.1), box, x.clamp(-1, 1), 100, seeded()), Metropolis)


def test_kernels_made_of_kernels_have_these_tuned_first():
    x = torch.randn(16, 2, generator=seeded())
    exchange = warmup(replica_exchange(mala(1e-4), [1.0, 3.0, 9.0]), normal, x, 200, seeded())
    assert exchange.kernel.proposal.step_size > 0.1
    assert exchange.temperatures[0] == 1.0 and exchange.temperatures[-1] == 9.0
    assert exchange.temperatures[1] != 3.0
    both = exchange.with_replicas()
    again = warmup(both, normal, x[:, None].expand(-1, 3, -1), 200, seeded())
    assert type(again) is type(both) and again.kernel.kernel.proposal.step_size > 0.1
    transitions = warmup(tempered_transitions(mala(1e-4), [1.0, 3.0]), normal, x, 100, seeded())
    assert transitions.kernel.proposal.step_size > 0.1 and transitions.temperatures == (1.0, 3.0)


def test_a_kernel_that_tunes_itself_is_replaced_by_its_suggestion():
    energy, x = coins(), Binary().initial((16, 12), seeded())
    watching = replace(acs(), period=4, cycles=2)
    kernel = warmup(watching, energy, x, watching.tuning_steps, seeded())
    assert type(kernel).__name__ == "CyclicalLangevin" and len(kernel.step_sizes) == 4
    wrapped = warmup(Compiled(watching), energy, x, watching.tuning_steps, seeded())
    assert torch.equal(wrapped.kernel.step_sizes, kernel.step_sizes)


def test_discrete_kernels_are_tuned():
    energy, x = coins(), Binary().initial((64, 12), seeded())
    kernel = warmup(dmala(1e-3), energy, x, 200, seeded())
    target = tuning_of(kernel).acceptance
    assert (advance(kernel, energy, x, 100, seeded())[1].mean() - target).abs() < 0.05


@pytest.mark.parametrize("event", [(), (1,), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_any_event_and_dtype(event, dtype):
    x = torch.randn(32, *event, generator=seeded()).to(dtype)
    before = x.clone()

    def energy(x):
        x = x.reshape(len(x), -1)
        return x.square().sum(1) / 2 + 30 * x[:, 0].square()

    kernel = warmup(mala(0.01), energy, x, 150, seeded())
    end, acceptance = advance(kernel, energy, x, 50, seeded())
    assert end.dtype == dtype and torch.equal(x, before)
    assert 0.4 < acceptance.mean() < 0.75
    assert isinstance(kernel, Preconditioned) == (len(event) > 1)


def test_dead_chains_and_regions_of_nan_do_not_spoil_the_setting():
    def broken(x):  # NaN beyond 3; beyond 20 nothing is within reach
        return torch.where(x[:, 0].abs() > 3, torch.nan, normal(x))

    x = torch.randn(40, 2, generator=seeded()).clamp(-2, 2)
    clean = warmup(mala(0.01), broken, x, 300, seeded()).proposal.step_size
    x[:8] = 1e6
    spoilt = warmup(mala(0.01), broken, x, 300, seeded()).proposal.step_size
    assert spoilt == pytest.approx(clean, rel=0.3)


# What it refuses.


def test_no_steps_no_chains_and_nowhere_to_go():
    with pytest.raises(ValueError, match="steps of at least 1, but got 0"):
        warmup(mala(0.1), normal, torch.zeros(4, 2), 0)
    with pytest.raises(ValueError, match=r"an acceptance between 0 and 1, but got 1\.5"):
        warmup(mala(0.1), Gaussian.standard(2), torch.zeros(2, 2), 10, acceptance=1.5)
    with pytest.raises(ValueError, match=r"warmup needs at least one chain, but got shape \(0, 2\); pass where"):
        warmup(mala(0.1), normal, torch.zeros(0, 2), 10)
    with pytest.raises(ValueError, match="proposals were rejected at any scale; start where the energy is finite"):
        warmup(random_walk(0.1), lambda x: x.sum(1) * torch.nan, torch.zeros(4, 2), 100)
    with pytest.raises(TypeError, match=r"Unadjusted\(Langevin\) makes every move.*tune Metropolis\(Langevin\)"):
        warmup(ula(0.1), normal, torch.zeros(4, 2), 10)
    with pytest.raises(TypeError, match=r"moves on Real or Box, but this energy lives on Binary"):
        warmup(mala(0.1), coins(), Binary().initial((8, 12), seeded()), 10)


def test_a_setting_whose_acceptance_never_falls_stays_as_it_is():
    assert warmup(random_walk(0.7), lambda x: x.sum(1) * 0, torch.zeros(8, 2), 100, seeded()) == random_walk(0.7)


# Negatives that correct their step.


def trained(negatives, energy=normal, calls=30, rng=None):
    rng = rng or seeded()
    for _ in range(calls):
        negatives(energy, torch.zeros(64, 3), rng)
    return float(negatives.monitor["chain/acceptance"])


@pytest.mark.parametrize("start", [1e-4, 100.0])
@pytest.mark.parametrize("holder", [FromData, FromNoise, Persistent])
def test_the_step_is_corrected_until_the_acceptance_is_in_the_band(holder, start):
    chains = holder(mala(start), steps=5)
    negatives = Tuned(chains, band=0.1)
    acceptance = trained(negatives, calls=60)
    assert abs(acceptance - 0.574) < 0.15
    assert chains.kernel.proposal.step_size == start
    assert 0.1 < negatives.monitor["chain/step_size"] < 3


def test_within_the_band_nothing_changes_and_never_is_anything_evaluated_in_addition():
    counts = []
    for wrap, start in ((lambda n: n, 0.9), (Tuned, 0.9), (lambda n: n, 9.0), (Tuned, 9.0)):
        energy = Counted(normal)
        negatives = wrap(Persistent(mala(start), steps=5, size=200))
        trained(negatives, energy, calls=6)
        counts.append(energy.gradients + energy.values)
        if wrap is Tuned:
            assert (negatives.log_factor == 0) == (start == 0.9)
    assert set(counts) == {6 * (5 + 1)}


def test_it_follows_an_energy_that_becomes_steep():
    negatives = Tuned(Persistent(mala(0.9), steps=5, size=200, fresh=0.0))
    trained(negatives)
    assert abs(trained(negatives, lambda x: 100 * normal(x), calls=60) - 0.574) < 0.15
    assert negatives.monitor["chain/step_size"] < 0.05


def test_a_resumed_correction_goes_on_to_the_same_bits():
    parts = [{"negatives": Tuned(Persistent(mala(0.01), steps=3, size=100)), "rng": seeded()} for _ in range(2)]
    trained(parts[0]["negatives"], calls=7, rng=parts[0]["rng"])
    file = io.BytesIO()
    torch.save(states(parts[0]), file)
    file.seek(0)
    restore(parts[1], torch.load(file, weights_only=True))
    found = [part["negatives"](normal, torch.zeros(64, 3), part["rng"]) for part in parts]
    assert torch.equal(*found)
    assert parts[0]["negatives"].monitor == parts[1]["negatives"].monitor


def test_a_cut_of_the_guard_is_not_undone():
    energy = Neural(torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0)))
    target = energy + normal
    chains = Persistent(mala(0.05), steps=3, size=100)
    negatives = Tuned(chains, rate=0.2)
    objective = MaximumLikelihood(negatives)
    optimizer = torch.optim.SGD(energy.parameters(), lr=1e-4)
    guard = Guard(energy=energy, optimizer=optimizer, objective=objective, snapshot_every=5)
    batches = [torch.randn(32, 3, generator=seeded()) for _ in range(40)]
    sizes = []
    for step, _ in enumerate(guard.watch(train(target, objective, batches, optimizer, seeded()))):
        sizes.append(float(negatives.monitor["chain/step_size"]))
        if step == 11:
            with torch.no_grad():
                energy.network[0].weight.fill_(torch.nan)
        if step == 20:
            saved = copy.deepcopy(states({"negatives": negatives}))
    assert guard.recovered == 1 and guard.step_size_factor < 1
    assert chains.kernel.proposal.step_size == pytest.approx(0.05 * guard.step_size_factor)
    assert sizes[9] > sizes[2] > sizes[0]
    assert max(sizes[13:]) <= max(sizes[:13]) * guard.step_size_factor * 1.001
    assert saved["negatives"]["ceiling"] < 10


def test_tuned_says_what_it_cannot_correct():
    with pytest.raises(TypeError, match=r"Unadjusted\(Langevin\) makes every move"):
        Tuned(FromData(ula(0.1), steps=1))
    with pytest.raises(TypeError, match=r"Unadjusted has no setting that its acceptance tunes; use mala\(\)"):
        Tuned(FromData(sgld(1.0, 0.1), steps=1))
    with pytest.raises(TypeError, match="of chains, as Persistent, but got Every; put Tuned inside of it"):
        Tuned(Every(FromData(mala(0.1), steps=1), updates=2))
    with pytest.raises(ValueError, match="band between 0 and 1 and a positive rate, but got band=0"):
        Tuned(FromData(mala(0.1), steps=1), band=0)
