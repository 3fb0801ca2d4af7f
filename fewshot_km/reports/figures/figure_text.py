"""Text from data as pictures can hold it: drawn letter by letter, in lines that have room."""

from functools import cache, lru_cache
from pathlib import Path
from textwrap import wrap

import matplotlib
from matplotlib.font_manager import get_font

HINTED = 1.03  # letters that are fitted to dots may be wider


@lru_cache(maxsize=1024)
def label(text: str, inches: float, size: float = 7) -> str:
    """`text` in lines of at most so many inches at `size` points; what the font lacks, by its code."""
    spaced = " ".join(text.split())
    drawable = "".join(
        letter if letter.isprintable() and ord(letter) in _letters() else f"\\u{ord(letter):04x}" for letter in spaced
    )
    wide = text_width(drawable, size)
    if wide <= inches:
        return drawable
    for letters in range(int(len(drawable) * inches / wide * 1.3) + 1, 0, -1):
        lines = "\n".join(wrap(drawable, letters))
        if text_width(lines, size) <= inches:
            break
    return lines


def text_width(text: str, size: float = 7) -> float:
    """Inches that the widest line takes at `size` points."""
    font = get_font(_font_file())
    font.set_size(size, 720)  # ten times the 72 points of an inch: widths are rounded to a dot
    widths = []
    for line in text.splitlines():
        font.set_text(line, 0)
        widths.append(font.get_width_height()[0] / 64 / 720)
    return HINTED * max(widths, default=0)


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(_font_file()).get_charmap())


@cache
def _font_file() -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
