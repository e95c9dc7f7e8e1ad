"""Replica exchange, tempered transitions and simulated annealing."""

from erg.samplers import (
    Annealed,
    Constant,
    Geometric,
    Parallel,
    ReplicaExchange,
    TemperedTransitions,
    annealed,
    dmala,
    gibbs,
    hmc,
    mala,
    random_walk,
    replica_exchange,
    tempered_transitions,
    ula,
    underdamped,
)

KERNELS = {
    "replica_exchange": replica_exchange(mala(0.3), [1.0, 1.7, 3.0, 5.0]),
    "ReplicaExchange": ReplicaExchange(random_walk(0.7), (1.0, 2.0)),
    "replica_exchange-underdamped": replica_exchange(underdamped(0.3, 1.5), [1.0, 2.0]),
    "Parallel-replica_exchange": Parallel(replica_exchange(mala(0.3), [1.0, 2.0]), threads=2),
    "tempered_transitions": tempered_transitions(mala(0.3), [1.0, 1.4, 2.0]),
    "TemperedTransitions": TemperedTransitions(hmc(0.4, 2), (1.0, 1.5)),
    "annealed": annealed(mala(0.2), Geometric(4.0, 0.5, steps=4)),
    "Annealed": Annealed(ula(0.05), Constant(0.7)),
}
EXACT = KERNELS.keys() - {"replica_exchange-underdamped", "Annealed"}
DETERMINISTIC: set[str] = set()
# A chain that is stopped keeps its cold replica only; an annealed one heats up again.
MOVING = {name for name in KERNELS if "transitions" not in name.lower()}
DISCRETE = {
    "replica_exchange-dmala": replica_exchange(dmala(2.0), [1.0, 1.7, 3.0]),
    "replica_exchange-gibbs": replica_exchange(gibbs(), [1.0, 2.0]),
    "tempered_transitions-dmala": tempered_transitions(dmala(2.0), [1.0, 1.5]),
    "annealed-gibbs": annealed(gibbs(), Geometric(3.0, 0.5, steps=4)),
}
