r"""Landscapes on which samplers are compared: curved, separated, ill-conditioned.

Each states its log Z, and all but Mueller-Brown draw exact samples, so that a chain can start at
the truth. Constants are Python numbers: the energy has the dtype of x, without rounding in between.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.energies.energy import Energy, check_event


class DoubleWell(Energy):
    r"""Two wells at :math:`x_1 = \pm a`, separated by a barrier of b nats; harmonic in the other directions.

    .. math:: E(x) = b \left((x_1 / a)^2 - 1\right)^2 + \tfrac12 \sum_{i \ge 2} x_i^2
    .. math:: Z = \tfrac\pi2\, a\, e^{-b/2} \left[I_{-1/4}(b/2) + I_{1/4}(b/2)\right] (2\pi)^{(d-1)/2}

    with modified Bessel functions I.

    Args:
        dimensions: d.
        barrier: b, in nats.
        well: a, the distance of the wells from the origin.

    Raises:
        ValueError: If a parameter is not positive.
    """

    def __init__(self, dimensions: int = 2, *, barrier: float = 4.0, well: float = 1.0) -> None:
        super().__init__()
        _check_dimensions(dimensions, 1, of=DoubleWell)
        rows.positive("barrier", barrier, of=DoubleWell)
        rows.positive("well", well, of=DoubleWell)
        self.dimensions, self.barrier, self.well = dimensions, barrier, well

    @property
    def log_z(self) -> float:
        """The log of the integral of exp(-E), in nats."""
        # The trapezoid rule converges faster than any power for analytic integrands that are flat at both ends.
        # Both wells are alike; beyond the reach exp(-E) is below the smallest float64.
        reach = math.sqrt(750 / self.barrier)
        u = torch.linspace(math.sqrt(max(1 - reach, 0)), math.sqrt(1 + reach), 4001, dtype=torch.float64)
        half = torch.trapezoid((-self.barrier * (u.square() - 1).square()).exp(), u).item()
        return math.log(2 * half) + math.log(self.well) + (self.dimensions - 1) / 2 * math.log(2 * math.pi)

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, (self.dimensions,), of=DoubleWell)
        across = self.barrier * ((x[:, 0] / self.well).square() - 1).square()
        return across + x[:, 1:].square().sum(1) / 2

    def exact_samples(self, n: int, rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "n dimensions"]:
        """Independent draws by rejection, in the dtype and on the device of `like`."""
        x = draws.normal(_empty(like, n, self.dimensions), rng)

        # With u = |x_1| / a the factor (u + 1)^2 of the exponent is at least 1, so a normal law around 1 covers it.
        def propose(fresh: Tensor) -> tuple[Tensor, Tensor]:
            u = 1 + draws.normal(fresh, rng) / math.sqrt(2 * self.barrier)
            log_ratio = -self.barrier * (u - 1).square() * ((u + 1).square() - 1)
            return u, log_ratio.masked_fill(u < 0, -math.inf)

        sign = torch.where(draws.uniform(x[:, 0], rng) < 0.5, -1.0, 1.0).to(x.dtype)
        x[:, 0] = self.well * sign * _rejection(propose, x[:, 0], rng)
        return x


class MuellerBrown(Energy):
    r"""The curved two-dimensional surface of reaction-path searches, with three minima.

    .. math:: E(x, y) = \sum_{k=1}^4 A_k \exp\left[a_k (x - X_k)^2 + b_k (x - X_k)(y - Y_k) + c_k (y - Y_k)^2\right]

    with A = (-200, -100, -170, 15), a = (-1, -1, -6.5, 0.7), b = (0, 0, 11, 0.6), c = (-10, -10, -6.5, 0.7),
    X = (1, 0, -0.5, -1), Y = (0, 0.5, 1.5, 1). The minima are near (-0.558, 1.442), (0.623, 0.028) and
    (-0.050, 0.467), at -146.70, -108.17 and -80.77; divide by a temperature to make crossings possible.

    References:
        Mueller & Brown (1979), Location of saddle points and minimum energy paths, doi:10.1007/BF00547608
    """

    log_z = 141.3782880781  # No closed form; the tests compare it with a quadrature of their own.
    terms = (
        (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
        (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
        (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
        (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
    )

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, (2,), of=MuellerBrown)
        height, a, b, c, centre_x, centre_y = x.new_tensor(self.terms).unbind(1)
        dx, dy = x[:, :1] - centre_x, x[:, 1:] - centre_y
        return (height * (a * dx.square() + b * dx * dy + c * dy.square()).exp()).sum(1)


class Funnel(Energy):
    r"""Neal's funnel: the first entry is the log variance of all others.

    .. math:: v \sim \mathcal N(0, s^2), \quad x_i \sim \mathcal N(0, e^v), \qquad
              E(v, x) = \frac{v^2}{2 s^2} + \sum_{i=1}^{d-1} \left(\tfrac12 e^{-v} x_i^2 + \tfrac v2\right)
    .. math:: \log Z = \log s + \tfrac d2 \log 2\pi

    Args:
        dimensions: d, the log variance included.
        scale: s, the standard deviation of the log variance.

    Raises:
        ValueError: If there are less than two dimensions, or `scale` is not positive.

    References:
        Neal (2003), Slice sampling, section 8, doi:10.1214/aos/1056562461
    """

    def __init__(self, dimensions: int = 10, *, scale: float = 3.0) -> None:
        super().__init__()
        _check_dimensions(dimensions, 2, of=Funnel)
        rows.positive("scale", scale, of=Funnel)
        self.dimensions, self.scale = dimensions, scale

    @property
    def log_z(self) -> float:
        """The log of the integral of exp(-E), in nats."""
        return math.log(self.scale) + self.dimensions / 2 * math.log(2 * math.pi)

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, (self.dimensions,), of=Funnel)
        v, rest = x[:, 0], x[:, 1:]
        narrow = ((-v).exp() * rest.square().sum(1) + (self.dimensions - 1) * v) / 2
        return (v / self.scale).square() / 2 + narrow

    def exact_samples(self, n: int, rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "n dimensions"]:
        """Independent draws, in the dtype and on the device of `like`."""
        x = draws.normal(_empty(like, n, self.dimensions), rng)
        v = self.scale * x[:, :1]
        return torch.cat([v, (v / 2).exp() * x[:, 1:]], dim=1)


class Rings(Energy):
    r"""Concentric rings in the plane, with radii :math:`r_k` and width s.

    .. math:: E(x) = -\log \sum_k \exp\left[-\frac{(\|x\| - r_k)^2}{2 s^2}\right]
    .. math:: Z = \sum_k Z_k, \quad
              Z_k = 2\pi \left[s^2 e^{-r_k^2 / 2s^2} + \sqrt{2\pi}\, s\, r_k\, \Phi(r_k / s)\right]

    with the normal distribution function Phi. At the origin, where the norm has a kink, the gradient is 0.

    Args:
        radii: One per ring.
        width: s.

    Raises:
        ValueError: If there is no ring, or a radius or the width is not positive.
    """

    def __init__(self, radii: Sequence[float] = (1.0, 2.0, 3.0), *, width: float = 0.1) -> None:
        super().__init__()
        if not radii:
            raise ValueError("Rings needs at least one radius, but got none.")
        for radius in radii:
            rows.positive("radius", radius, of=Rings)
        rows.positive("width", width, of=Rings)
        self.radii, self.width = tuple(radii), width

    @property
    def log_z(self) -> float:
        """The log of the integral of exp(-E), in nats."""
        return math.log(sum(self._volume(radius) for radius in self.radii))

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, (2,), of=Rings)
        distance = (torch.linalg.vector_norm(x, dim=1, keepdim=True) - x.new_tensor(self.radii)) / self.width
        return -(-distance.square() / 2).logsumexp(1)

    def exact_samples(self, n: int, rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "n 2"]:
        """Independent draws by rejection, in the dtype and on the device of `like`."""
        template = _empty(like, n)
        volumes = [self._volume(radius) for radius in self.radii]
        below = torch.tensor(volumes, dtype=torch.float64, device=template.device).cumsum(0)
        uniform = draws.uniform(template.double(), rng)
        which = torch.searchsorted(below[:-1] / below[-1], uniform, right=True)
        chosen = template.new_tensor(self.radii)[which]
        # A radius has density r exp(-(r - r_k)^2 / 2s^2). Its mode m gives r <= m exp(r / m - 1), and the product
        # with that bound is a normal law around m.
        mode = (chosen + (chosen.square() + 4 * self.width**2).sqrt()) / 2

        def propose(fresh: Tensor) -> tuple[Tensor, Tensor]:
            ratio = 1 + self.width * draws.normal(fresh, rng) / mode
            return ratio * mode, torch.where(ratio > 0, ratio.clamp_min(0).log() + 1 - ratio, -math.inf)

        radius = _rejection(propose, template, rng)
        angle = 2 * math.pi * draws.uniform(template, rng)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)

    def _volume(self, radius: float) -> float:
        z = radius / self.width
        below = (1 + math.erf(z / math.sqrt(2))) / 2
        return 2 * math.pi * self.width**2 * (math.exp(-z * z / 2) + math.sqrt(2 * math.pi) * z * below)


class Rosenbrock(Energy):
    r"""Independent pairs of coordinates, each on a curved narrow ridge (the even Rosenbrock density).

    .. math:: E(x) = \sum_{i=1}^{d/2} a (x_{2i-1} - 1)^2 + b (x_{2i} - x_{2i-1}^2)^2, \qquad
              \log Z = \tfrac d2 \log \frac{\pi}{\sqrt{ab}}

    The first of a pair is normal with mean 1 and variance 1/(2a), the second given the first is normal with
    mean :math:`x_{2i-1}^2` and variance 1/(2b). The defaults are those of Goodman & Weare.

    Args:
        dimensions: d, even.
        along: a, the curvature along the ridge.
        across: b, the curvature across it.

    Raises:
        ValueError: If d is odd or below 2, or a curvature is not positive.

    References:
        Goodman & Weare (2010), Ensemble samplers with affine invariance, doi:10.2140/camcos.2010.5.65
        Pagani, Wiegand & Nadarajah (2022), An n-dimensional Rosenbrock distribution for MCMC testing,
        doi:10.1111/sjos.12532
    """

    def __init__(self, dimensions: int = 2, *, along: float = 0.05, across: float = 5.0) -> None:
        super().__init__()
        _check_dimensions(dimensions, 2, of=Rosenbrock)
        if dimensions % 2:
            raise ValueError(f"Rosenbrock pairs its coordinates and needs an even number, but got {dimensions}.")
        rows.positive("curvature along", along, of=Rosenbrock)
        rows.positive("curvature across", across, of=Rosenbrock)
        self.dimensions, self.along, self.across = dimensions, along, across

    @property
    def log_z(self) -> float:
        """The log of the integral of exp(-E), in nats."""
        return self.dimensions / 2 * (math.log(math.pi) - math.log(self.along * self.across) / 2)

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, (self.dimensions,), of=Rosenbrock)
        first, second = x[:, ::2], x[:, 1::2]
        return (self.along * (first - 1).square() + self.across * (second - first.square()).square()).sum(1)

    def exact_samples(self, n: int, rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "n dimensions"]:
        """Independent draws, in the dtype and on the device of `like`."""
        noise = draws.normal(_empty(like, n, self.dimensions), rng)
        first = 1 + noise[:, ::2] / math.sqrt(2 * self.along)
        second = first.square() + noise[:, 1::2] / math.sqrt(2 * self.across)
        return torch.stack([first, second], dim=2).flatten(1)


def _rejection(propose: Callable[[Tensor], tuple[Tensor, Tensor]], like: Tensor, rng: Rng) -> Tensor:
    """One accepted proposal per entry. `propose` gives candidates and the logs of their acceptance probabilities."""
    draws.varies(rng)
    accepted = torch.empty_like(like)
    pending: Bool[Tensor, " n"] = torch.ones_like(like, dtype=torch.bool)
    while bool(pending.any()):
        candidate, log_ratio = propose(like)
        good = pending & (draws.uniform(like, rng).log() < log_ratio)
        accepted = torch.where(good, candidate, accepted)
        pending = pending & ~good
    return accepted


def _empty(like: Tensor | None, *shape: int) -> Tensor:
    return torch.empty(shape) if like is None else like.new_empty(shape)


def _check_dimensions(dimensions: int, least: int, *, of: type) -> None:
    if dimensions < least:
        raise ValueError(f"{of.__name__} needs at least {least} dimensions, but got {dimensions}.")
