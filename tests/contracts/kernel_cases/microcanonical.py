"""Microcanonical samplers, with settings that are given and with settings they find."""

from erg.samplers import MAMS, MCLMC, Compiled, Parallel, mams, mclmc

KERNELS = {
    "mclmc": mclmc(0.3, 2.0),
    "MCLMC": MCLMC(),
    "mams": mams(0.4, 1.6),
    "MAMS": MAMS(step_size=0.4),
    "Compiled-mclmc": Compiled(mclmc(0.3, 2.0)),
    "Parallel-MAMS": Parallel(MAMS(step_size=0.4), threads=2),
}
EXACT = {name for name in KERNELS if "mams" in name.lower()}
DETERMINISTIC: set[str] = set()
REAL_ONLY = set(KERNELS)
AT_LEAST_TWO = set(KERNELS)
# Their states hold a direction, or what they have learned: a chain that is stopped and started again begins anew.
MOVING = {name for name in KERNELS if "mclmc" in name.lower() or "MAMS" in name}
