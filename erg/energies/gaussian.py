r"""Gaussians and their mixtures: targets with known log Z and exact samples.

They are references for annealing and the ground truth of most tests. Covariances are factored once
at construction, :math:`\Sigma = L L^\top`, so an energy costs one product with :math:`L^{-1}`. Buffers follow
the dtype of what they were built from: build from float64 tensors for float64 accuracy.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.energies.energy import Energy, check_event


class Gaussian(Energy):
    r"""The energy of a normal law, :math:`E(x) = \tfrac12 (x - \mu)^\top \Sigma^{-1} (x - \mu)`.

    .. math:: \log Z = \tfrac d2 \log 2\pi + \tfrac12 \log\det\Sigma

    Args:
        mean: Of the event's shape.
        covariance: Either variances of the event's shape, or a matrix over the flattened event.

    Raises:
        ValueError: If the shapes do not fit, or the covariance is not symmetric and positive definite.

    Example:
        >>> energy = Gaussian(torch.zeros(2), torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> energy(torch.ones(3, 2))
        tensor([0.3333, 0.3333, 0.3333])
    """

    mean: Tensor
    factor: Tensor
    whitening: Tensor

    def __init__(self, mean: Float[Tensor, "*event"], covariance: Float[Tensor, "..."]) -> None:
        super().__init__()
        factor, whitening = _factored(covariance, mean.shape)
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)
        self.register_buffer("whitening", whitening)

    @classmethod
    def standard(cls, shape: int | tuple[int, ...]) -> "Gaussian":
        """Zero mean and unit covariance, on vectors of a length or events of a shape."""
        return cls.isotropic(torch.zeros(shape))

    @classmethod
    def isotropic(cls, mean: Float[Tensor, "*event"], *, variance: float = 1.0) -> "Gaussian":
        """The same variance in every direction."""
        return cls(mean, torch.full_like(mean, variance))

    @property
    def log_z(self) -> Float[Tensor, ""]:
        """The log of the integral of exp(-E), in nats."""
        return _log_volume(self.factor, diagonal=self.factor.ndim == 1)

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, self.mean.shape, of=Gaussian)
        centred, whitening = rows.flat(x - self.mean.to(x.dtype)), self.whitening.to(x.dtype)
        white = _multiplied(whitening, centred, diagonal=whitening.ndim == 1)
        return rows.total(white.square()) / 2

    def exact_samples(self, n: int, rng: Rng = None) -> Float[Tensor, "n *event"]:
        """Independent draws from the law itself."""
        noise = draws.normal(self.mean.new_empty(n, self.mean.numel()), rng)
        offsets = _multiplied(self.factor, noise, diagonal=self.factor.ndim == 1)
        return self.mean + offsets.reshape(n, *self.mean.shape)


class GaussianMixture(Energy):
    r"""Minus the log density of a mixture of normal laws, so that log Z = 0.

    .. math:: E(x) = -\log \sum_k w_k\, \mathcal N(x;\, \mu_k, \Sigma_k), \qquad \textstyle\sum_k w_k = 1

    Args:
        means: One mean of the event's shape a component.
        covariances: For each component variances of the event's shape, or a matrix over the flattened event.
        weights: Positive; divided by their sum. Equal when left out.

    Raises:
        ValueError: If the shapes do not fit, a covariance is not symmetric and positive definite, or a weight
            is not positive.

    Example:
        >>> two = GaussianMixture.isotropic(torch.tensor([[-2.0], [2.0]]), variance=0.25)
        >>> two.exact_samples(5).shape
        torch.Size([5, 1])
    """

    means: Tensor
    factors: Tensor
    whitenings: Tensor
    weights: Tensor

    def __init__(
        self,
        means: Float[Tensor, "components *event"],
        covariances: Float[Tensor, "components ..."],
        *,
        weights: Float[Tensor, " components"] | None = None,
    ) -> None:
        super().__init__()
        components = len(means)
        weights = means.new_ones(components) if weights is None else weights
        if components == 0 or weights.shape != (components,) or not bool((weights > 0).all()):
            raise ValueError(
                f"GaussianMixture needs one positive weight per component, but got {components} components "
                f"and weights {weights.tolist()}."
            )
        pairs = [_factored(each, means.shape[1:]) for each in covariances]
        self.register_buffer("means", means)
        self.register_buffer("factors", torch.stack([factor for factor, _ in pairs]))
        self.register_buffer("whitenings", torch.stack([whitening for _, whitening in pairs]))
        self.register_buffer("weights", weights / weights.sum())

    @classmethod
    def isotropic(
        cls,
        means: Float[Tensor, "components *event"],
        *,
        variance: float = 1.0,
        weights: Float[Tensor, " components"] | None = None,
    ) -> "GaussianMixture":
        """The same variance in every direction and component."""
        return cls(means, torch.full_like(means, variance), weights=weights)

    @property
    def log_z(self) -> Float[Tensor, ""]:
        """Zero: the components and weights are normalised."""
        return self.weights.new_zeros(())

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, self.means.shape[1:], of=GaussianMixture)
        means, whitenings = self.means.to(x.dtype).flatten(1), self.whitenings.to(x.dtype)
        diagonal = whitenings.ndim == 2
        white = _multiplied(whitenings, rows.flat(x)[:, None] - means, diagonal=diagonal)
        offsets = self.weights.log() - _log_volume(self.factors, diagonal=diagonal)
        return -(offsets.to(x.dtype) - white.square().sum(-1) / 2).logsumexp(1)

    def exact_samples(self, n: int, rng: Rng = None) -> Float[Tensor, "n *event"]:
        """Independent draws from the mixture itself."""
        below = self.weights.double().cumsum(0)
        uniform = draws.uniform(below.new_empty(n), rng)
        which = torch.searchsorted(below[:-1], uniform, right=True)
        noise = draws.normal(self.means.new_empty(n, self.means[0].numel()), rng)
        offsets = _multiplied(self.factors[which], noise, diagonal=self.factors.ndim == 2)
        return self.means[which] + offsets.reshape(n, *self.means.shape[1:])


def _factored(covariance: Tensor, event: torch.Size) -> tuple[Tensor, Tensor]:
    """L and its inverse, as vectors when variances of the event's shape are given."""
    size = event.numel()
    if covariance.shape == event:
        if not bool(((covariance > 0) & covariance.isfinite()).all()):
            raise ValueError(f"A Gaussian needs positive, finite variances, but got {covariance.tolist()}.")
        deviations = covariance.flatten().sqrt()
        return deviations, 1 / deviations
    if covariance.shape != (size, size):
        raise ValueError(
            f"A Gaussian on events of shape {tuple(event)} needs variances of that shape or a covariance matrix "
            f"of shape ({size}, {size}), but got shape {tuple(covariance.shape)}."
        )
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool(failed) or not torch.allclose(covariance, covariance.T):
        raise ValueError("A Gaussian needs a symmetric, positive definite covariance, but this one is not.")
    identity = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
    return factor, torch.linalg.solve_triangular(factor, identity, upper=False)


def _multiplied(matrix: Tensor, x: Tensor, *, diagonal: bool) -> Tensor:
    """L x or its inverse on the last axis of x; leading axes of both broadcast."""
    return matrix * x if diagonal else torch.einsum("...ij,...j->...i", matrix, x)


def _log_volume(factor: Tensor, *, diagonal: bool) -> Tensor:
    """The log Z of a Gaussian, one for each leading index."""
    entries = factor if diagonal else factor.diagonal(dim1=-2, dim2=-1)
    return entries.shape[-1] / 2 * math.log(2 * math.pi) + entries.log().sum(-1)
