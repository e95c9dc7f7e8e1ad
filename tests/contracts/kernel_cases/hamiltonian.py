"""Hamiltonian Monte Carlo, the No-U-Turn sampler and underdamped Langevin."""

from erg.samplers import HMC, NUTS, Underdamped, hmc, nuts, underdamped

KERNELS = {
    "hmc": hmc(0.4, 3),
    "HMC": HMC(0.5, 2, jitter=0.5),
    "nuts": nuts(0.8, max_depth=3),
    "NUTS": NUTS(1.0, max_depth=2),
    "underdamped": underdamped(0.3, 1.5),
    "Underdamped": Underdamped(0.2, 0.7),
}
EXACT = {"hmc", "HMC", "nuts", "NUTS"}
DETERMINISTIC: set[str] = set()
# A chain that is stopped and started again draws its velocity anew.
MOVING = {"underdamped", "Underdamped"}
