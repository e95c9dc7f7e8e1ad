"""``erg evaluate``: judge a run's samples and energies."""

from erg.cli.options import Parser


def run(arguments: list[str]) -> int:
    """Judge, write evaluation.json and the report; return 0, or 1 when a goal was missed."""
    parser = Parser(
        "evaluate",
        "Draw samples from noise and judge them and the energy: distances beside the test-against-train floor, "
        "class coverage, nearest training rows, detection of other data. Every figure has its standard error.",
        "  erg evaluate runs/demo\n  erg evaluate runs/mnist -n 2000 --seed 1\n"
        "  erg evaluate runs/demo --checkpoint best",
    )
    parser.add_run()
    parser.add_checkpoint()
    parser.add_argument("-n", type=int, default=500, help="how many samples are judged (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the chains (default: 0)")
    chosen = parser.parse_args(arguments)
    from erg.cli.summary import conclude

    best = chosen.checkpoint == "best"
    return conclude(chosen.run, samples=chosen.n, seed=chosen.seed, trust=chosen.trust, best=best)
