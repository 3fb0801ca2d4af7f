"""Look of figures: sizes, fonts, whiskers, the line of chance, and a colour, marker and line for each method."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from fewshot_km.reports.grid_results import GridResults

GREY = "0.45"
REACH = 1.0  # of the span of what is drawn: a line farther away would leave that less than half of the panel
FONT = "DejaVu Sans"  # comes with matplotlib: the same everywhere

# Okabe and Ito 2008, for the colour-blind, without the yellow that paper swallows; neighbours differ in grey
COLOURS = ("#0072B2", "#E69F00", "#000000", "#CC79A7", "#009E73", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (7, 1.5, 2, 1.5)))

SETTINGS: dict[Any, Any] = {
    "font.family": [FONT],
    "font.size": 8,  # a paper's caption
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 3.0,  # room for a line's dashes
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.axisbelow": True,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "axes.formatter.useoffset": False,  # "+9.5e1" beside an axis is no accuracy
    "text.parse_math": False,  # names may hold $
    "svg.fonttype": "path",  # looks the same where the font is not there
    "svg.hashsalt": "fewshot_km",  # else its ids are random
    "pdf.fonttype": 42,  # publishers refuse Type 3
    "image.composite_image": False,
}


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn."""

    colour: str
    marker: str
    line: Any


def method_styles(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """A style for each method; markers and lines differ for 55 of them, and with the colour for 385."""
    return {
        method: MethodStyle(COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)], LINES[n % len(LINES)])
        for n, method in enumerate(methods)
    }


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and write with our settings, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def whisker(axes: Axes, ends: tuple[float, float], at: float, *, upright: bool = False, **look: Any) -> None:
    """Draw an interval, with short bars at its ends."""
    data = ([at, at], ends) if upright else (ends, [at, at])
    cap = {"marker": "_" if upright else "|", "markersize": 4, "linewidth": 1, "label": "_whisker"}
    axes.plot(*data, **(cap | look))


def method_entries(styles: dict[str, MethodStyle], methods: Sequence[str], **look: Any) -> list[tuple[Line2D, str]]:
    """A legend's entries for methods, in their order."""
    return [
        (Line2D([], [], **({"color": s.colour, "marker": s.marker, "linestyle": s.line} | look)), method)
        for method, s in styles.items()
        if method in methods
    ]


def in_thousands(axes: Axes) -> None:
    """Numbers along x as 60,000."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def draw_chance(axes: Axes, results: GridResults, task: str, *, upright: bool = True) -> None:
    """Draw a task's chance, in percent, where accuracies run upwards (`upright`) or rightwards. Call it after them."""
    ways = next(cell.config.task.ways for cell in results.grid.cells if cell.task == task)
    percent = 100 / ways
    low, high = axes.dataLim.intervaly if upright else axes.dataLim.intervalx
    if low > high:  # nothing is drawn
        return
    reach = REACH * (high - low)
    if low - reach <= percent <= high + reach:
        draw = axes.axhline if upright else axes.axvline
        draw(percent, color=GREY, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1, label="_chance")
        return
    is_below = percent < low
    arrow = ("▾" if is_below else "▴") if upright else ("◂" if is_below else "▸")
    end = 0.01 if is_below else 0.99
    place, sides = ((0.99, end), ("right", "bottom" if is_below else "top")) if upright else (
        (end, 0.0), ("left" if is_below else "right", "bottom"))  # fmt: skip
    text = axes.text(*place, f"{arrow} chance {percent:.3g}", transform=axes.transAxes, fontsize=7, color=GREY)
    text.set(ha=sides[0], va=sides[1])
    text.set_label("_chance")
