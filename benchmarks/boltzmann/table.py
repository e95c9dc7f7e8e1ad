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
    """All sections, and the names of rows that were not measured yet."""
    sections = {row.NAME.removeprefix("boltzmann/"): row.section().strip() for row in ROWS}
    missing = [f"`{name}`" for name, section in sections.items() if not section]
    head = "# Boltzmann machines and discrete energies\n\nMeasured by `make bench-boltzmann`; each row is a command."
    if missing:
        head += f" Not measured yet: {', '.join(missing)}."
    return "\n\n".join([head, *filter(None, sections.values())]) + "\n"


if __name__ == "__main__":
    write_text(RESULTS / "boltzmann.md", page())
