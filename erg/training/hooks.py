"""What happens between `backward()` and the optimiser's step, as hooks of the optimiser.

`train()` knows nothing of it. Hooks run in the order in which they were registered: average over the
processes first, clip the average then.

A data parallel wrapper intercepts `forward` only, so that ``wrapped.given(y)``, ``wrapped + other``
and second derivatives would miss its synchronisation. Averaging the gradients after `backward()`
works for every objective.
"""

from typing import Any

import torch
from torch import Tensor


class Clipping:
    """Scales gradients down to a largest total norm; made by `clip_gradients`.

    Attributes:
        max_norm: The largest Euclidean norm of all gradients together.
        norm: The norm before the last step was clipped, on the parameters' device. Not finite when a
            gradient was not: clipping does not hide it.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm
        self.norm: Tensor = torch.zeros(())

    def __call__(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Clip; called by the optimiser before its step."""
        parameters = [parameter for parameter in _parameters(optimizer) if parameter.grad is not None]
        self.norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float = float("inf")) -> Clipping:
    """Before each step, scale the gradients so that their total norm is at most `max_norm`.

    Args:
        optimizer: Whose parameters count.
        max_norm: Infinity only measures.

    Returns:
        The hook, whose `norm` is that of the last step before clipping.

    Raises:
        ValueError: If `max_norm` is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_gradients needs a positive norm, but got {max_norm}; use inf to measure only.")
    clipping = Clipping(max_norm)
    optimizer.register_step_pre_hook(clipping)
    return clipping


def average_gradients(optimizer: torch.optim.Optimizer, fabric: Any) -> None:
    """Before each step, replace the gradients by their mean over all processes.

    A parameter without a gradient in one process counts as zero there; without one in any process it
    stays without, as it would in a single process.

    Args:
        optimizer: Whose parameters count, in the same order in every process.
        fabric: A launched `lightning_fabric.Fabric`, for example `Engine.fabric`.
    """
    if fabric.world_size > 1:
        optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: _average(_parameters(optimizer), fabric))


def _average(parameters: list[Tensor], fabric: Any) -> None:
    for kind in dict.fromkeys((parameter.dtype, parameter.device) for parameter in parameters):
        alike = [parameter for parameter in parameters if (parameter.dtype, parameter.device) == kind]
        given = torch.tensor([parameter.grad is not None for parameter in alike], dtype=kind[0], device=kind[1])
        flat = [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in alike]
        mean = fabric.all_reduce(torch.cat([*flat, given]), reduce_op="mean")
        *gradients, given = mean.split([*(p.numel() for p in alike), len(alike)])
        for parameter, gradient, some in zip(alike, gradients, given.tolist(), strict=True):
            if some > 0:
                parameter.grad = gradient.view_as(parameter)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
