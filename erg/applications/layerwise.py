r"""Layer-wise pretraining of deep Boltzmann machines.

Each layer is learned by a restricted Boltzmann machine on what the one below makes of the data. In the deep machine
an inner layer hears two neighbours, in a restricted one only one; so the one that is heard counts twice, as two
copies with tied weights. Two bits under the same field are a unit of their own, :math:`\bar x = (x_1 + x_2) / 2` with
:math:`A(f) = 2 \log(1 + e^{f / 2})`, and such a machine is an ordinary `RBM`: of pairs below and bits above in the
lowest, of bits below and pairs above in the highest, of pairs on both sides in between.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from erg import draws, rows
from erg.draws import Rng
from erg.energies.deep import DBM
from erg.energies.restricted import RBM
from erg.energies.units import Bits, Units
from erg.negatives import Persistent
from erg.objectives import Centred, MaximumLikelihood
from erg.samplers import BlockGibbs
from erg.support import Box, Support
from erg.training.loop import train

_CHUNK = 1000


@dataclass(frozen=True)
class Pairs(Units):
    """The mean of two bits under half of the field each: 0, 1/2 or 1."""

    support: ClassVar[Support] = Box(0.0, 1.0)

    def log_partition(self, field: Tensor) -> Tensor:
        """The sum of 2 softplus(f / 2)."""
        return 2 * softplus(field / 2, threshold=50.0).sum(-1)

    def mean(self, field: Tensor) -> Tensor:
        """The probability that one of them is 1."""
        return (field / 2).sigmoid()

    def sample(self, field: Tensor, rng: Rng = None) -> Tensor:
        """Two coins."""
        p = self.mean(field)
        return ((draws.uniform(field, rng) < p).to(p.dtype) + (draws.uniform(field, rng) < p).to(p.dtype)) / 2

    def field_of(self, mean: Tensor) -> Tensor:
        """Twice the log odds, of a mean in [0.01, 0.99]."""
        return 2 * Bits().field_of(mean)


def pretrained_dbm(
    x: Float[Tensor, "rows *event"],
    hidden: Sequence[int],
    *,
    epochs: int = 10,
    batch_size: int = 100,
    learning_rate: float = 0.05,
    rng: torch.Generator | None = None,
) -> DBM:
    """A deep machine whose layers were learned one upon the other, by centred persistent contrastive divergence.

    It is a start for training all layers together by `erg.objectives.VariationalLikelihood`.

    Args:
        x: Bits to learn from.
        hidden: Units of each hidden layer, from the lowest; two or more.
        epochs: Passes over the rows for each layer.
        batch_size: Rows an update, and chains.
        learning_rate: Of stochastic gradient descent; it falls to nothing along half a cosine.
        rng: The only source of randomness when given, but for the initial weights.

    Raises:
        ValueError: If there are fewer than two hidden layers, fewer rows than a batch has, or the rows are no bits.

    References:
        Salakhutdinov & Hinton (2009), Deep Boltzmann machines

    Example:
        >>> x = torch.eye(6).repeat(5, 1)
        >>> pretrained_dbm(x, [4, 3], epochs=2, batch_size=10).sizes
        (6, 4, 3)
    """
    if len(hidden) < 2 or len(x) < batch_size:
        raise ValueError(
            "Layer-wise pretraining takes two hidden layers or more and the rows of a batch, but got "
            f"hidden={tuple(hidden)} and {len(x)} rows for batches of {batch_size}; one layer is an RBM."
        )
    rows.whole("epochs", epochs, of="pretrained_dbm()")
    if elsewhere := int((~DBM.support.contains(x)).sum()):
        raise ValueError(
            f"A DBM learns from bits, but {elsewhere} of {len(x)} rows have other values; binarise them "
            "(data.binarise)."
        )
    means, machines = x, [machine.to(x) for machine in layer_machines(tuple(x.shape[1:]), hidden)]
    for machine in machines:
        machine.start_at(_drawn(means, rng))
        objective = Centred(MaximumLikelihood(Persistent(BlockGibbs(), 1, size=batch_size, fresh=0.0)))
        optimizer = torch.optim.SGD(machine.parameters(), lr=learning_rate)
        updates = epochs * (len(x) // batch_size)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
        for _ in train(machine, objective, _batches(means, batch_size, updates, rng), optimizer, rng):
            falling.step()
        with torch.no_grad():
            means = torch.cat([machine.hidden_mean(chunk) for chunk in means.split(_CHUNK)])
    dbm = stacked(machines)
    even = dbm.filled(x[:_CHUNK])
    dbm.machine.recentre(even.mean(0), dbm.machine.hidden_mean(even).detach().mean(0))
    return dbm


class PretrainedDBM(DBM):
    """A `DBM` that is pretrained layer by layer when it is started at data, see `pretrained_dbm`: for recipes.

    Args:
        shape: Of the visible event, or how many entries it has.
        hidden: Units of each hidden layer, from the lowest; two or more.
        epochs: Passes over the rows for each layer.
        batch_size: Rows an update, and chains.
        learning_rate: Of pretraining.
        tolerance: Of the mean field.
        iterations: Of the mean field, at most.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        hidden: Sequence[int],
        *,
        epochs: int = 5,
        batch_size: int = 100,
        learning_rate: float = 0.05,
        tolerance: float = 1e-3,
        iterations: int = 100,
    ) -> None:
        super().__init__(shape, hidden, tolerance=tolerance, iterations=iterations)
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate

    def start_at(self, x: Float[Tensor, "rows *event"]) -> None:
        """Pretrain on these rows, by torch's global random numbers.

        Raises:
            ValueError: If there are too few rows or layers, or the rows are no bits.
        """
        found = pretrained_dbm(
            x, self.sizes[1:], epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate
        )
        self.machine.load_state_dict(found.machine.state_dict())


