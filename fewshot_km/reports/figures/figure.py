"""A picture of a report, and its files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fewshot_km.data.storage import write_bytes
from fewshot_km.reports.figures.figure_style import house_style
from fewshot_km.text import visible

CAPTIONS = "captions.md"
MOST_DOTS = 60_000  # of height: Agg draws no more than 65,536

_PATH = re.compile(r' d="[^"]*"')
_NEEDLESS = re.compile(r"(?<=\.\d\d)\d+|\s*\n|(?<=[MLCQ]) ")  # less than a hundredth of a point, and space: half of it


@dataclass(frozen=True)
class Picture:
    """A figure with the name of its files, and what is printed above and below it."""

    name: str
    title: str
    caption: str
    figure: Figure


def svg_text(picture: Picture) -> str:
    """The picture as an <svg> element, which is a file as well as a part of a page: its ids are its own."""
    text = _render(picture, "svg", Title=picture.title, Description=picture.caption).decode()
    element = _PATH.sub(lambda path: _NEEDLESS.sub("", path[0]), text[text.index("<svg") :])
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", element)


def save_pictures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write name.svg, name.pdf and name.png of each picture, and all captions; the same pictures are the same bytes.

    Raises OSError where they cannot be written.
    """
    written = []
    for picture in pictures:
        contents = {
            "svg": svg_text(picture).encode(),
            "pdf": _render(picture, "pdf", Title=picture.title, Subject=picture.caption),
            "png": _render(picture, "png", Title=picture.title, Description=picture.caption),
        }
        for ending, content in contents.items():
            written.append(folder / f"{picture.name}.{ending}")
            write_bytes(written[-1], content)
    if pictures:
        written.append(folder / CAPTIONS)
        captions = (visible(f"**{one.title}** (`{one.name}`). {one.caption}\n") for one in pictures)
        write_bytes(written[-1], "\n".join(captions).encode())
    return written


NO_ORIGIN: dict[str, dict[str, Any]] = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "ModDate", "Creator", "Producer")),
    "png": {"Software": None},
}
"""What matplotlib would note of when and with what a picture was made."""


def _render(picture: Picture, ending: str, **metadata: str) -> bytes:
    content = BytesIO()
    metadata = {name: visible(text) for name, text in metadata.items()}
    dpi = min(200, MOST_DOTS / picture.figure.get_figheight())
    with house_style():
        picture.figure.savefig(content, format=ending, dpi=dpi, metadata=NO_ORIGIN[ending] | metadata)
    return content.getvalue()
