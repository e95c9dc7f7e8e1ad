r"""A restricted Boltzmann machine over pairs of a state and its label: classification by free energy.

.. math:: E(x, y) = -b \cdot x - d_y - \sum_j \log\left(1 + e^{c_j + U_{yj} + (x W)_j}\right)

(of hidden bits; :math:`A` of the fields in general). The product :math:`x W` is shared by all labels, so that
:math:`p(y \mid x) = \mathrm{softmax}_y(-E(x, y))` costs one matrix product and O(hidden) for each label.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import one_hot

from erg import rows
from erg.draws import Rng
from erg.energies.algebra import Given
from erg.energies.energy import Energy, check_event
from erg.energies.mixed import MixedUnits
from erg.energies.restricted import RBM
from erg.energies.units import Bits, Categories, Units


class LabelledRBM(Energy):
    r"""The energy of a state and its label, with the hidden layer summed out.

    ``forward(x, y)`` scores pairs, `given` a label leaves an energy over x with exact conditionals, and
    `class_energies` scores all labels at once. Trained as a model of pairs by an objective inside `Paired`, as a
    classifier by `CrossEntropy`, or as both by a `Weighted` sum of them.

    Args:
        shape: Of the state x, or how many entries it has.
        hidden: The shape of the hidden layer, or how many entries it has.
        classes: Labels are 0 to classes - 1.
        units: What the states are made of.
        hidden_units: What the hidden layer is made of.
        scale: The standard deviation of the initial weights.

    Attributes:
        machine: The machine over pairs: its visible layer is x, flat, and the label as a unit vector.

    Raises:
        ValueError: If a layer is empty, or there are fewer than two classes.

    References:
        Larochelle & Bengio (2008), Classification using discriminative restricted Boltzmann machines,
        doi:10.1145/1390156.1390224

    Example:
        >>> energy = LabelledRBM((8, 8), hidden=20, classes=10)
        >>> energy.class_energies(torch.ones(3, 8, 8)).shape
        torch.Size([3, 10])
        >>> from erg.samplers import BlockGibbs, sample
        >>> sample(BlockGibbs(), energy.given(7), torch.zeros(3, 8, 8), steps=2).shape
        torch.Size([3, 8, 8])
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        hidden: int | Sequence[int],
        *,
        classes: int,
        units: Units = Bits(),
        hidden_units: Units = Bits(),
        scale: float = 0.01,
    ) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.classes = classes
        entries = math.prod(self.shape)
        units.check(self.shape)
        parts = MixedUnits(((units, entries), (Categories(classes), classes)))
        self.machine = RBM(entries + classes, hidden, units=parts, hidden_units=hidden_units, scale=scale)
        self.support = units.support

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Energies of pairs, shape (batch,)."""
        return self.machine(self.pairs(x, y))

    def class_energies(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch classes"]:
        """E(x, y) of all labels."""
        check_event(x, self.shape, of=LabelledRBM)
        weight, b, c = self.machine.standard()
        entries, flat = len(weight) - self.classes, rows.flat(x)
        fields = (flat @ weight[:entries] + c)[:, None] + weight[entries:]
        return -(flat @ b[:entries])[:, None] - b[entries:] - self.machine.hidden_units.log_partition(fields)

    def probabilities(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch classes"]:
        """p(y | x)."""
        return (-self.class_energies(x)).softmax(1)

    def pairs(self, x: Float[Tensor, "batch *event"], y: Int[Tensor, " batch"]) -> Float[Tensor, "batch entries"]:
        """States of `machine`: x, flat, and the label as a unit vector.

        Raises:
            ValueError: If a label is out of range, or there is not one for each row.
            TypeError: If labels are no whole numbers.
        """
        check_event(x, self.shape, of=LabelledRBM)
        if y.shape != x.shape[:1]:
            raise ValueError(f"There is one label a row, but got {tuple(y.shape)} labels for {len(x)} rows.")
        return torch.cat([rows.flat(x), self.coded(y).to(x.dtype)], 1)

    def of_pairs(self) -> RBM:
        """The energy of such states: `machine`."""
        return self.machine

    def unpaired(self, v: Float[Tensor, "batch entries"]) -> tuple[Tensor, Int[Tensor, " batch"]]:
        """The state and the label in states of `machine`."""
        x, code = v.split([v.shape[1] - self.classes, self.classes], 1)
        return x.reshape(-1, *self.shape), code.argmax(1)

    def coded(self, y: Shaped[Tensor, "*rows"]) -> Int[Tensor, "*rows classes"]:
        """Labels as unit vectors.

        Raises:
            ValueError: If a label is out of range.
            TypeError: If labels are no whole numbers.
        """
        if y.is_floating_point() or y.dtype == torch.bool:
            raise TypeError(f"Labels are whole numbers, but got {y.dtype}; convert them by y.long().")
        wrong = y[(y < 0) | (y >= self.classes)]
        if len(wrong):
            raise ValueError(
                f"Labels are 0 to {self.classes - 1}, but got {int(wrong[0])}; number the classes from 0, or "
                "build the energy with more classes."
            )
        return one_hot(y.long(), self.classes)

    def given(self, y: Any) -> "OfLabel":
        """The energy of x given its label: one for all rows, or one a row."""
        return OfLabel(self, y)

    def start_at_pairs(self, x: Float[Tensor, "rows *event"], y: Int[Tensor, " rows"]) -> None:
        """Before training: offsets at the means, and biases there that give entries and labels their means.

        Raises:
            ValueError: If the rows are of another shape or off the units' support, or a label is out of range.
        """
        self.machine.start_at(self.pairs(x, y))


class OfLabel(Given):
    """A `LabelledRBM` given labels: an energy over x, with exact conditionals.

    Args:
        energy: Over pairs.
        y: One label for all rows, or one a row.

    Raises:
        ValueError: If a label is out of range.
        TypeError: If labels are no whole numbers.
    """

    energy: LabelledRBM

    def __init__(self, energy: LabelledRBM, y: Any) -> None:
        super().__init__(energy, y)
        energy.coded(torch.as_tensor(y).reshape(-1))

    def sample_hidden(self, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Float[Tensor, "batch *hidden"]:
        """One draw of the hidden layer for each row and its label."""
        y = torch.as_tensor(self.y, device=x.device)
        return self.energy.machine.sample_hidden(self.energy.pairs(x, y.expand(len(x))), rng)

    def sample_visible(self, h: Float[Tensor, "batch *hidden"], rng: Rng = None) -> Float[Tensor, "batch *event"]:
        """One draw of x for each row of `h`; the label adds nothing to what `h` says."""
        return self.energy.unpaired(self.energy.machine.sample_visible(h, rng))[0]
