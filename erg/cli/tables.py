"""Tables of text that keep their columns in a terminal of 80 and in a file."""

from collections.abc import Sequence


def aligned(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, each as wide as its widest cell. A title may have several lines.

    Example:
        >>> print(aligned(["run", "class\\nKL"], [["demo", "0.12"]]))
              class
        run   KL
        demo  0.12
    """
    heads = [title.split("\n") for title in titles]
    height = max(map(len, heads))
    lines = [[""] * (height - len(head)) + head for head in heads]
    table = [*zip(*lines, strict=True), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )
