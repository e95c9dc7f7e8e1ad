"""``erg score``: the energy of files, and where it stands among held-out data."""

import csv
import io
from pathlib import Path

from erg.cli.options import Parser


def run(arguments: list[str]) -> int:
    """Score; print or write one row an input; return 0."""
    parser = Parser(
        "score",
        "Energies of images, arrays or tables, in nats, with the percentile among the energies of held-out data: "
        "99 means that 99 % of held-out data are likelier.",
        "  erg score runs/demo digit.png\n  erg score runs/mnist pictures/ batch.npy --out scores.csv\n"
        "  erg score runs/demo digit.png --checkpoint best",
    )
    parser.add_run()
    parser.add_checkpoint()
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="files or folders of the run's shape")
    parser.add_argument("--out", type=Path, help="FILE.csv (default: print)")
    chosen = parser.parse_args(arguments)
    from erg.data import read_inputs
    from erg.runs.model import open_model
    from erg.runs.scoring import score

    model = open_model(chosen.run, trust=chosen.trust, best=chosen.checkpoint == "best")
    domain = model.domain
    x, labels = read_inputs(
        chosen.inputs, domain.shape, scaling=domain.scaling, columns=domain.columns, threshold=domain.threshold
    )
    energies, percentiles = score(model, x)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["input", "energy", "percentile"])
    for label, energy, percentile in zip(labels, energies.tolist(), percentiles.tolist(), strict=True):
        rows.writerow([label, f"{energy:.6g}", f"{percentile:.2f}"])
    if chosen.out is None:
        print(table.getvalue(), end="")
        return 0
    from erg.files import write_text

    write_text(chosen.out, table.getvalue())
    print(chosen.out)
    return 0
