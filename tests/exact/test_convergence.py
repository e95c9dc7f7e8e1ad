"""R-hat, effective sample sizes and autocorrelation against closed forms; errors against the spread over seeds."""

import math

import pytest
import torch
from torch import Tensor

from erg.estimate import Estimate
from erg.evaluation.convergence import (
    autocorrelation,
    bulk_size,
    convergence,
    gradients_per_draw,
    mode_jumps,
    nearest_mode,
    split_rhat,
    tail_size,
)


def autoregressive(rho: float, chains: int, steps: int, seed: int = 0) -> Tensor:
    """Chains x' = rho x + sqrt(1 - rho^2) noise, which start in their law N(0, 1)."""
    rng = torch.Generator().manual_seed(seed)
    x = [torch.randn(chains, generator=rng, dtype=torch.float64)]
    for _ in range(steps - 1):
        noise = torch.randn(chains, generator=rng, dtype=torch.float64)
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * noise)
    return torch.stack(x, 1)


@pytest.mark.parametrize("rho", [0.8, 0.4, -0.4])
def test_an_autoregressive_chain_has_its_known_autocorrelation_and_sample_size(rho):
    draws = autoregressive(rho, chains=16, steps=2000)
    found = autocorrelation(draws, lags=8)
    expected = torch.tensor([rho**t for t in range(9)], dtype=torch.float64)
    assert found.value[0] == pytest.approx(1, abs=1e-3)
    assert ((found.value[1:] - expected[1:]).abs() < 5 * found.standard_error[1:]).all()
    assert (found.standard_error[1:] < 0.03).all()
    cost = gradients_per_draw(draws, 3 * 16 * 2000)
    assert abs(cost.value - 3 * (1 + rho) / (1 - rho)) < 4 * cost.standard_error < 0.6 * cost.value
    assert bulk_size(draws).item() == pytest.approx(3 * 16 * 2000 / cost.value)


def test_the_autocorrelation_is_the_written_formula():
    draws = autoregressive(0.6, chains=3, steps=40) + torch.tensor([[0.0], [0.5], [-1.0]])
    n = 40
    a = []
    for t in range(6):
        centred = draws - draws.mean(1, keepdim=True)
        a.append((centred[:, : n - t] * centred[:, t:]).sum(1) / n)
    within, between = draws.var(1).mean(), draws.mean(1).var()
    expected = [1 - (within - a[t].mean()) / ((n - 1) / n * within + between) for t in range(6)]
    torch.testing.assert_close(autocorrelation(draws, lags=5).value, torch.stack(expected))


def test_the_error_of_a_mean_is_its_spread_over_seeds():
    found = [convergence(autoregressive(0.7, chains=4, steps=400, seed=seed)) for seed in range(60)]
    spread = torch.stack([each.mean for each in found]).std()
    claimed = torch.stack([each.standard_error for each in found]).mean()
    # The spread of 60 has a relative error of 9 %.
    assert claimed.item() == pytest.approx(spread.item(), rel=0.3)


def test_the_error_of_a_cost_is_its_spread_over_seeds():
    found = [gradients_per_draw(autoregressive(0.7, 12, 300, seed=seed), 12 * 300) for seed in range(30)]
    spread = torch.tensor([each.value for each in found]).std().item()
    claimed = sum(each.standard_error for each in found) / 30
    # The spread of 30 has a relative error of 13 %.
    assert claimed == pytest.approx(spread, rel=0.45)


