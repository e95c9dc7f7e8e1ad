"""docs/results/boltzmann.md from the rows that exist: python -m benchmarks.boltzmann.table."""

from benchmarks.boltzmann import (
    dbm,
    deep_binary,
    gibbs,
    hopfield,
    rbm16,
    rbm500,
    recovery,
    thermodynamics,
    update,
    uses,
)
from benchmarks.measure import RESULTS
from erg.files import write_text

ROWS = (rbm16, rbm500, update, gibbs, dbm, deep_binary, recovery, thermodynamics, uses, hopfield)


def page() -> str:
    """All sections."""
    head = "# Boltzmann machines and discrete energies\n\nMeasured by `make bench-boltzmann`; each row is a command."
    return "\n\n".join([head, *(section.strip() for row in ROWS if (section := row.section()))]) + "\n"


if __name__ == "__main__":
    write_text(RESULTS / "boltzmann.md", page())
