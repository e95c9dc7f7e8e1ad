r"""Laws with independent entries: where annealing starts when x is discrete or boxed."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from erg import draws, rows
from erg.draws import Rng
from erg.energies.energy import Energy, check_event
from erg.roles import Group
from erg.support import Binary, Box, OneHot, Spin, Support


class Uniform(Energy):
    r"""The uniform law on a box: E = 0 inside, :math:`\log Z = d \log(\mathrm{high} - \mathrm{low})`.

    Args:
        shape: Of the event.
        support: The box.

    Example:
        >>> round(Uniform((2, 3), Box(-1.0, 1.0)).log_z / math.log(2), 6)
        6.0
    """

    support: Box

    def __init__(self, shape: tuple[int, ...], support: Box) -> None:
        super().__init__()
        self.shape, self.support = tuple(shape), support

    @property
    def log_z(self) -> float:
        """The log of the box's volume, in nats."""
        return math.prod(self.shape) * math.log(self.support.high - self.support.low)

    def forward(self, x: Tensor) -> Tensor:
        """Zeros of shape (batch,)."""
        check_event(x, self.shape, of=Uniform)
        return rows.total(x * 0.0)

    def exact_samples(self, n: int, rng: Rng = None) -> Float[Tensor, "n *event"]:
        """Independent draws."""
        return self.support.initial((n, *self.shape), rng)


class Independent(Energy):
    r"""Independent coins or dice: :math:`E(x) = -\sum_i l_i(x_i)`, with one logit a coin or a face.

    On `Binary` and `Spin` an entry is at its higher value with probability :math:`\sigma(l_i)` and
    :math:`\log Z = \sum_i \log(1 + e^{l_i})`; on `OneHot` a face has probability softmax(l) along the
    last axis and :math:`\log Z = \sum_i \log \sum_k e^{l_{ik}}`.

    Args:
        logits: Of the event's shape.
        support: `Binary`, `Spin` or `OneHot`.

    Raises:
        TypeError: If the support is not discrete.

    Example:
        >>> coins = Independent.uniform((3,), Spin())
        >>> round(float(coins.log_z), 4)
        2.0794
    """

    logits: Tensor
    support: Binary | Spin | OneHot

    def __init__(self, logits: Float[Tensor, "*event"], support: Support) -> None:
        super().__init__()
        if not isinstance(support, Binary | Spin | OneHot):
            raise TypeError(f"Independent lives on Binary, Spin or OneHot, but got {support}; use Uniform for a Box.")
        self.register_buffer("logits", logits)
        self.support = support

    @classmethod
    def uniform(cls, shape: tuple[int, ...], support: Binary | Spin | OneHot) -> "Independent":
        """Every state equally likely."""
        return cls(torch.zeros(shape), support)

    @property
    def log_z(self) -> Float[Tensor, ""]:
        """The log of the sum of exp(-E) over all states, in nats."""
        if isinstance(self.support, OneHot):
            return self.logits.double().logsumexp(-1).sum()
        return softplus(self.logits.double()).sum()

    @property
    def groups(self) -> tuple[Group, ...]:
        """All sites at once."""
        sites = self.logits[..., 0] if isinstance(self.support, OneHot) else self.logits
        return (Group(torch.arange(sites.numel(), device=sites.device), None),)

    def local_field(self, x: Float[Tensor, "sites *values batch"], sites: Int[Tensor, " chosen"]) -> Tensor:
        """Minus the derivative of the energy, the same for all chains."""
        if isinstance(self.support, OneHot):
            field = self.logits.flatten(0, -2)
        else:
            low, high = self.support.values
            field = self.logits.flatten() / (high - low)
        return field.to(x.dtype)[sites][..., None].expand(len(sites), *x.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, self.logits.shape, of=Independent)
        low, high = (0.0, 1.0) if isinstance(self.support, OneHot) else self.support.values
        return -rows.total(self.logits.to(x.dtype) * (x - low) / (high - low))

    def exact_samples(self, n: int, rng: Rng = None) -> Float[Tensor, "n *event"]:
        """Independent draws."""
        uniform = draws.uniform(self.logits.new_empty(n, *self.logits.shape), rng)
        if isinstance(self.support, OneHot):
            # Gumbel noise turns a maximum into a draw; 1 - u is never 0.
            gumbel = -(-(1 - uniform).log()).log()
            categories = torch.arange(self.logits.shape[-1], device=uniform.device)
            # Not one_hot(), which looks at values: a compiled step cannot.
            return ((self.logits + gumbel).argmax(-1, keepdim=True) == categories).to(uniform.dtype)
        low, high = self.support.values
        return torch.where(uniform < self.logits.sigmoid(), high, low).to(uniform.dtype)
