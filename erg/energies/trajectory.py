r"""Paths through machines: annealing that bends where training has been.

Between two neighbouring machines the energies of both layers are mixed linearly,

.. math:: E_t(v, h) = (1 - t)\,E_k(v, h) + t\,E_{k+1}(v, h),

and then the hidden layer is summed out. That is a machine again, with mixed parameters, so that block Gibbs moves on
it; a mixture of the summed energies (`Path`) has no conditionals. With two machines, of which the first has no
couplings, it is the usual path of annealed importance sampling for restricted Boltzmann machines. With the machines
that training went through in between it is the trajectory on which they learned their modes one by one.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from erg.energies.energy import Energy


@runtime_checkable
class Blending(Protocol):
    """A machine that can be mixed with one of the same layers."""

    shape: tuple[int, ...]

    def decoupled(self, x: Any) -> Any:
        """A machine of the same layers without couplings, visible units at the means of data."""
        ...

    def blended(self, other: Any, t: float) -> Any:
        """The machine whose energy of both layers is (1 - t) times this one's and t times that of `other`."""
        ...


class Trajectory:
    """A path through machines, for `ais`, `reverse_ais` and `smc`.

    Args:
        machines: From one with a known log Z and exact samples (`Decoupled`) to the target.
        at: The beta of each machine, rising from 0 to 1; equally spaced when left out.

    Raises:
        TypeError: If one of them cannot be mixed.
        ValueError: If there are fewer than two, their layers differ, or the betas do not rise from 0 to 1; when
            called, if `beta` is outside [0, 1].

    References:
        Salakhutdinov & Murray (2008), On the quantitative analysis of deep belief networks,
        doi:10.1145/1390156.1390266
        Béreux, Decelle, Furtlehner, Rosset & Seoane (2024), Fast training and sampling of restricted Boltzmann
        machines, arXiv:2405.15376

    Example:
        >>> from erg.energies import RBM, Decoupled
        >>> from erg.samplers import BlockGibbs, ais
        >>> rbm = RBM(6, hidden=3)
        >>> found = ais(Trajectory([Decoupled(rbm), rbm]), BlockGibbs(), betas=50, chains=100)
        >>> 6.0 < found.log_z.value < 6.5
        True
    """

    def __init__(self, machines: Sequence[Energy], at: Sequence[float] | None = None) -> None:
        other = next((machine for machine in machines if not isinstance(machine, Blending)), None)
        if other is not None:
            raise TypeError(
                f"A Trajectory goes through machines of two layers, but {type(other).__name__} cannot be mixed with "
                "another; use Path(reference, energy)."
            )
        shapes = {tuple(parameter.shape for parameter in machine.parameters()) for machine in machines}
        if len(machines) < 2 or len(shapes) > 1:
            raise ValueError(
                "A Trajectory goes through two machines or more with the same layers, but got "
                f"{len(machines)} with parameters of shapes {sorted(shapes)}."
            )
        last = len(machines) - 1
        self.machines = list(machines)
        self.at = [step / last for step in range(len(machines))] if at is None else [float(beta) for beta in at]
        rising = all(low < high for low, high in zip(self.at, self.at[1:], strict=False))
        if len(self.at) != len(machines) or self.at[0] != 0 or self.at[-1] != 1 or not rising:
            raise ValueError(f"The betas of {len(machines)} machines rise from 0 to 1, but got {self.at}.")

    @property
    def reference(self) -> Energy:
        """The machine at beta = 0."""
        return self.machines[0]

    @property
    def energy(self) -> Energy:
        """The machine at beta = 1."""
        return self.machines[-1]

    def __call__(self, beta: float) -> Energy:
        """The machine at `beta` in [0, 1]."""
        if not 0 <= beta <= 1:
            raise ValueError(f"A trajectory runs from beta = 0 to beta = 1, but got {beta}.")
        stage = max(index for index, start in enumerate(self.at[:-1]) if start <= beta)
        low, high = self.at[stage], self.at[stage + 1]
        first, second = self.machines[stage], self.machines[stage + 1]
        t = (beta - low) / (high - low)
        blended: Energy = first if t == 0 else second if t == 1 else first.blended(second, t)  # type: ignore[operator]
        return blended

    def __repr__(self) -> str:
        return f"Trajectory({len(self.machines)} machines)"
