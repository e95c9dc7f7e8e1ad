"""HTML in small pieces. Everything that comes from a file passes through `text`."""

import base64
import html
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_PICTURE = 12_000_000


def text(value: Any) -> str:
    """`value` with everything escaped that HTML would act on."""
    return html.escape(str(value), quote=True)


def section(identity: str, title: str, *content: str) -> str:
    """A titled section, or nothing when it would be empty."""
    body = "".join(content)
    if not body:
        return ""
    return f'<section id="{identity}"><h2>{text(title)}</h2>{body}</section>'


def panel(title: str, picture: str, caption: str = "", *, wide: bool = False) -> str:
    """A picture under a short title, over a caption that may hold markup."""
    below = f"<p>{caption}</p>" if caption else ""
    opening = "<figure class=wide>" if wide else "<figure>"
    return f"{opening}<figcaption><h3>{text(title)}</h3>{below}</figcaption>{picture}</figure>"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A definition list; the definitions are markup."""
    items = "".join(f"<div><dt>{text(term)}</dt><dd>{definition}</dd></div>" for term, definition in rows)
    return f"<dl>{items}</dl>" if items else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that turns into cards on a narrow page; the cells are markup."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f'<td data-label="{text(name)}">{cell}</td>' for name, cell in zip(header, row, strict=True))
        + "</tr>" for row in rows
    )  # fmt: skip
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Picture(NamedTuple):
    """An image element, and whether it is much wider than high."""

    markup: str
    wide: bool


def png(path: Path, description: str) -> Picture | None:
    """A PNG file as an image element that carries its bytes; None if it is missing, damaged or huge."""
    try:
        if path.stat().st_size > LARGEST_PICTURE:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    if not data.startswith(SIGNATURE) or b"IEND" not in data[-16:] or len(data) < 33:
        return None
    width, height = struct.unpack(">II", data[16:24])
    encoded = base64.b64encode(data).decode()
    markup = (
        f'<img src="data:image/png;base64,{encoded}" width="{width}" height="{height}" '
        f'class="{"pixels" if width < 700 else "picture"}" alt="{text(description)}">'
    )
    return Picture(markup, width > 1.6 * height)
