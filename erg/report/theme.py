"""One look for all plots: drawn by matplotlib, coloured by the page.

matplotlib writes fixed colours into an SVG. Here every role has a placeholder colour which is replaced by a CSS
variable, so that the same drawing follows the reader's light or dark page, uses the page's font, and prints in ink.
"""

import html
import io
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = (
    "ink", "muted", "rule", "data", "model", "held-out", "noise", "bad", "good",
    "other-1", "other-2", "other-3", "other-4",
)  # fmt: skip
PLACEHOLDERS = {role: f"#a1b2{index:02x}" for index, role in enumerate(ROLES, start=16)}
SETS = {
    "data": "data", "train": "data", "held_out": "held-out", "samples": "model", "noise": "noise",
    "from data": "data", "from noise": "model", "blurred": "other-1", "flipped": "other-2", "shrunk": "other-3",
}  # fmt: skip
TEXT = 11.0
WIDTH = 440.0


def colour(role: str) -> str:
    """The placeholder for a role's colour."""
    return PLACEHOLDERS[role]


def set_role(name: str, position: int) -> str:
    """The role of a set of inputs, the same in every plot; sets without one of their own take turns."""
    return SETS.get(name, f"other-{1 + (position + 3) % 4}")


def figure(height: float, *, left: float = 48.0, right: float = 78.0, bottom: float = 26.0) -> "tuple[Figure, Axes]":
    """An empty plot, `WIDTH` by `height` units, with margins in the same units and no frame."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(WIDTH / 72, height / 72))
    top = 10.0
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - bottom - top) / height)
    axes = drawing.add_axes(box)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(colour("rule"))
    axes.tick_params(length=0, labelsize=TEXT, labelcolor=colour("muted"), pad=6)
    axes.grid(axis="y", color=colour("rule"), linewidth=0.7)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    return drawing, axes


def drawable(label: str) -> str:
    """A label that can be drawn: JSON may hold half of a surrogate pair, which no font takes."""
    return label.encode("utf-8", "replace").decode()


def svg(drawing: "Figure", name: str, description: str) -> str:
    """The drawing as an inline SVG element that takes its colours and font from the page.

    Args:
        drawing: A figure with the placeholder colours.
        name: Keeps the ids of this drawing apart from those of others on the page.
        description: What a reader who cannot see it is told.
    """
    import matplotlib

    stream = io.StringIO()
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": drawable(name)}),
        warnings.catch_warnings(),
    ):
        # A name that matplotlib's font cannot draw is no trouble: the page's font draws it.
        warnings.filterwarnings("ignore", message="Glyph")
        drawing.savefig(stream, format="svg", metadata={"Date": None}, facecolor="none", edgecolor="none")
    text = stream.getvalue()
    height = drawing.get_figheight() * 72
    body = text[text.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="(?:figure|axes|patch|text|line2d|xtick|ytick|matplotlib|[A-Z]\w*)[._\w]*"', "", body)
    body = re.sub(r"font-(?:family|size): [^;\"]*;? ?", "", body)
    body = re.sub(r'(?<= )(d|x|y|transform)="[^"]*"', _rounded, body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    for role, placeholder in PLACEHOLDERS.items():
        body = body.replace(placeholder, f"var(--{role})")
    label = html.escape(description, quote=True)
    return f'<svg class="plot" viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{label}">{body}'


def _rounded(attribute: "re.Match[str]") -> str:
    """Coordinates to a hundredth of a unit: a third of the bytes, and no visible difference."""
    return re.sub(r"(\d+\.\d{2})\d+", r"\1", attribute[0])
