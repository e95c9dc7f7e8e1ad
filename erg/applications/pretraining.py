"""Stacked machines as the first layers of a network: each learns the features of the one below."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erg import draws, rows
from erg.data.batches import batches
from erg.draws import Rng
from erg.energies.restricted import RBM
from erg.negatives import FromData
from erg.objectives import Centred, MaximumLikelihood
from erg.roles import Objective
from erg.samplers.discrete.gibbs import BlockGibbs
from erg.support import Binary
from erg.training.loop import train


def contrastive_divergence() -> Objective:
    """CD-1, centred."""
    return Centred(MaximumLikelihood(FromData(BlockGibbs(), steps=1)))


def pretrained(
    x: Float[Tensor, "rows *event"],
    sizes: Sequence[int],
    *,
    epochs: int = 10,
    batch_size: int = 100,
    learning_rate: float = 0.05,
    momentum: float = 0.5,
    objective: Callable[[], Objective] = contrastive_divergence,
    seed: int = 0,
) -> nn.Sequential:
    """Layers whose weights are those of restricted Boltzmann machines, trained greedily, one on top of the other.

    A machine learns bits that are drawn anew for every batch, with the hidden means of the machine below as their
    probabilities; the network passes the means on. Add a head and train it all by gradients.

    Args:
        x: Unlabelled rows with entries in [0, 1]: bits, or their probabilities.
        sizes: Of the hidden layers, from the data on.
        epochs: Over the rows, for each machine.
        batch_size: Rows an update.
        learning_rate: Of stochastic gradient descent, falling to 0 in a straight line.
        momentum: Of stochastic gradient descent.
        objective: Makes the objective of one machine.
        seed: Names the initial weights, the batches and all draws.

    Returns:
        ``Flatten, Linear, Sigmoid, Linear, Sigmoid, ...``

    Raises:
        ValueError: If there is no layer, or an entry is outside of [0, 1].

    References:
        Hinton, Osindero & Teh (2006), A fast learning algorithm for deep belief nets, doi:10.1162/neco.2006.18.7.1527

    Example:
        >>> body = pretrained(torch.ones(20, 2, 3), [4, 3], epochs=1, batch_size=10)
        >>> nn.Sequential(*body, nn.Linear(3, 10))(torch.ones(5, 2, 3)).shape
        torch.Size([5, 10])
    """
    rows.whole("epochs", epochs, of="pretrained()")
    if not sizes:
        raise ValueError("pretrained() needs the size of at least one hidden layer, but got none.")
    outside = int((~((x >= 0) & (x <= 1))).sum())
    if outside:
        raise ValueError(
            f"pretrained() learns from bits or their probabilities, entries in [0, 1], but {outside} entries are "
            "outside; scale them."
        )
    layers: list[nn.Module] = [nn.Flatten()]
    rng = torch.Generator(x.device).manual_seed(seed)
    means = x.flatten(1)
    for size in sizes:
        machine = RBM(means.shape[1], size, scale=0.0).to(means)
        machine.weight.data.copy_(0.01 * draws.normal(machine.weight, rng))
        machine.start_at(_bits(means, rng))
        updates = epochs * max(len(x) // batch_size, 1)
        source = (_bits(batch, rng) for batch in batches(means, batch_size, seed=seed, support=Binary()))
        _learn(machine, objective(), islice(source, updates), updates, learning_rate, momentum, rng)
        layers += [_as_linear(machine), nn.Sigmoid()]
        with torch.no_grad():
            means = machine.hidden_mean(means)
    return nn.Sequential(*layers)


def _bits(means: Tensor, rng: Rng) -> Tensor:
    return (draws.uniform(means, rng) < means).to(means.dtype)


def _learn(
    machine: RBM,
    objective: Objective,
    source: Iterator[Tensor],
    updates: int,
    learning_rate: float,
    momentum: float,
    rng: Rng,
) -> None:
    optimizer = torch.optim.SGD(machine.parameters(), lr=learning_rate, momentum=momentum)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1.0 / updates, total_iters=updates)
    for _ in train(machine, objective, source, optimizer, rng):
        schedule.step()


def _as_linear(machine: RBM) -> nn.Linear:
    """The fields of the hidden units as a layer."""
    weight, _, bias = machine.standard()
    layer = nn.Linear(*weight.shape).to(weight)
    layer.weight.data.copy_(weight.T)
    layer.bias.data.copy_(bias)
    return layer
