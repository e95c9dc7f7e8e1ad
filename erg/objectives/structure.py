r"""Structure learning: which pairs of units are coupled, and how strongly.

A penalty on the sum of absolute couplings pulls those that the data do not ask for to zero,

.. math:: \mathcal L(\theta) + \lambda \sum_{i<j} |J_{ij}|.

With pseudo-likelihood :math:`\lambda` weighs half as much as with the likelihood: each pair is predicted from both
of its ends. Subgradients under Adam end where proximal steps do, see docs/boltzmann.md.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.boltzmann import BoltzmannMachine
from erg.energies.graphs import Lattice
from erg.roles import EnergyLike, Loss, Objective


class SparseCouplings(Objective):
    """The sum of the absolute couplings of a `BoltzmannMachine`; combine it by `Weighted`.

    Logs ``couplings/size``, their mean absolute value.

    References:
        Ravikumar, Wainwright & Lafferty (2010), High-dimensional Ising model selection using l1-regularized logistic
        regression, arXiv:1010.0311

    Example:
        >>> machine = BoltzmannMachine.of(torch.tensor([[0.0, -2.0], [-2.0, 0.0]]), torch.zeros(2))
        >>> SparseCouplings()(machine, torch.ones(1, 2)).value.item()
        2.0
    """

    def __call__(self, energy: EnergyLike, batch: Float[Tensor, "batch *event"], rng: Rng = None) -> Loss:
        """The penalty. Looks at no data, and draws nothing.

        Raises:
            TypeError: If the energy is no `BoltzmannMachine`.
        """
        size = _machine(energy, of=SparseCouplings).weights.abs()
        return Loss(size.sum(), {"couplings/size": size.detach().mean()})


class LatticeRecovery(Objective):
    r"""An objective that also logs how well the couplings of a lattice are found again.

    It adds ``couplings/log_rmse``, :math:`\log \sqrt{\mathrm{mean}_{i<j} (J_{ij} - J^*_{ij})^2}` over all pairs,
    coupled in truth or not.

    Args:
        objective: Trains a `BoltzmannMachine`.
        shape: Of the true lattice, which is periodic.
        coupling: Its coupling between neighbours.
    """

    def __init__(self, objective: Objective, *, shape: tuple[int, ...] = (10, 10), coupling: float = 0.2) -> None:
        self.objective = objective
        self._truth = Lattice(tuple(shape)).matrix(coupling)

    def __call__(self, energy: EnergyLike, batch: Float[Tensor, "batch *event"], rng: Rng = None) -> Loss:
        """The loss of the objective inside, with one more term.

        Raises:
            TypeError: If the energy is no `BoltzmannMachine`.
            ValueError: If it has another number of units than the lattice.
        """
        loss = self.objective(energy, batch, rng)
        found = log_rmse(_machine(energy, of=LatticeRecovery), self._truth)
        return Loss(loss.value, {**loss.terms, "couplings/log_rmse": found})


def log_rmse(machine: BoltzmannMachine, truth: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """The log of the root mean square error of a machine's couplings over all pairs.

    Raises:
        ValueError: If the truth is of another size.
    """
    with torch.no_grad():
        found = machine.couplings
        if found.shape != truth.shape:
            raise ValueError(
                f"Couplings of {len(truth)} units are known, but this machine has {len(found)}; give the shape of "
                "the lattice that the data come from."
            )
        rows, columns = torch.triu_indices(len(truth), len(truth), 1)
        return (found - truth.to(found))[rows, columns].square().mean().sqrt().log()


def _machine(energy: EnergyLike, *, of: type) -> BoltzmannMachine:
    if isinstance(energy, BoltzmannMachine):
        return energy
    raise TypeError(f"{of.__name__} looks at the couplings of a BoltzmannMachine, but got {type(energy).__name__}.")
