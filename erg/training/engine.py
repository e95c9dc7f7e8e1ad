"""Where training runs: device, precision and data parallelism, on Lightning Fabric.

Every process has its own chains and its own random stream, and sees its own share of each batch.
Only gradients are exchanged (`hooks.average_gradients`), so all processes keep the same weights while
replay buffers stay apart.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from erg.draws import Rng
from erg.errors import UserError
from erg.roles import EnergyLike, Loss, Objective

Module = TypeVar("Module", bound=nn.Module)


class Engine:
    """Chooses the device, starts the processes, and prepares what training needs.

    With several processes this starts the running script once more for each, as `torchrun` would;
    under `torchrun` itself it joins what is there.

    Args:
        device: ``auto`` takes a GPU when there is one; or ``cpu``, ``cuda``, ``mps``.
        precision: ``32-true``, or ``bf16-mixed`` to run objectives under autocast. Weights stay float32.
        devices: How many processes, one per GPU. On a CPU they share the cores.

    Attributes:
        fabric: The launched `lightning_fabric.Fabric`.

    Raises:
        UserError: If the device, the precision or that many devices are not there.
    """

    def __init__(self, device: str = "auto", precision: str = "32-true", *, devices: int = 1) -> None:
        _check_device(device, devices)
        if precision not in ("32-true", "bf16-mixed"):
            raise UserError(f"Precision is 32-true or bf16-mixed, but got {precision!r}.")
        # Imported here because it takes seconds. Its import sets its log level.
        from lightning_fabric import Fabric

        for name in ("lightning_fabric", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        kind: Any = precision
        strategy = "ddp" if devices > 1 else "auto"
        self.fabric = Fabric(accelerator=device, devices=devices, precision=kind, strategy=strategy)
        self.fabric.launch()

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.fabric.device

    @property
    def rank(self) -> int:
        """The number of this process, from 0. Process 0 writes files and speaks to the user."""
        return self.fabric.global_rank

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.fabric.world_size

    def rng(self, seed: int) -> torch.Generator:
        """A random stream on this process's device, different for every seed and every process."""
        mixed = np.random.SeedSequence([seed, self.rank]).generate_state(1, np.uint64)[0]
        return torch.Generator(self.device).manual_seed(int(mixed) >> 1)

    def energy(self, energy: Module) -> Module:
        """The same energy on this device, with the weights that process 0 has."""
        energy = energy.to(self.device)
        if self.processes > 1:
            for tensor in (*energy.parameters(), *energy.buffers()):
                torch.distributed.broadcast(tensor.detach(), src=0)
        return energy

    def objective(self, objective: Objective) -> Objective:
        """The objective under this engine's precision: the same role."""
        return Autocast(objective, self.fabric.autocast)

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """This process's rows of every batch, on this device.

        Process r of n takes rows r, r + n, r + 2n, ... of each tensor, so that together they see what
        a single process would.

        Raises:
            ValueError: If the rows of a batch cannot be shared equally.
        """
        return (self._share(batch) for batch in batches)

    def mean(self, x: Tensor) -> Tensor:
        """A tensor averaged over the processes, so that all of them decide alike."""
        mean: Any = self.fabric.all_reduce(x.detach().clone(), reduce_op="mean")
        return mean

    def decide(self, choice: bool) -> bool:
        """What process 0 chose. Clocks and signals differ between processes, but all must act alike."""
        return choice if self.processes == 1 else bool(self.fabric.broadcast(choice, src=0))

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in the order of their ranks; what a checkpoint keeps of each."""
        if self.processes == 1:
            return [value]
        values: list[Any] = [None] * self.processes
        torch.distributed.all_gather_object(values, value)
        return values

    def _share(self, batch: Any) -> Any:
        from lightning_utilities.core.apply_func import apply_to_collection

        return apply_to_collection(batch, Tensor, self._rows)

    def _rows(self, x: Tensor) -> Tensor:
        if len(x) % self.processes:
            raise ValueError(
                f"A batch of {len(x)} rows cannot be shared equally by {self.processes} processes; "
                f"use a multiple of {self.processes}."
            )
        return x[self.rank :: self.processes].to(self.device)


class Autocast(Objective):
    """An objective that runs under a precision context; the loss is float32 or better.

    Args:
        objective: What runs inside.
        context: Makes the context.
    """

    def __init__(self, objective: Objective, context: Callable[[], AbstractContextManager[Any]]) -> None:
        self.objective = objective
        self._context = context

    def __call__(self, energy: EnergyLike, batch: Any, rng: Rng = None) -> Loss:
        """Evaluate the inner objective."""
        with self._context():
            loss = self.objective(energy, batch, rng)
        low = loss.value.dtype in (torch.bfloat16, torch.float16)
        return Loss(loss.value.float() if low else loss.value, loss.terms)


def _check_device(device: str, devices: int) -> None:
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f"A device is auto, cpu, cuda or mps, but got {device!r}.")
    if devices < 1:
        raise UserError(f"Training needs at least one device, but got {devices}.")
    if device == "cuda" and not torch.cuda.is_available():
        reason = "this machine shows no GPU" if torch.version.cuda else "this build of torch has none"
        raise UserError(f"cuda was asked for, but {reason}; use --device cpu.")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("mps was asked for, but there is none on this machine; use --device cpu.")
    if device == "cuda" and devices > torch.cuda.device_count():
        raise UserError(f"{devices} GPUs were asked for, but there are {torch.cuda.device_count()}.")
