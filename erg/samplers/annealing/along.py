"""A kernel tuned along a path: chains of the reference are taken along once, and what they met is used again."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import mul

import numpy as np
import torch

from erg import rows
from erg.draws import Rng
from erg.energies.algebra import Path
from erg.roles import Kernel
from erg.samplers.annealing.importance import check_reference
from erg.samplers.chain import sample
from erg.samplers.schedules import setting, with_setting
from erg.samplers.tuning.tunable import tuning_of
from erg.samplers.tuning.warmup import warmup


@dataclass(frozen=True)
class Along:
    r"""The kernel of each beta, for `ais`, `reverse_ais` and `smc`.

    Curvatures add up along a path, and a stable step size of Langevin is their reciprocal: that of the factor is
    interpolated. The step sizes of HMC and NUTS and the scale of a random walk are lengths, and go as its square
    root: between two betas where the factor differs q times they become too large, at worst by
    :math:`(1 + q) / (2 \sqrt q)`. That is 6 % for q = 2 and 74 % for q = 10; more betas there make it small.

    Args:
        kernel: With a setting to be changed.
        setting: Its name.
        betas: Where the factors are known, ascending.
        factors: What the setting is multiplied by.
    """

    kernel: Kernel
    setting: str
    betas: tuple[float, ...]
    factors: tuple[float, ...]

    def __call__(self, beta: float) -> Kernel:
        """The kernel at `beta`."""
        factor = 1 / float(np.interp(beta, self.betas, 1 / np.array(self.factors)))
        return with_setting(self.kernel, self.setting, partial(mul, factor))


def warmup_along(
    path: Path,
    kernel: Kernel,
    *,
    betas: Sequence[float] = (0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0),
    chains: int = 64,
    steps: int = 200,
    rng: Rng = None,
) -> Along:
    """Tune what the acceptance of a kernel tunes, as its step size, at a few betas of a path.

    Args:
        path: From a reference with exact samples.
        kernel: Its setting is the first guess; everything else stays as it is.
        betas: Where, ascending in [0, 1].
        chains: How many go along.
        steps: At each beta, half of them in `warmup`.
        rng: The only source of randomness when given.

    Raises:
        TypeError: If the kernel has nothing that its acceptance tunes, or the reference no exact samples.
        ValueError: If the betas do not ascend, or `steps` is below two.

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import mala
        >>> path = Path(Gaussian.standard(2), Gaussian.isotropic(torch.zeros(2), variance=1e-4))
        >>> kernels = warmup_along(path, mala(1.0), rng=torch.Generator().manual_seed(0))
        >>> kernels(1.0).proposal.step_size < 1e-3 < 0.3 < kernels(0.0).proposal.step_size
        True
    """
    reference, tuning = check_reference(path, of="warmup_along()"), tuning_of(kernel)
    if tuning is None:
        raise TypeError(f"{type(kernel).__name__} has no setting that its acceptance tunes; use it as it is.")
    rows.whole("chains", chains, of="warmup_along()")
    rows.whole("steps", steps, of="warmup_along()", least=2)
    if not isinstance(betas, Sequence):
        raise TypeError(f"warmup_along() needs a sequence of betas, but got {betas!r}; write (0.0, 0.1, 1.0).")
    if len(betas) < 1 or any(low >= high for low, high in itertools.pairwise(betas)):
        raise ValueError(f"warmup_along() needs ascending betas, but got {betas}.")
    x, given, factors, guess = reference.exact_samples(chains, rng), setting(kernel, tuning.setting), [], kernel
    for beta in betas:
        guess = warmup(guess, path(beta), x, steps // 2, rng, mass=False)
        x = sample(guess, path(beta), x, steps - steps // 2, rng)
        factors.append(float(torch.as_tensor(setting(guess, tuning.setting) / given).double().mean()))
    return Along(kernel, tuning.setting, tuple(betas), tuple(factors))
