r"""Where sites are and which of them interact: lattices and graphs, shared by all pairwise energies.

A *bond* joins two sites. Both classes answer three questions about states of one vector :math:`s_i` a site: how well
the two ends of each bond agree, :math:`\langle s_i, s_j \rangle`; what each site feels from its neighbours,
:math:`\sum_j J_{ij} s_j`; and which sites have no bond between them and can be drawn at once. Lattices
answer the first by shifts of the whole state, which reads memory in order.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding_bag


class Sites(nn.Module, ABC):
    """Sites with bonds between some of them.

    Attributes:
        shape: Of the sites.
        bonds: The shape of one number a bond.
    """

    neighbours: Tensor
    bond_of: Tensor
    present: Tensor

    def __init__(self, shape: tuple[int, ...], bonds: tuple[int, ...], ends: Int[Tensor, "bonds 3"]) -> None:
        super().__init__()
        self.shape, self.bonds = torch.Size(shape), torch.Size(bonds)
        neighbours, bond_of, present = _tables(self.shape.numel(), ends)
        self.register_buffer("neighbours", neighbours, persistent=False)
        self.register_buffer("bond_of", bond_of, persistent=False)
        self.register_buffer("present", present, persistent=False)

    @abstractmethod
    def alignment(self, x: Float[Tensor, "batch *shape values"]) -> Float[Tensor, "batch *bonds"]:
        """The inner product of the two ends of every bond; 0 where there is none."""

    @property
    def groups(self) -> tuple[Int[Tensor, " sites"], ...]:
        """All sites, by colour: no bond joins two of one colour."""
        return tuple(getattr(self, f"group_{index}") for index in range(self._colours))

    def felt(
        self,
        x: Float[Tensor, "sites numbers"],
        sites: Int[Tensor, " chosen"],
        coupling: float | Float[Tensor, "..."],
    ) -> Float[Tensor, "chosen numbers"]:
        """The sum over the neighbours of each chosen site, times the couplings of the bonds between.

        Args:
            x: One row a site.
            sites: Their places in the flattened shape.
            coupling: A number, or one a bond.
        """
        near, weights = self.neighbours[sites], self.present[sites].to(x.dtype)
        if isinstance(coupling, Tensor) and coupling.ndim:
            weights = weights * coupling.to(x.dtype).expand(self.bonds).flatten()[self.bond_of[sites]]
        else:
            weights = weights * coupling
        if not near.shape[1]:
            return x.new_zeros(len(sites), x.shape[1])
        if x.dtype in (torch.float32, torch.float64):
            return embedding_bag(near, x, mode="sum", per_sample_weights=weights)
        return (x[near] * weights[..., None]).sum(1)

    def matrix(self, coupling: float | Float[Tensor, "..."]) -> Float[Tensor, "sites sites"]:
        """The couplings J as a dense matrix; two bonds between the same sites add up."""
        places = torch.arange(len(self.neighbours), device=self.neighbours.device)
        return self.felt(torch.eye(len(places), device=places.device), places, coupling)

    def _paint(self, colour: Int[Tensor, " sites"]) -> None:
        self._colours = int(colour.max()) + 1
        for index in range(self._colours):
            self.register_buffer(f"group_{index}", (colour == index).nonzero().squeeze(1), persistent=False)


class Lattice(Sites):
    """A lattice with a bond from every site to the next one along each axis.

    A periodic axis closes to a ring; one of two sites then has two bonds between them. An axis of one site
    has none. There is one bond an axis and a site, of shape (axes, *shape); in open lattices the last are not there.

    Args:
        shape: Of the lattice, with any number of axes.
        periodic: Whether its axes are rings, for all alike.

    Raises:
        ValueError: If there is no axis, or one without sites.

    Example:
        >>> torus = Lattice((4, 6))
        >>> torus.bonds, [len(group) for group in torus.groups]
        (torch.Size([2, 4, 6]), [12, 12])
    """

    inside: Tensor

    def __init__(self, shape: tuple[int, ...], *, periodic: bool = True) -> None:
        if not shape or min(shape) < 1:
            raise ValueError(
                f"A lattice needs at least one axis, and one site along each, but got shape {tuple(shape)}."
            )
        self_bonds = (len(shape), *shape)
        place = torch.arange(math.prod(shape)).reshape(shape)
        inside = torch.ones(self_bonds, dtype=torch.bool)
        for axis, side in enumerate(shape):
            if side == 1 or not periodic:
                inside[axis].select(axis, side - 1).fill_(False)
        ahead = torch.stack([place.roll(-1, axis) for axis in range(len(shape))])
        bond = torch.arange(inside.numel()).reshape(self_bonds)
        ends = torch.stack([place.expand(self_bonds)[inside], ahead[inside], bond[inside]], 1)
        super().__init__(shape, self_bonds, ends)
        self.periodic = periodic
        self._whole = bool(inside.all())
        self.register_buffer("inside", inside, persistent=False)
        if all(side % 2 == 0 or side == 1 or not periodic for side in shape):
            grid = torch.meshgrid(*[torch.arange(side) for side in shape], indexing="ij")
            self._paint((torch.stack(grid).sum(0) % 2).flatten())
        else:
            self._paint(greedy_colours(ends[:, :2], place.numel()))

    def alignment(self, x: Float[Tensor, "batch *shape values"]) -> Float[Tensor, "batch *bonds"]:
        """The inner product of every site with the next one along each axis; 0 where there is none."""
        ahead = [(x * x.roll(-1, axis + 1)).sum(-1) for axis in range(len(self.shape))]
        found = torch.stack(ahead, 1)
        return found if self._whole else found * self.inside


class Graph(Sites):
    """Any graph.

    Args:
        nodes: How many, numbered from 0.
        edges: Pairs of different nodes, each pair once.

    Raises:
        ValueError: If an edge is no pair of two different nodes, or is there twice.

    Example:
        >>> triangle = Graph(3, [(0, 1), (1, 2), (2, 0)])
        >>> [group.tolist() for group in triangle.groups]
        [[0], [1], [2]]
    """

    ends: Tensor

    def __init__(self, nodes: int, edges: Sequence[tuple[int, int]] | Int[Tensor, "edges 2"]) -> None:
        pairs = torch.as_tensor(edges, dtype=torch.long).reshape(-1, 2)
        wrong = (pairs < 0) | (pairs >= nodes)
        if nodes < 1 or bool(wrong.any()) or bool((pairs[:, 0] == pairs[:, 1]).any()):
            raise ValueError(
                f"An edge joins two different nodes of 0 to {nodes - 1}, but got {_first_wrong(pairs, nodes)}; "
                "number the nodes from 0, and write what a node does on its own as a field."
            )
        if len(pairs.sort(1).values.unique(dim=0)) != len(pairs):
            raise ValueError("A graph has each edge once, but some are there twice; add up their couplings.")
        bond = torch.arange(len(pairs))
        super().__init__((nodes,), (len(pairs),), torch.cat([pairs, bond[:, None]], 1))
        self.register_buffer("ends", pairs.T.contiguous(), persistent=False)
        self._paint(greedy_colours(pairs, nodes))

    def alignment(self, x: Float[Tensor, "batch nodes values"]) -> Float[Tensor, "batch edges"]:
        """The inner product of the two ends of every edge."""
        return (x[:, self.ends[0]] * x[:, self.ends[1]]).sum(-1)


def greedy_colours(edges: Int[Tensor, "edges 2"], nodes: int) -> Int[Tensor, " nodes"]:
    """A colour for every node, other than those of its neighbours: the lowest free one, largest degrees first.

    References:
        Welsh & Powell (1967), An upper bound for the chromatic number of a graph and its application to timetabling
        problems, doi:10.1093/comjnl/10.1.85
    """
    near: list[list[int]] = [[] for _ in range(nodes)]
    for first, second in edges.tolist():
        near[first].append(second)
        near[second].append(first)
    colours = [-1] * nodes
    for node in sorted(range(nodes), key=lambda each: -len(near[each])):
        taken = {colours[other] for other in near[node]}
        colours[node] = next(colour for colour in itertools.count() if colour not in taken)
    return torch.tensor(colours)


def check_couplings(name: str, value: float | Tensor, shape: tuple[int, ...], *, of: type) -> None:
    """Refuse couplings or fields that are not finite or do not broadcast to one number a bond or an entry.

    Raises:
        ValueError: If so.
    """
    good = bool(value.isfinite().all()) if isinstance(value, Tensor) else math.isfinite(value)
    if not good:
        raise ValueError(f"{of.__name__} needs a finite {name}, but got values that are infinite or NaN; bound them.")
    if isinstance(value, Tensor) and value.ndim:
        try:
            fits = torch.broadcast_shapes(value.shape, shape) == torch.Size(shape)
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError(
                f"{of.__name__} takes a number as its {name}, or a tensor that broadcasts to shape {tuple(shape)}, "
                f"but got shape {tuple(value.shape)}; give one number for each."
            )


def hold(energy: nn.Module, name: str, value: float | Tensor) -> None:
    """A number as it is, since a float32 buffer would round it; a parameter is learned, another tensor saved."""
    if isinstance(value, nn.Parameter):
        energy.register_parameter(name, value)
    elif isinstance(value, Tensor):
        energy.register_buffer(name, value)
    else:
        setattr(energy, name, float(value))


def _tables(nodes: int, ends: Tensor) -> tuple[Int[Tensor, "n d"], Int[Tensor, "n d"], Bool[Tensor, "n d"]]:
    """For every node its neighbours, the bonds to them and whether they are there: all have as many places."""
    both = torch.cat([ends, ends[:, [1, 0, 2]]])
    both = both[both[:, 0].argsort(stable=True)]
    degree = both[:, 0].bincount(minlength=nodes)
    width = int(degree.max()) if len(both) else 0
    column = torch.arange(len(both)) - (degree.cumsum(0) - degree)[both[:, 0]]
    neighbours, bonds = torch.zeros(2, nodes, width, dtype=torch.long)
    present = torch.zeros(nodes, width, dtype=torch.bool)
    neighbours[both[:, 0], column], bonds[both[:, 0], column] = both[:, 1], both[:, 2]
    present[both[:, 0], column] = True
    return neighbours, bonds, present


def _first_wrong(pairs: Tensor, nodes: int) -> str:
    wrong = ((pairs < 0) | (pairs >= nodes)).any(1) | (pairs[:, 0] == pairs[:, 1])
    return f"the edge {tuple(pairs[wrong][0].tolist())}" if bool(wrong.any()) else f"{nodes} nodes"
