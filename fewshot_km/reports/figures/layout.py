"""Places of panels, titles, axis labels and legend in inches, and text in lines that fit there.

Matplotlib's own layouts measure every text three times, which takes longer than drawing it.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

WIDTH, COLUMN = 7.0, 3.5  # of a page's text, and of one of its two columns
PANELS = 3  # side by side: more have no room for numbers
NAMES = 1.9  # the widest that names of rows may be
ROW = 0.19  # of a row of a panel
LINE = 0.125  # of a further line of text
TITLE, TICKS, LABEL, ENTRY = 0.25, 0.2, 0.18, 0.16  # heights of one line of each
NUMBERS, NARROW = 0.46, 0.16  # between panels that have numbers on their left, and that have none
FOOT = 0.11  # under the rows of a panel, for a word about chance that covers none of them
EDGE = 0.2  # on the right, where half a number may stand
SYMBOL = 0.45  # of a legend's entry, beside its text
HINTED = 1.03  # letters that are fitted to dots may be wider


def panels(
    titles: Sequence[str],
    height: float,
    x_label: str,
    y_label: str,
    entries: Sequence[tuple[Line2D, str]] = (),
    abreast: int = PANELS,
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, `height` inches high with numbers on its left, and a legend below.

    `abreast`: the most panels side by side; where they all stand in one column, the figure has a column's width.
    """
    rows, _ = _rows_and_columns(len(titles), abreast)
    y_text = label(y_label, rows * (height + TITLE) + (rows - 1) * TICKS, 8)
    left = NUMBERS + LABEL + LINE * y_text.count("\n")
    return _layout(titles, height, left, NUMBERS, x_label, y_text, entries, abreast)


def panels_of_rows(
    titles: Sequence[str],
    names: Sequence[str],
    x_label: str,
    entries: Sequence[tuple[Line2D, str]] = (),
    abreast: int = PANELS,
) -> tuple[Figure, list[Axes], list[float]]:
    """A figure with a panel for each title, in inches downwards, and where its rows are, each with its name.

    `abreast` is as for `panels`.
    """
    texts = [label(name, NAMES) for name in names]
    heights = [ROW + LINE * text.count("\n") for text in texts]
    height = sum(heights) + FOOT
    places = [end - own / 2 for end, own in zip(accumulate(heights), heights, strict=True)]
    left = max(map(text_width, texts)) + 0.12
    figure, axes = _layout(titles, height, left, NARROW, x_label, "", entries, abreast)
    _, columns = _rows_and_columns(len(titles), abreast)
    for n, one in enumerate(axes):
        one.set_ylim(height, 0)
        one.set_yticks(places, texts if n % columns == 0 else [""] * len(texts))
        one.tick_params(axis="y", length=0)
        one.grid(axis="y")
        one.xaxis.set_major_locator(MaxNLocator(4))
    return figure, axes, places


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one axes that shows nothing of itself, in inches rightwards and downwards."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return figure, axes


def _layout(
    titles: Sequence[str],
    height: float,
    left: float,
    gap: float,
    x_label: str,
    y_text: str,
    entries: Sequence[tuple[Line2D, str]],
    abreast: int,
) -> tuple[Figure, list[Axes]]:
    rows, columns = _rows_and_columns(len(titles), abreast)
    full = COLUMN if columns == 1 else WIDTH
    width = (full - left - EDGE - gap * (columns - 1)) / columns
    texts = [label(title, width, 8) for title in titles]
    above = TITLE + LINE * max(text.count("\n") for text in texts)
    middle = (left + full - EDGE) / 2
    x_text = label(x_label, 2 * (full - middle) - 0.1, 8)
    legend_columns, legend_height = _legend_size(entries, full)
    below = 0.04 + legend_height + LABEL + LINE * x_text.count("\n")
    total = rows * (above + height + TICKS) + below
    figure = Figure(figsize=(full, total))
    FigureCanvasAgg(figure)
    axes = []
    for n, text in enumerate(texts):
        row, column = divmod(n, columns)
        x, y = left + column * (width + gap), total - (row + 1) * (above + height + TICKS) + TICKS
        axes.append(figure.add_axes((x / full, y / total, width / full, height / total)))
        axes[-1].set_title(text, pad=4)
    figure.text(middle / full, (legend_height + 0.04) / total, x_text, ha="center", va="bottom")
    across = (below + TICKS + total - above) / 2
    figure.text(0.03 / full, across / total, y_text, ha="left", va="center", rotation=90, multialignment="center")
    if entries:
        handles, names = [handle for handle, _ in entries], [label(name, full - 1) for _, name in entries]
        look: dict[str, Any] = {"loc": "lower center", "borderaxespad": 0.1, "borderpad": 0.2, "ncols": legend_columns}
        if all(handle.get_linestyle() == "None" for handle in handles):
            look["handlelength"] = 1
        figure.legend(handles, names, **look)
    return figure, axes


def _rows_and_columns(count: int, abreast: int) -> tuple[int, int]:
    """As few rows as hold them, evenly filled: four stand two by two."""
    rows = -(-count // abreast)
    return rows, -(-count // rows)


def _legend_size(entries: Sequence[tuple[Line2D, str]], full: float) -> tuple[int, float]:
    """Columns and height."""
    if not entries:
        return 0, 0
    names = [label(name, full - 1) for _, name in entries]
    widths = [text_width(name) + SYMBOL for name in names]
    columns = len(names) if sum(widths) <= full else max(1, int(full / max(widths)))
    rows = -(-len(names) // columns)
    return columns, 0.06 + rows * (ENTRY + LINE * max(name.count("\n") for name in names))


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
