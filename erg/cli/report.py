"""``erg report``: write a run's report.html from what its folder holds."""

from pathlib import Path

from erg.cli.options import Parser


def run(arguments: list[str]) -> int:
    """Write the report and print its path; return 0."""
    parser = Parser(
        "report",
        "Write report.html, one self-contained page, from what a run folder holds. Works while a run is under way.",
        "  erg report runs/demo",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    chosen = parser.parse_args(arguments)
    from erg.report import write_report
    from erg.runs.folder import RunFolder

    RunFolder(chosen.run).read()
    print(write_report(chosen.run))
    return 0
