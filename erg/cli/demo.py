"""``erg demo``: the whole of it on embedded digits, in two minutes."""

from pathlib import Path

from erg.cli.options import Parser


def run(arguments: list[str]) -> int:
    """Train, evaluate, report; return 0 when the goals are met, 1 when not."""
    parser = Parser(
        "demo",
        "Train a convolutional energy on scikit-learn's digits, sample it and write a report. No download.",
        "  erg demo\n  erg demo --out runs/first --seed 3",
    )
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="the run folder (default: runs/demo, then runs/demo-2)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seeds weights, data order and chains (default: 0)")
    chosen = parser.parse_args(arguments)
    from erg.cli.train import start

    return start("digits", ["--name=demo", f"--seed={chosen.seed}"], chosen.out)
