"""Kernels that are tuned along a path: do they go as far as each beta allows?"""

import pytest
import torch

from erg.energies import Counted, Gaussian, Neural, Path
from erg.samplers import Along, Compiled, ais, gwg, hmc, mala, reverse_ais, smc, ula, warmup_along


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def path(variance=0.05):
    """From a broad law to a narrow one elsewhere."""
    target = Gaussian.isotropic(torch.full((3,), 0.5), variance=variance)
    return Path(Gaussian.isotropic(torch.zeros(3), variance=4.0), target)


def test_the_reciprocal_of_the_factor_is_linear_in_between():
    kernels = Along(mala(0.3), "step_size", (0.0, 0.5, 1.0), (2.0, 0.5, 0.1))
    assert [kernels(beta).proposal.step_size for beta in (0.0, 0.5, 1.0)] == pytest.approx([0.6, 0.15, 0.03])
    assert kernels(0.25).proposal.step_size == pytest.approx(0.3 / ((0.5 + 2) / 2))
    assert kernels(0.8).proposal.step_size == pytest.approx(0.3 / (2 + 0.6 * 8))


@pytest.mark.parametrize(("ratio", "excess"), [(2.0, 1.06), (10.0, 1.74)])
def test_lengths_become_too_large_in_between_by_as_much_as_is_told(ratio, excess):
    kernels, betas = Along(hmc(1.0, 2), "step_size", (0.0, 1.0), (1.0, 1 / ratio)), torch.linspace(0.0, 1.0, 401)
    found = torch.tensor([kernels(float(beta)).step_size for beta in betas])
    stable = (1 + betas * (ratio**2 - 1)) ** -0.5
    assert float((found / stable).max()) == pytest.approx((1 + ratio) / (2 * ratio**0.5), rel=1e-3)
    assert float((found / stable).max()) == pytest.approx(excess, abs=0.006)


@pytest.mark.parametrize("kernel", [mala(1e-4), Compiled(mala(30.0))], ids=["small", "large, compiled"])
def test_every_beta_is_accepted_as_often_as_the_algorithm_wants(kernel):
    kernels = warmup_along(path(), kernel, rng=seeded())
    found, fixed, far = (ais(path(), each, betas=30, chains=128, rng=seeded(1))
                         for each in (kernels, kernels(1.0), kernels(0.0)))  # fmt: skip
    assert (found.acceptance > 0.45).all() and (found.acceptance < 0.85).all()
    assert fixed.acceptance[0] > 0.85 and far.acceptance[-1] < 0.05, "one step size does not suit both ends"


def test_what_was_found_once_serves_all_estimates():
    energy = Counted(path().energy)
    line, betas, chains = Path(path().reference, energy), (0.0, 0.03, 0.3, 1.0), 32
    kernels = warmup_along(line, hmc(1.0, 2), betas=betas, chains=chains, steps=80, rng=seeded())
    assert kernels(0.3).leapfrogs == 2 and kernels(1.0).step_size < kernels(0.0).step_size / 4
    assert energy.gradients > 0 and kernels(0.7) == kernels(0.7)
    true = float(path().energy.log_z)
    forward = ais(line, kernels, betas=40, chains=128, rng=seeded(2))
    backward = reverse_ais(line, kernels, path().energy.exact_samples(128, seeded(3)), betas=40, rng=seeded(4))
    together = smc(line, kernels, chains=256, rng=seeded(5))
    for found in (forward, backward, together):
        assert abs(found.log_z.value - true) < 5 * found.log_z.standard_error
    assert min(forward.acceptance.min(), backward.acceptance.min()) > 0.5


def test_step_sizes_of_their_own_are_scaled_as_a_whole():
    own = torch.tensor([0.5, 1.0]).repeat(32)
    kernels = warmup_along(path(), mala(own), chains=64, betas=(0.0, 1.0), steps=40, rng=seeded())
    assert torch.allclose(kernels(1.0).proposal.step_size, own * kernels.factors[1])


def test_what_it_cannot_tune_is_refused():
    with pytest.raises(TypeError, match="Metropolis has no setting that its acceptance tunes; use it as it is"):
        warmup_along(path(), gwg())
    with pytest.raises(TypeError, match="makes every move"):
        warmup_along(path(), ula(0.1))
    with pytest.raises(TypeError, match=r"warmup_along\(\) starts at a reference with log_z"):
        warmup_along(Path(Neural(lambda x: x.square().sum(1)), path().energy), mala(0.1))
    for betas, steps in (((0.5, 0.5), 10), ((), 10), ((0.0, 1.0), 1)):
        with pytest.raises(ValueError, match=r"ascending betas|steps of at least 2"):
            warmup_along(path(), mala(0.1), betas=betas, steps=steps)
