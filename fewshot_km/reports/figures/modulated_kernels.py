"""Figures of convolution kernels before and after the adaptation to a task (Hu & Liu 2022, figure 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from fewshot_km.experiments.store.probe_file import Kernels, LayerKernels
from fewshot_km.reports.figures.layout import EDGE, LINE, WIDTH, blank, label
from fewshot_km.reports.figures.report_figure import ReportFigure
from fewshot_km.reports.grid_results import GridResults
from fewshot_km.reports.intervals import Array
from fewshot_km.reports.report import Report

# dark below zero, light above it, also without colour; the hue says it again
SIGNED = LinearSegmentedColormap.from_list("signed", ("#08265c", "#30528f", "#848484", "#e2ae66", "#fff1c9"))
MOST_LAYERS = 8  # as many as stand on a page
LEFT, RIGHT = 0.75, 0.75  # inches beside the kernels: of the rows' names, and of the scale
LOWEST = 0.3  # inches of a scale that has room for three numbers
SMALLEST, LARGEST = 0.055, 0.12  # inches of a number of a kernel
TITLE = 0.24  # inches above a layer
GAP, APART = 0.06, 0.15  # inches between what is before, after and the difference, and where each is of several rows


def draw_kernels(report: Report, width: float = WIDTH) -> list[ReportFigure]:
    """A figure for each learner whose kernels change: of its first such cell, each layer before, after, difference.

    It is `width` inches wide; kernels that have no room abreast stand in several rows.
    """
    figures = []
    for method in report.results.methods:
        for where, layers in _changed(report.results, method):
            figures.append(_draw(method, where, layers, width))
            break
    return figures


def _changed(results: GridResults, method: str) -> list[tuple[str, tuple[LayerKernels, ...]]]:
    """Of the learner's cells whose kernels change: which one, and all its layers."""
    return [
        (f"{task}, seed {seed}", stored.analysis.kernels)
        for task in results.tasks
        for seed, stored in zip(results.scores[task, method].seeds, results.scores[task, method].stored, strict=False)
        if stored.analysis and any(layer.before != layer.after for layer in stored.analysis.kernels)
    ]


def _draw(method: str, where: str, layers: Sequence[LayerKernels], width: float) -> ReportFigure:
    shown = [layers[n] for n in np.unique(np.linspace(0, len(layers) - 1, min(MOST_LAYERS, len(layers))).astype(int))]
    rows = [_Rows.of(layer, width) for layer in shown]
    figure, axes = blank(width, sum(one.height for one in rows))
    top = 0.0
    for one in rows:
        _draw_rows(axes, one, top, width)
        top += one.height
    caption = (
        f"Kernels of {method} on {where}: the first {len(shown[0].before)} of each convolution, of their first input "
        "channel, as meta-trained (before), after adapting to test episode 0 (after), and after minus before. Dark is "
        "negative, light positive; each layer has its own scale, and so has its difference."
    )
    if len(shown) < len(layers):
        caption += f" {len(shown)} of {len(layers)} layers."
    return ReportFigure(f"kernels-{method}", f"Kernels of {method} before and after adaptation", caption, figure)


@dataclass(frozen=True)
class _Rows:
    """Of one layer: its name in lines, the two strips, and in inches a number of a kernel, a strip and what parts them.

    is_changed  whether the strips differ
    """

    title: str
    before: Array
    after: Array
    dot: float
    strip: float
    gap: float
    is_changed: bool

    @classmethod
    def of(cls, layer: LayerKernels, width: float) -> "_Rows":
        """As they fit into a figure of this width."""
        reach = width - LEFT - RIGHT
        before, after = (
            _strip(kernels, layer.size, round(reach / SMALLEST)) for kernels in (layer.before, layer.after)
        )
        dot = min(LARGEST, reach / before.shape[1])
        return cls(
            label(layer.layer, width - LEFT - EDGE, 8),
            before,
            after,
            dot,
            before.shape[0] * dot,
            GAP if before.shape[0] == layer.size[0] else APART,
            layer.before != layer.after,
        )

    @property
    def above(self) -> float:
        """Inches of the title."""
        return TITLE + LINE * self.title.count("\n")

    @property
    def height(self) -> float:
        """Inches of all, with the gap below."""
        return self.above + 3 * (self.strip + self.gap) + GAP


def _draw_rows(axes: Axes, rows: _Rows, top: float, width: float) -> None:
    top += rows.above
    axes.text(LEFT, top - 0.06, rows.title, va="bottom")
    difference = rows.after - rows.before
    weights, change = _extreme(rows.before, rows.after), _extreme(difference)
    strips = (("before", rows.before, weights), ("after", rows.after, weights), ("difference", difference, change))
    for n, (name, strip, extreme) in enumerate(strips):
        y = top + n * (rows.strip + rows.gap)
        axes.text(LEFT - 0.08, y + rows.strip / 2, name, ha="right", va="center", fontsize=7)
        _show(axes, strip, extreme, (LEFT, LEFT + strip.shape[1] * rows.dot, y + rows.strip, y), name)
    _scale_bar(axes, weights, width, top, 2 * rows.strip + rows.gap)
    if rows.is_changed:
        _scale_bar(axes, change, width, top + 2 * (rows.strip + rows.gap), rows.strip)


def _strip(kernels: Kernels, size: tuple[int, int], most: int) -> Array:
    """Kernels side by side, of `most` numbers abreast, [rows * (k_h + 1) - 1, columns * (k_w + 1) - 1]; else NaN."""
    k_h, k_w = size
    rows = -(-len(kernels) // max(1, (most + 1) // (k_w + 1)))
    columns = -(-len(kernels) // rows)
    framed = np.full((rows * columns, k_h + 1, k_w + 1), np.nan)
    framed[: len(kernels), :-1, :-1] = np.reshape(kernels, (-1, k_h, k_w))
    tiled = framed.reshape(rows, columns, k_h + 1, k_w + 1).swapaxes(1, 2)
    return tiled.reshape(rows * (k_h + 1), columns * (k_w + 1))[:-1, :-1]


def _extreme(*strips: Array) -> float:
    """Of the scale, on either side of zero."""
    return max(float(np.nanmax(np.abs(strip))) for strip in strips) or 1.0


def _show(axes: Axes, numbers: Array, extreme: float, extent: tuple[float, float, float, float], name: str) -> None:
    image = axes.imshow(numbers, cmap=SIGNED, vmin=-extreme, vmax=extreme, extent=extent, interpolation="nearest",
                        aspect="auto")  # fmt: skip
    image.set_label(f"_{name}")


def _scale_bar(axes: Axes, extreme: float, width: float, top: float, height: float) -> None:
    left = width - RIGHT + 0.08
    right = left + 0.08
    _show(axes, np.linspace(extreme, -extreme, 64)[:, None], extreme, (left, right, top + height, top), "scale")
    middle, text = top + height / 2, f"{extreme:.2g}"
    three = ((top, text, "top"), (middle, "0", "center"), (top + height, f"−{text}", "bottom"))
    for y, said, alignment in three if height > LOWEST else ((middle, f"± {text}", "center"),):
        axes.text(right + 0.05, y, said, va=alignment, fontsize=7)
