"""Energies made of energies: a product, a temperature, a clamp, a difference. All are sampled alike.

python examples/composition.py
"""

import torch

from erg import mala, sample
from erg.energies import Gaussian, Mixture

rng = torch.Generator().manual_seed(0)
start = torch.zeros(4000, 2)
kernel = mala(step_size=0.3)

left = Gaussian(torch.tensor([-2.0, 0.0]), torch.eye(2))
right = Gaussian(torch.tensor([2.0, 0.0]), torch.eye(2))

# A product of experts lives where both agree: half-way, with half the variance.
both = sample(kernel, left + right, start, 200, rng)
print(f"product:   mean {both.mean(0).tolist()}, variance {both.var(0).tolist()} (truth 0 and 0.5)")

# A mixture lives where one of them does.
either = sample(kernel, Mixture([left, right]), torch.randn(4000, 2, generator=rng) * 2, 200, rng)
print(f"mixture:   variance {either.var(0).tolist()} (truth 5 and 1)")

# Half the temperature halves the variance; one temperature per chain works, too.
cold = sample(kernel, left / 0.5, start, 200, rng)
print(f"T = 0.5:   variance {cold.var(0).tolist()} (truth 0.5)")

# Observing the first coordinate leaves the conditional law of the second.
joint = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
held = joint.clamp(torch.tensor([True, False]), torch.tensor([1.5, 0.0]))
given = sample(kernel, held, start, 400, rng)
print(f"clamped:   x[0] = {given[:, 0].unique().tolist()}, mean of x[1] {given[:, 1].mean():.2f} (truth 1.2)")
