"""Hamiltonian Monte Carlo, the No-U-Turn sampler and underdamped Langevin."""

from erg.samplers import HMC, NUTS, Compiled, Underdamped, hmc, nuts, underdamped

KERNELS = {
    "hmc": hmc(0.4, 3),
    "HMC": HMC(0.5, 2, jitter=0.5),
    "nuts": nuts(0.8, max_depth=3),
    "NUTS": NUTS(1.0, max_depth=2),
    "underdamped": underdamped(0.3, 1.5),
    "Underdamped": Underdamped(0.2, 0.7),
    "searching-underdamped": underdamped(),
    "Underdamped-with-a-friction": Underdamped(friction=1.3, search=80),
    "Compiled-searching-underdamped": Compiled(underdamped()),
}
EXACT = {"hmc", "HMC", "nuts", "NUTS"}
DETERMINISTIC: set[str] = set()
# A chain that is stopped and started again draws its velocity anew, and has forgotten what it learned.
MOVING = {name for name in KERNELS if "underdamped" in name.lower()}