def test_chains_that_disagree_in_location_or_in_spread_are_found():
    draws = torch.randn(4, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([0.0, 0.0, 2.0, 2.0], dtype=torch.float64)[:, None]
    scale = torch.tensor([1.0, 1.0, 4.0, 4.0], dtype=torch.float64)[:, None]
    drift = torch.linspace(0, 3, 400, dtype=torch.float64)
    rhat = split_rhat(torch.stack([draws, draws + shift, draws * scale, draws + drift], 2))
    assert rhat.shape == (4,)
    assert rhat[0] < 1.01 and (rhat[1:] > 1.1).all(), rhat


def test_quantities_of_any_shape_are_judged_one_by_one():
    draws = autoregressive(0.5, chains=6 * 4, steps=200).reshape(4, 2, 3, 200).permute(0, 3, 1, 2)
    together = convergence(draws)
    assert all(part.shape == (2, 3) for part in together)
    alone = convergence(draws[:, :, 1, 2])
    torch.testing.assert_close(torch.stack([part[1, 2] for part in together]), torch.stack(tuple(alone)))
    assert autocorrelation(draws).value.shape == (51, 2, 3)


def test_a_quantity_that_never_changes_says_nothing():
    draws = torch.stack([autoregressive(0.5, 4, 100), torch.full((4, 100), 0.1, dtype=torch.float64)], 2)
    found = convergence(draws)
    assert found.rhat[0] < 1.1 and found.rhat[1].isnan() and found.bulk[1].isnan() and found.tail[1].isnan()
    assert found.mean[1] == pytest.approx(0.1) and found.standard_error[1] == 0
    assert autocorrelation(draws).value[:, 1].isnan().all()
    assert gradients_per_draw(draws, 400).value == pytest.approx((400 / found.bulk[0]).item())
    assert gradients_per_draw(draws[..., 1], 400).value == math.inf


def test_chains_that_stand_still_apart_from_each_other_have_an_infinite_rhat():
    draws = torch.arange(4.0)[:, None].expand(4, 100)
    found = convergence(draws)
    assert found.rhat == math.inf and found.bulk <= 5 and found.tail <= 5
    assert (autocorrelation(draws).value > 0.99).all()


def test_one_chain_has_a_size_but_nothing_to_be_compared_with():
    draws = autoregressive(0.5, chains=1, steps=400)
    assert split_rhat(draws).isnan() and tail_size(draws) > 20
    found = autocorrelation(draws, lags=3)
    assert found.value[1].item() == pytest.approx(0.5, abs=0.2) and found.standard_error.isnan().all()
    assert math.isnan(gradients_per_draw(draws, 400).standard_error)


def test_jumps_are_counted_chain_by_chain():
    labels = torch.tensor([[0, 0, 1, 1, 0], [2, 2, 2, 2, 2], [0, 1, 2, 0, 1]])
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    x = centres[labels] + 0.5 * torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    jumps = mode_jumps(x, nearest_mode(centres))
    assert jumps.tolist() == [2, 0, 4]
    assert Estimate.of_mean(jumps.float()).value == 2
    assert mode_jumps(x[:, :1], nearest_mode(centres)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("figure", [convergence, split_rhat, bulk_size, tail_size, autocorrelation])
@pytest.mark.parametrize(
    ("draws", "said"),
    [
        (torch.zeros(4, 3), "at least one chain of 4 steps, but got shape \\(4, 3\\)"),
        (torch.zeros(0, 9), "but got shape \\(0, 9\\)"),
        (torch.tensor([[1.0, 2.0, math.nan, 3.0], [1.0, math.inf, 2.0, 3.0]]), "2 of 8 are not"),
    ],
)
def test_draws_that_say_nothing_are_refused(figure, draws, said):
    with pytest.raises(ValueError, match=said):
        figure(draws)


def test_a_cost_and_lags_that_make_no_sense_are_refused():
    draws = autoregressive(0.5, 2, 20)
    with pytest.raises(ValueError, match="positive number of gradients"):
        gradients_per_draw(draws, 0)
    with pytest.raises(ValueError, match="between 1 and 19"):
        autocorrelation(draws, lags=20)
    with pytest.raises(ValueError, match="at least one step"):
        mode_jumps(torch.zeros(2, 0, 1), nearest_mode(torch.zeros(1, 1)))
