r"""The Ising model: spins that want to agree with their neighbours and with a field.

.. math:: E(s) = -\sum_{\langle ij \rangle} J_{ij} s_i s_j - \sum_i h_i s_i, \qquad s_i = \pm 1

In units of the coupling, the square lattice orders below :math:`T_c = 2 / \log(1 + \sqrt 2) \approx 2.269`.
"""

from jaxtyping import Float, Int
from torch import Tensor

from erg import rows
from erg.energies.energy import Energy, check_event
from erg.energies.graphs import Sites, check_couplings, hold
from erg.roles import Group
from erg.support import Spin


class Ising(Energy):
    r"""Spins on a lattice or a graph.

    Args:
        sites: `Lattice` or `Graph`.
        coupling: J, a number or one a bond: (axes, *shape) on a lattice, (edges,) on a graph, or what broadcasts to
            it. An `nn.Parameter` is learned.
        field: h, a number or one a site, or what broadcasts to it; likewise.

    Raises:
        ValueError: If one of them is not finite, or has another shape.

    References:
        Ising (1925), Beitrag zur Theorie des Ferromagnetismus, doi:10.1007/BF02980577

    Example:
        >>> import torch
        >>> from erg.energies import Lattice
        >>> torus = Ising(Lattice((4, 4)), coupling=1.0, field=0.5)
        >>> torus(torch.ones(1, 4, 4))
        tensor([-40.])
    """

    support: Spin = Spin()
    coupling: float | Tensor
    field: float | Tensor

    def __init__(self, sites: Sites, *, coupling: float | Tensor = 1.0, field: float | Tensor = 0.0) -> None:
        super().__init__()
        check_couplings("coupling", coupling, sites.bonds, of=Ising)
        check_couplings("field", field, sites.shape, of=Ising)
        self.sites = sites
        hold(self, "coupling", coupling)
        hold(self, "field", field)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The colours of the sites."""
        return tuple(Group(places, None) for places in self.sites.groups)

    def forward(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        """Energies of shape (batch,)."""
        check_event(x, self.sites.shape, of=Ising)
        coupling, field = (rows_of(value, x) for value in (self.coupling, self.field))
        return -rows.total(coupling * self.sites.alignment(x[..., None])) - rows.total(field * x)

    def local_field(
        self, x: Float[Tensor, "sites batch"], sites: Int[Tensor, " chosen"]
    ) -> Float[Tensor, "chosen batch"]:
        """What each chosen spin feels: minus the derivative of the energy."""
        felt = self.sites.felt(x, sites, self.coupling)
        if isinstance(self.field, Tensor) and self.field.ndim:
            return felt + self.field.to(x.dtype).expand(self.sites.shape).flatten()[sites][:, None]
        return felt if isinstance(self.field, float) and self.field == 0 else felt + self.field


def rows_of(value: float | Tensor, x: Tensor) -> float | Tensor:
    """Couplings or fields in the dtype of the states."""
    return value.to(x.dtype) if isinstance(value, Tensor) else value
