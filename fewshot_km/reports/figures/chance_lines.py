"""Chance in a panel of accuracies: a line at 1/ways, or an arrow towards it where that is far from what is drawn."""

from matplotlib.axes import Axes

from fewshot_km.reports.figures.figure_style import GREY
from fewshot_km.reports.grid_results import GridResults

REACH = 1.0  # of the span of what is drawn: a line farther away would leave that less than half of the panel
CHANCE = "Dotted, or where an arrow points: chance, 1/ways."


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
