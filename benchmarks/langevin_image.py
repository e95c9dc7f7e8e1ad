"""A step of the image recipe, against the tutorial's loop: python -m benchmarks.langevin_image.

The tutorial's network, batch 128 of 28x28, two threads. The arithmetic limit is the time that the
convolutions and products of a step would take at the speed of a large matrix product, measured in the
same run.
"""

import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import row, side_by_side, timed
from erg.networks import ConvNet
from erg.samplers import Compiled, LowPrecision, Parallel, sample, sgld

BATCH, STEPS, ROUNDS, THREADS = 128, 60, 20, 2
STEP_SIZE, NOISE, CLIP = 10.0, 0.005, 0.03


def tutorial(network: nn.Module, x: Tensor) -> Tensor:
    """The loop of the tutorial: noise, clamp, backward, clamped gradient, step, clamp."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    noise = torch.empty_like(x)
    x = x.clone().requires_grad_()
    for _ in range(STEPS):
        noise.normal_(0, NOISE)
        x.data.add_(noise)
        x.data.clamp_(-1, 1)
        network(x).sum().backward()
        x.grad.data.clamp_(-CLIP, CLIP)
        x.data.add_(-STEP_SIZE * x.grad.data)
        x.grad.detach_()
        x.grad.zero_()
        x.data.clamp_(-1, 1)
    return x.detach()


def operations(network: nn.Module) -> float:
    """Floating point operations of a step: every product of the network, forward and back to the input."""
    count = 0

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal count
        weights = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_features
        count += 2 * 2 * output.numel() * weights

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        network(torch.zeros(BATCH, 1, 28, 28))
    for hook in hooks:
        hook.remove()
    return float(count)


def peak(dtype: torch.dtype, *, size: int = 2048, seconds: float = 3.0) -> float:
    """Operations a second of a large matrix product, the best of many."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def measure() -> dict[str, Any]:
    """Milliseconds a step, how many times faster than the tutorial, and the share of the arithmetic limit."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    network = ConvNet((1, 28, 28)).eval()
    x = torch.rand(BATCH, 1, 28, 28, generator=rng) * 2 - 1
    recipe = sgld(STEP_SIZE, NOISE, CLIP, (-1.0, 1.0))
    kernels = {
        "erg, eager": recipe,
        "erg, compiled": Compiled(recipe),
        "erg, bfloat16": LowPrecision(recipe),
        "erg, bfloat16, compiled": Compiled(LowPrecision(recipe)),
        "erg, bfloat16, compiled, a part of the batch a thread": Parallel(Compiled(LowPrecision(recipe)), THREADS),
    }
    ways = {"the tutorial's loop": timed(lambda: tutorial(network, x), steps=STEPS)}
    for name, kernel in kernels.items():
        ways[name] = timed(lambda kernel=kernel: sample(kernel, network, x, STEPS, rng), steps=STEPS)
    times = side_by_side(ways, rounds=ROUNDS)
    loop = times["the tutorial's loop"]["median"]
    fastest = min(kernels, key=lambda name: times[name]["median"])
    count = operations(network)
    peaks = {"float32": peak(torch.float32), "bfloat16": peak(torch.bfloat16)}
    shares = {
        name: count / (times[name]["median"] / 1e3) / peaks["bfloat16" if "bfloat16" in name else "float32"]
        for name in times
    }
    return {
        "title": f"The image recipe on the tutorial's network, batch {BATCH} of 28x28, {THREADS} threads",
        "seed": 0,
        "steps": STEPS,
        "rounds": ROUNDS,
        "milliseconds_a_step": times,
        "ratios": {
            f"times faster than the tutorial's loop ({fastest})": {
                "value": round(loop / times[fastest]["median"], 2),
                "goal": 3.0,
                "least": 2.2,
            }
        },
        "operations_a_step": count,
        "peak_operations_a_second": {name: float(f"{value:.4g}") for name, value in peaks.items()},
        "share_of_the_arithmetic_limit": {name: float(f"{share:.3g}") for name, share in shares.items()},
    }


if __name__ == "__main__":
    row("langevin_image", measure)
