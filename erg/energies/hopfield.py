r"""Hopfield networks: memories whose energy has its valleys at stored patterns.

The classical network couples spins in pairs, and :math:`N` spins hold about :math:`0.14 N` random patterns. A dense
memory scores the overlap :math:`m_\mu = \xi_\mu \cdot s / N` of a state with each pattern by a steeper function F,

.. math:: E(s) = -N \sum_\mu F(m_\mu),

so that the best match outweighs the sum of all others: a power n holds of the order of :math:`N^{n-1}` patterns, an
exponential holds exponentially many. With :math:`F(m) = m^2 / 2` it is the classical network with Hebb's couplings.

States are spins, or bits that are read as the spins 2 x - 1. Memories are recalled by `erg.applications.memory`.
"""

from math import log, prod

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.energies.energy import Energy, check_event
from erg.energies.separations import Exponential, Separation
from erg.support import Binary, Real, Spin, Support

TwoValued = Binary | Spin
CHUNK = 8192
"""Patterns that are compared with a batch at a time."""


class Hopfield(Energy):
    r"""The classical network :math:`E(s) = -\tfrac12 s^\top J s`, with no spin coupled to itself.

    Args:
        couplings: J, symmetric; its diagonal is dropped, which on spins only shifts the energy.
        shape: Of one event; one line of spins when left out.
        support: `Spin`, or `Binary` for bits x that are read as s = 2 x - 1.

    Raises:
        ValueError: If the couplings are not square, symmetric and finite, or do not fit the shape.

    References:
        Hopfield (1982), Neural networks and physical systems with emergent collective computational abilities,
        doi:10.1073/pnas.79.8.2554

    Example:
        >>> pattern = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
        >>> energy = Hopfield.hebbian(pattern)
        >>> energy(torch.cat([pattern, torch.ones(1, 4)]))
        tensor([-1.5000,  0.5000])
    """

    couplings: Tensor
    support: TwoValued

    def __init__(
        self,
        couplings: Float[Tensor, "spins spins"],
        *,
        shape: tuple[int, ...] | None = None,
        support: Support = Spin(),
    ) -> None:
        super().__init__()
        self.shape = tuple(couplings.shape[:1]) if shape is None else tuple(shape)
        spins = prod(self.shape)
        if couplings.shape != (spins, spins):
            raise ValueError(
                f"Hopfield couples {spins} spins, so J has shape ({spins}, {spins}), but got "
                f"{tuple(couplings.shape)}; give one row and column for each spin."
            )
        if not bool(couplings.isfinite().all()) or not torch.allclose(couplings, couplings.mT):
            raise ValueError("Hopfield needs finite, symmetric couplings, but got others; pass (J + J.mT) / 2.")
        self.register_buffer("couplings", couplings - couplings.diagonal().diag())
        self.support = _two_valued(support, of=Hopfield)

    @classmethod
    def hebbian(cls, patterns: Float[Tensor, "patterns *event"], *, support: Support = Spin()) -> "Hopfield":
        r"""Hebb's rule :math:`J = \frac1N \sum_\mu \xi_\mu \xi_\mu^\top`.

        Raises:
            ValueError: If there is no pattern, or one is not on the support.
        """
        spins = _stored(patterns, support, of=cls)
        return cls(spins.mT @ spins / spins.shape[1], shape=patterns.shape[1:], support=support)

    @classmethod
    def pseudo_inverse(cls, patterns: Float[Tensor, "patterns *event"], *, support: Support = Spin()) -> "Hopfield":
        r"""The projection on the span of the patterns, :math:`J = \Xi^+ \Xi`: N - 1 independent ones are stable.

        Raises:
            ValueError: If there is no pattern, or one is not on the support.

        References:
            Kanter & Sompolinsky (1987), Associative recall of memory without errors, doi:10.1103/PhysRevA.35.380
        """
        spins = _stored(patterns, support, of=cls).double()
        values, vectors = torch.linalg.eigh(spins.mT @ spins)
        span = vectors[:, values > 1e-9 * values[-1]]
        return cls((span @ span.mT).to(patterns.dtype), shape=patterns.shape[1:], support=support)

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, self.shape, of=Hopfield)
        s = _as_spins(x, self.support)
        return -0.5 * ((s @ self.couplings.to(x.dtype)) * s).sum(1)

    def gap(self, x: Float[Tensor, "batch *event"], site: int) -> Float[Tensor, " batch"]:
        """How much higher the energy is with a site at its higher value than at its lower one.

        Args:
            x: The states; their own value at the site does not matter.
            site: Which, counted through the event.
        """
        return -2 * (_as_spins(x, self.support) @ self.couplings[site].to(x.dtype))


