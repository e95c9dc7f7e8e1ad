"""Puts the page together: one file that needs nothing else, no network and no scripts.

Its content security policy forbids the browser to load or run anything, so no text of a run's files could make it.
"""

from importlib.resources import files
from pathlib import Path

from erg.files import write_text
from erg.report import sections
from erg.report.convergence_section import convergence_section
from erg.report.markup import text
from erg.report.reading import Run, read
from erg.report.theme import drawable
from erg.report.training_section import training_section

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(run_folder: Path) -> Path:
    """Write RUN/report.html from what the run folder holds, finished or not, and return its path.

    Args:
        run_folder: The folder of a run. Only its files are read.

    Raises:
        UserError: If it is not a run folder, is of another format version, or cannot be written.
    """
    folder = Path(run_folder)
    path = folder / "report.html"
    write_text(path, page(read(folder)))
    return path


def page(run: Run) -> str:
    """The whole page as HTML."""
    style = files("erg.report").joinpath("page.css").read_text(encoding="utf-8")
    # These may add to what is missing, so they are made before the gaps are listed.
    pictures, convergence = sections.pictures(run), convergence_section(run)
    body = "".join(
        (
            sections.header(run),
            sections.goals(run),
            sections.gaps(run),
            pictures,
            sections.metrics(run),
            sections.energies(run),
            convergence,
            training_section(run),
            sections.recoveries(run),
            sections.trained(run),
            sections.provenance(run),
        )
    )
    whole = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{text(sections.name(run))} · erg report</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
    return drawable(whole)
