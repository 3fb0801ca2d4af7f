"""A figure of a report, and how it is written to files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fewshot_km.data.storage import write_bytes
from fewshot_km.reports.figures.style import house_style
from fewshot_km.text import visible

CAPTIONS = "captions.md"
MOST_DOTS = 60_000  # of height: Agg draws no more than 65,536

_PATH = re.compile(r' d="[^"]*"')
_NEEDLESS = re.compile(r"(?<=\.\d\d)\d+|\s*\n|(?<=[MLCQ]) ")  # less than a hundredth of a point, and space: half of it


@dataclass(frozen=True)
class ReportFigure:
    """A matplotlib figure (`drawing`) with its file name, and the texts above and below it."""

    name: str
    title: str
    caption: str
    drawing: Figure


def svg_text(figure: ReportFigure) -> str:
    """The figure as an <svg> element, which is a file as well as a part of a page: its ids are its own."""
    text = _render(figure, "svg", Title=figure.title, Description=figure.caption).decode()
    element = _PATH.sub(lambda path: _NEEDLESS.sub("", path[0]), text[text.index("<svg") :])
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{figure.name}-", element)


def save_figures(figures: Sequence[ReportFigure], folder: Path) -> list[Path]:
    """Write name.svg, name.pdf and name.png of each figure, and all captions; the same figures are the same bytes.

    Raises OSError where they cannot be written.
    """
    written = []
    for figure in figures:
        contents = {
            "svg": svg_text(figure).encode(),
            "pdf": _render(figure, "pdf", Title=figure.title, Subject=figure.caption),
            "png": _render(figure, "png", Title=figure.title, Description=figure.caption),
        }
        for ending, content in contents.items():
            written.append(folder / f"{figure.name}.{ending}")
            write_bytes(written[-1], content)
    if figures:
        written.append(folder / CAPTIONS)
        captions = (visible(f"**{one.title}** (`{one.name}`). {one.caption}\n") for one in figures)
        write_bytes(written[-1], "\n".join(captions).encode())
    return written


NO_ORIGIN: dict[str, dict[str, Any]] = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "ModDate", "Creator", "Producer")),
    "png": {"Software": None},
}
"""What matplotlib would note of when and with what a figure was made."""


def _render(figure: ReportFigure, ending: str, **metadata: str) -> bytes:
    content = BytesIO()
    metadata = {name: visible(text) for name, text in metadata.items()}
    dpi = min(200, MOST_DOTS / figure.drawing.get_figheight())
    with house_style():
        figure.drawing.savefig(content, format=ending, dpi=dpi, metadata=NO_ORIGIN[ending] | metadata)
    return content.getvalue()