class DenseMemory(Energy):
    r"""A dense associative memory: patterns as they are, and a function of the overlaps with them.

    Patterns are compared in chunks, so that 60,000 images need little more memory than themselves.

    Args:
        patterns: On the support.
        separation: F: `Polynomial`, `Rectified` or `Exponential`.
        support: `Spin`, or `Binary` for bits x that are read as s = 2 x - 1.

    Raises:
        ValueError: If there is no pattern, or one is not on the support.

    References:
        Krotov & Hopfield (2016), Dense associative memory for pattern recognition, arXiv:1606.01164
        Demircigil et al. (2017), On a model of associative memory with huge storage capacity, arXiv:1702.01929

    Example:
        >>> patterns = Spin().initial((200, 30), torch.Generator().manual_seed(0))
        >>> memory = DenseMemory(patterns, Exponential())
        >>> bool((memory(patterns) < memory(-patterns)).all())
        True
    """

    patterns: Tensor
    support: TwoValued

    def __init__(
        self,
        patterns: Float[Tensor, "patterns *event"],
        separation: Separation = Exponential(),
        *,
        support: Support = Spin(),
    ) -> None:
        super().__init__()
        self.shape, self.separation = tuple(patterns.shape[1:]), separation
        self.support = _two_valued(support, of=DenseMemory)
        self.register_buffer("patterns", _stored(patterns, support, of=DenseMemory))

    @property
    def concave(self) -> bool:
        """Whether the energy falls with all spins updated at once; see `erg.applications.memory`."""
        return self.separation.convex

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, self.shape, of=DenseMemory)
        s, spins = _as_spins(x, self.support), self.patterns.shape[1]
        parts = [self.separation.partial(s @ some.to(s).mT / spins, spins) for some in self.patterns.split(CHUNK)]
        return self.separation.energy(torch.stack(parts, 1))


class ContinuousMemory(Energy):
    r"""The modern Hopfield network on real vectors, whose update is the attention of transformers.

    .. math:: E(x) = -\frac1\beta \log \sum_\mu e^{\beta\, \xi_\mu \cdot x} + \tfrac12 \lVert x \rVert^2
        + \frac1\beta \log P + \tfrac12 \max_\mu \lVert \xi_\mu \rVert^2 \ge 0

    Its law at temperature 1 / :math:`\beta` is a mixture of Gaussians of variance 1 / :math:`\beta` at the patterns,
    weighted by :math:`e^{\beta \lVert \xi_\mu \rVert^2 / 2}`.

    Args:
        patterns: Real.
        sharpness: :math:`\beta`, positive.

    Raises:
        ValueError: If there is no pattern, one is not finite, or the sharpness is not positive.

    References:
        Ramsauer et al. (2020), Hopfield networks is all you need, arXiv:2008.02217

    Example:
        >>> memory = ContinuousMemory(3 * torch.eye(4), sharpness=2.0)
        >>> bool(memory(3 * torch.eye(4)).max() < memory(torch.zeros(1, 4)))
        True
    """

    patterns: Tensor
    support: Real

    def __init__(self, patterns: Float[Tensor, "patterns *event"], *, sharpness: float = 1.0) -> None:
        super().__init__()
        rows.positive("sharpness", sharpness, of=ContinuousMemory)
        _check(patterns, Real(), of=ContinuousMemory)
        self.shape, self.sharpness = tuple(patterns.shape[1:]), sharpness
        self.register_buffer("patterns", rows.flat(patterns))

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, self.shape, of=ContinuousMemory)
        flat = rows.flat(x)
        parts = [(self.sharpness * flat @ some.to(flat).mT).logsumexp(1) for some in self.patterns.split(CHUNK)]
        longest = self.patterns.square().sum(1).max().to(flat)
        nearest = (torch.stack(parts, 1).logsumexp(1) - log(len(self.patterns))) / self.sharpness
        return 0.5 * (rows.total(x.square()) + longest) - nearest


def _as_spins(x: Float[Tensor, "batch *event"], support: TwoValued) -> Float[Tensor, "batch spins"]:
    flat = rows.flat(x)
    return 2 * flat - 1 if isinstance(support, Binary) else flat


def _two_valued(support: Support, *, of: type) -> TwoValued:
    if not isinstance(support, Binary | Spin):
        raise TypeError(f"{of.__name__} lives on Spin or Binary, but got {support}; use ContinuousMemory on Real.")
    return support


def _stored(
    patterns: Float[Tensor, "patterns *event"], support: Support, *, of: type
) -> Float[Tensor, "patterns spins"]:
    two_valued = _two_valued(support, of=of)
    _check(patterns, two_valued, of=of)
    return _as_spins(patterns, two_valued)


def _check(patterns: Tensor, support: TwoValued | Real, *, of: type) -> None:
    if patterns.ndim < 2 or not len(patterns):
        raise ValueError(
            f"{of.__name__} stores patterns of shape (patterns, *event), at least one, but got "
            f"{tuple(patterns.shape)}."
        )
    outside = int((~support.contains(patterns)).sum())
    if outside:
        raise ValueError(
            f"{of.__name__} stores patterns on {support}, but {outside} of {len(patterns)} are not there; "
            "binarise them, or name their own support."
        )