def layer_machines(shape: Sequence[int], hidden: Sequence[int]) -> Iterator[RBM]:
    """The restricted machines that `stacked` makes a deep one of, from the lowest, with fresh weights."""
    sizes = (math.prod(shape), *hidden)
    last = len(hidden) - 1
    for layer, (low, high) in enumerate(pairwise(sizes)):
        yield RBM(
            low if layer else tuple(shape),
            high,
            units=Pairs() if layer < last else Bits(),
            hidden_units=Pairs() if layer > 0 else Bits(),
        )


def stacked(machines: Sequence[RBM]) -> DBM:
    """The deep machine of restricted ones that were learned one upon the other.

    Args:
        machines: From the lowest, with the units of `layer_machines`. An inner layer gets the mean of the biases that
            its two machines have for it.

    Raises:
        ValueError: If there are fewer than two, or their layers do not fit.
    """
    sizes = [len(machines[0].visible_bias), *(len(machine.hidden_bias) for machine in machines)] if machines else []
    if len(machines) < 2 or [len(machine.visible_bias) for machine in machines] != sizes[:-1]:
        raise ValueError(
            "A deep machine is stacked from two machines or more, each on the hidden layer of the one below, but got "
            f"(visible, hidden) = {[(len(each.visible_bias), len(each.hidden_bias)) for each in machines]}."
        )
    parts = [(machine.standard(), _copies(machine.units), _copies(machine.hidden_units)) for machine in machines]
    weights = [form.weight / (low * high) for form, low, high in parts]
    below = [form.visible_bias / low for form, low, _ in parts]
    above = [form.hidden_bias / high for form, _, high in parts]
    inner = [(lower + upper) / 2 for lower, upper in zip(above[:-1], below[1:], strict=True)]
    dbm = DBM(machines[0].shape, sizes[1:], scale=0.0).to(weights[0])
    return dbm.holding(weights, [below[0], *inner, above[-1]])


def _copies(units: Units) -> int:
    return 2 if isinstance(units, Pairs) else 1


def _drawn(means: Tensor, rng: Rng) -> Tensor:
    """Bits with these means; bits stay what they are."""
    return (draws.uniform(means, rng) < means).to(means.dtype)


def _batches(means: Tensor, size: int, count: int, rng: torch.Generator | None) -> Iterator[Tensor]:
    """Random rows without repetition within a pass, drawn anew each time."""
    order = means.new_empty(0, dtype=torch.long)
    for _ in range(count):
        if len(order) < size:
            order = draws.permutation(len(means), means.device, rng)
        yield _drawn(means[order[:size]], rng)
        order = order[size:]
