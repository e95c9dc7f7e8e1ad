"""Pairwise energies with everything written out in loops, and the transition matrix of a sweep read off its code."""

import itertools

import torch

from erg.draws import Replay
from erg.support import OneHot


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def states_of(support, event):
    """All states, in float64, in an order of our own."""
    if isinstance(support, OneHot):
        *sites, values = event
        count = torch.Size(sites).numel()
        words = itertools.product(torch.eye(values, dtype=torch.float64), repeat=count)
        return torch.stack([torch.stack(word) for word in words]).reshape(-1, *event)
    count = torch.Size(event).numel()
    words = itertools.product(support.values, repeat=count)
    return torch.tensor(list(words), dtype=torch.float64).reshape(-1, *event)


def law_of(energy, states):
    return (-energy(states).detach()).softmax(0)


def site_rows(states, support):
    """(states, sites, values): the vector of every site."""
    return states.flatten(1, -2) if isinstance(support, OneHot) else states.flatten(1)[..., None]


def level(states, support):
    """The place of each site's value in order, (states, sites)."""
    if isinstance(support, OneHot):
        return states.flatten(1, -2).argmax(-1)
    return (states.flatten(1) == support.values[1]).long()


def single_site_matrix(law, states, support, site):
    """Gibbs sampling of one site, straight from the law."""
    sites = site_rows(states, support)
    others = [index for index in range(sites.shape[1]) if index != site]
    alike = (sites[:, None, others] == sites[None, :, others]).flatten(2).all(2)
    weight = torch.where(alike, law, 0.0)
    return weight / weight.sum(1, keepdim=True)


def swept(law, states, support, order):
    """One site after the other."""
    matrix = torch.eye(len(states), dtype=torch.float64)
    for site in order:
        matrix = matrix @ single_site_matrix(law, states, support, site)
    return matrix


def transition_matrix(kernel, energy, states, support, groups):
    """P of one step of the code: for every pair of states, the intervals of uniforms that lead from one to the other.

    The value that a site gets rises with its uniform, so the ends of an interval are found by bisection; a site's
    uniform is then put into its interval, and the next site is looked at.
    """
    rows = len(states)
    source, target = states.repeat_interleave(rows, 0), states.repeat(rows, *[1] * (states.ndim - 1))
    wanted = level(target, support)
    noise = [torch.full((rows * rows, len(group)), 0.5, dtype=torch.float64) for group in groups]
    probability = torch.ones(rows * rows, dtype=torch.float64)

    def found(site):
        state, _ = kernel.step(energy, kernel.init(energy, source), Replay([each.clone() for each in noise]))
        return level(state.x, support)[:, site]

    for place, group in enumerate(groups):
        for column, site in enumerate(group.tolist()):
            ends = []
            for above in (0, 1):
                low, high = torch.zeros_like(probability), torch.ones_like(probability)
                for _ in range(26):
                    middle = (low + high) / 2
                    noise[place][:, column] = middle
                    reached = found(site) >= wanted[:, site] + above
                    low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
                ends.append((low + high) / 2)
            probability *= ends[1] - ends[0]
            noise[place][:, column] = (ends[0] + ends[1]) / 2
    return probability.reshape(rows, rows)
