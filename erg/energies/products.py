"""Products of restricted Boltzmann machines."""

import torch

from erg.energies.restricted import RBM, Standard


def product(first: RBM, second: RBM) -> RBM:
    """The machine whose density is the product of two: both hidden layers, side by side, over the same visible one.

    Its energy is that of ``first + second``. A sum has no conditionals; this has: the hidden units of one machine
    are independent of those of the other given the visible layer, and their fields add.

    Args:
        first: A machine.
        second: Another, of the same visible layer and with hidden units of the same kind.

    Returns:
        A machine with parameters of its own, whose hidden layer is that of the first and then that of the second.

    Raises:
        ValueError: If the machines do not fit.

    Example:
        >>> machines = RBM(4, 3), RBM(4, 2)
        >>> product(*machines).hidden_shape
        (5,)
    """
    kinds = [(it.shape, it.units, it.hidden_units, it.hidden_shape[1:]) for it in (first, second)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            "A product of RBMs is one over the same visible layer, with hidden layers that continue each other, but "
            f"got {kinds[0]} and {kinds[1]} (shape, units, hidden units, further axes of the hidden layer); "
            "first + second is the product of any two energies."
        )
    (weight, b, c), (other_weight, other_b, other_c) = (machine.standard() for machine in (first, second))
    hidden = first.hidden_shape[0] + second.hidden_shape[0], *first.hidden_shape[1:]
    machine = RBM(first.shape, hidden, units=first.units, hidden_units=first.hidden_units, scale=0.0).to(weight)
    return machine.holding(Standard(torch.cat([weight, other_weight], 1), b + other_b, torch.cat([c, other_c])))
