"""Run a kernel: an iterator for those who look at every step, a function for those who want the end.

While a step runs, the energy is in evaluation mode and its parameters are frozen, so that dropout
cannot enter an accept test and no weight gradient is computed; both are restored before the caller
sees the state. A module that hides inside a closure is out of reach: call its `eval()`, or pass the module.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erg import rows
from erg.draws import Rng
from erg.energies.energy import Energy, as_energy
from erg.roles import EnergyLike, Kernel
from erg.samplers.composition import check_kernel
from erg.samplers.free import on_free_entries


def chain(
    kernel: Kernel, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None
) -> Iterator[tuple[Any, Float[Tensor, " batch"]]]:
    """Yield the state and the acceptance of each row after every step, for ever.

    Burn-in, thinning and stopping are the caller's loop. The parameters must not change between
    steps: kernels cache energies. After an update, start a new chain at the last state.

    Args:
        kernel: What moves.
        energy: Energy, module or closure ``(batch, *event) -> (batch,)``.
        x: Where the chains start. Not modified.
        rng: The only source of randomness when given; torch's global generator otherwise.

    Raises:
        RuntimeError: Inside `torch.inference_mode`.
        TypeError: If x is not floating, or the kernel does not move where this energy lives.

    Example:
        >>> from erg.samplers import mala
        >>> rng = torch.Generator().manual_seed(0)
        >>> steps = chain(mala(step_size=0.3), lambda x: x.square().sum(1) / 2, torch.zeros(4, 2), rng)
        >>> state, acceptance = next(steps)
        >>> state.x.shape, acceptance.shape
        (torch.Size([4, 2]), torch.Size([4]))
    """
    energy, x = prepare(energy, x)
    check_kernel(kernel, of="chain()")
    kernel = on_free_entries(kernel, energy, x)
    with sampling(energy):
        state = kernel.init(energy, x)
    while True:
        with sampling(energy):
            state, acceptance = kernel.step(energy, state, rng)
        yield state, acceptance


def sample(
    kernel: Kernel, energy: EnergyLike, x: Float[Tensor, "batch *event"], steps: int, rng: Rng = None
) -> Float[Tensor, "batch *event"]:
    """The states after `steps` steps from `x`. Memory does not grow with the number of steps.

    Args:
        kernel: What moves.
        energy: Energy, module or closure ``(batch, *event) -> (batch,)``.
        x: Where the chains start. Not modified.
        steps: How many transitions; 0 returns a copy of `x`.
        rng: The only source of randomness when given; torch's global generator otherwise.

    Raises:
        RuntimeError: Inside `torch.inference_mode`.
        TypeError: If x is not floating, `steps` no whole number, or the kernel does not move where this energy lives.
        ValueError: If `steps` is negative.
    """
    return advance(kernel, energy, x, steps, rng)[0]


def advance(
    kernel: Kernel, energy: EnergyLike, x: Float[Tensor, "batch *event"], steps: int, rng: Rng = None
) -> tuple[Float[Tensor, "batch *event"], Float[Tensor, " batch"]]:
    """Like `sample`, and each row's mean acceptance over the steps (1 when there are none)."""
    rows.whole("steps", steps, of="sample()", least=0)
    energy, x = prepare(energy, x)
    check_kernel(kernel, of="sample()")
    kernel = on_free_entries(kernel, energy, x)
    with sampling(energy):
        state, accepted = kernel.run(energy, kernel.init(energy, x), steps, rng)
        end = energy.complete(state.x)
    end = end.clone() if end.data_ptr() == x.data_ptr() else end
    return end, accepted / steps if steps else torch.ones_like(accepted)


def prepare(energy: EnergyLike, x: Tensor) -> tuple[Energy, Tensor]:
    """The energy wrapped if need be, and the start detached; refuses what no kernel can run on."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "Sampling needs gradients, which torch.inference_mode turns off for good; "
            "use torch.no_grad instead (Lightning: Trainer(inference_mode=False))."
        )
    if not isinstance(x, Tensor) or not x.is_floating_point() or not x.ndim:
        kind = type(x).__name__
        if isinstance(x, Tensor):
            kind = f"{x.dtype}" if x.ndim else "one number without a batch"
        raise TypeError(f"Chains start at a floating tensor (batch, *event), but got {kind}.")
    return as_energy(energy), x.detach()


@contextmanager
def sampling(energy: Energy) -> Iterator[None]:
    """Evaluation mode and frozen parameters inside, the former state of both outside."""
    training = [module for module in energy.modules() if module.training]
    trainable = [parameter for parameter in energy.parameters() if parameter.requires_grad]
    for module in training:
        _set_training(module, False)
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module in training:
            _set_training(module, True)
        for parameter in trainable:
            parameter.requires_grad_(True)


def _set_training(module: nn.Module, value: bool) -> None:
    # nn.Module's own way looks for parameters and buffers of that name first, at every step of a chain.
    object.__setattr__(module, "training", value)
