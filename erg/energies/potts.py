r"""The Potts model: categories that want to agree with their neighbours and with a field.

.. math:: E(s) = -\sum_{\langle ij \rangle} J_{ij}\, \delta(s_i, s_j) - \sum_i h_i(s_i), \qquad s_i \in \{1 \dots q\}

With two categories it is an `Ising` model with half the coupling. On the square lattice it orders below
:math:`T_c = J / \log(1 + \sqrt q)`.
"""

from jaxtyping import Float, Int
from torch import Tensor

from erg import rows
from erg.energies.energy import Energy, check_event
from erg.energies.graphs import Sites, check_couplings, hold
from erg.energies.ising import rows_of
from erg.roles import Group
from erg.support import OneHot


class Potts(Energy):
    r"""Categories on a lattice or a graph; states are one-hot along the last axis.

    Args:
        sites: `Lattice` or `Graph`.
        categories: q, how many values a site has.
        coupling: J, a number or one a bond: (axes, *shape) on a lattice, (edges,) on a graph, or what broadcasts to
            it. An `nn.Parameter` is learned.
        field: h, a number, or one a category and a site (*shape, q), or what broadcasts to it; likewise.

    Raises:
        ValueError: If there are fewer than two categories, or couplings or fields are not finite or of another shape.

    References:
        Potts (1952), Some generalized order-disorder transformations, doi:10.1017/S0305004100027419

    Example:
        >>> import torch
        >>> from erg.energies import Lattice
        >>> torus = Potts(Lattice((4, 4)), 3)
        >>> torus(torch.nn.functional.one_hot(torch.zeros(1, 4, 4, dtype=torch.long), 3).float())
        tensor([-32.])
    """

    support: OneHot = OneHot()
    coupling: float | Tensor
    field: float | Tensor

    def __init__(
        self, sites: Sites, categories: int, *, coupling: float | Tensor = 1.0, field: float | Tensor = 0.0
    ) -> None:
        super().__init__()
        if categories < 2:
            raise ValueError(f"Potts needs at least two categories, but got {categories}.")
        self.event = (*sites.shape, categories)
        check_couplings("coupling", coupling, sites.bonds, of=Potts)
        check_couplings("field", field, self.event, of=Potts)
        self.sites = sites
        hold(self, "coupling", coupling)
        hold(self, "field", field)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The colours of the sites."""
        return tuple(Group(places, None) for places in self.sites.groups)

    def forward(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        """Energies of shape (batch,)."""
        check_event(x, self.event, of=Potts)
        coupling, field = (rows_of(value, x) for value in (self.coupling, self.field))
        return -rows.total(coupling * self.sites.alignment(x)) - rows.total(field * x)

    def local_field(
        self, x: Float[Tensor, "sites categories batch"], sites: Int[Tensor, " chosen"]
    ) -> Float[Tensor, "chosen categories batch"]:
        """What each category of each chosen site feels: minus the derivative of the energy."""
        felt = self.sites.felt(x.flatten(1), sites, self.coupling).reshape(len(sites), *x.shape[1:])
        if isinstance(self.field, Tensor) and self.field.ndim:
            return felt + self.field.to(x.dtype).expand(self.event).flatten(0, -2)[sites][..., None]
        return felt if isinstance(self.field, float) and self.field == 0 else felt + self.field
