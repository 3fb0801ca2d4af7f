"""Pictures of convolution kernels before and after the adaptation to a task (Hu & Liu 2022, figure 3)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from fewshot_km.grid.analysis_file import Kernels, LayerKernels
from fewshot_km.reporting.grid_results import GridResults
from fewshot_km.reporting.picture import Picture
from fewshot_km.reporting.picture_layout import WIDTH, blank
from fewshot_km.reporting.picture_text import label
from fewshot_km.reporting.report import Report
from fewshot_km.reporting.statistics import Array

# dark below zero, light above it, also without colour; the hue says it again
SIGNED = LinearSegmentedColormap.from_list("signed", ("#08265c", "#30528f", "#848484", "#e2ae66", "#fff1c9"))
MOST_LAYERS = 8  # as many as stand on a page
LEFT, STRIP = 0.75, 5.5  # inches: where kernels begin, and how far they may reach
LOWEST = 0.22  # inches of a scale that has room for three numbers
LARGEST = 0.12  # inches of a number of a kernel
TITLE, GAP = 0.24, 0.06  # inches above a layer, and between its rows


def draw_kernels(report: Report) -> list[Picture]:
    """A picture for each learner whose kernels change: of its first such cell, each layer before, after, difference."""
    pictures = []
    for method in report.results.methods:
        for where, layers in _changed(report.results, method):
            pictures.append(_draw(method, where, layers))
            break
    return pictures


def _changed(results: GridResults, method: str) -> list[tuple[str, tuple[LayerKernels, ...]]]:
    """Of the learner's cells whose kernels change: which one, and all its layers."""
    return [
        (f"{task}, seed {seed}", stored.analysis.kernels)
        for task in results.tasks
        for seed, stored in zip(results.scores[task, method].seeds, results.scores[task, method].stored, strict=False)
        if stored.analysis and any(layer.before != layer.after for layer in stored.analysis.kernels)
    ]


def _draw(method: str, where: str, layers: Sequence[LayerKernels]) -> Picture:
    shown = [layers[n] for n in np.unique(np.linspace(0, len(layers) - 1, min(MOST_LAYERS, len(layers))).astype(int))]
    strips = [[_strip(kernels, layer.size) for kernels in (layer.before, layer.after)] for layer in shown]
    dots = [min(LARGEST, STRIP / before.shape[1]) for before, _ in strips]  # inches of a number
    heights = [before.shape[0] * dot for (before, _), dot in zip(strips, dots, strict=True)]
    figure, axes = blank(WIDTH, sum(TITLE + 3 * (height + GAP) + GAP for height in heights))
    top = 0.0
    for layer, (before, after), dot, height in zip(shown, strips, dots, heights, strict=True):
        axes.text(LEFT, top + TITLE - 0.06, label(layer.layer, STRIP, 8), va="bottom")
        top += TITLE
        weights, change = _reach(before, after), _reach(after - before)
        rows = (("before", before, weights), ("after", after, weights), ("difference", after - before, change))
        for row, (name, strip, reach) in enumerate(rows):
            y = top + row * (height + GAP)
            axes.text(LEFT - 0.08, y + height / 2, name, ha="right", va="center", fontsize=7)
            _show(axes, strip, reach, (LEFT, LEFT + strip.shape[1] * dot, y + height, y), name)
        _scale_bar(axes, weights, top, 2 * height + GAP)
        if layer.before != layer.after:
            _scale_bar(axes, change, top + 2 * (height + GAP), height)
        top += 3 * (height + GAP) + GAP
    caption = (
        f"Kernels of {method} on {where}: the first {len(shown[0].before)} of each convolution, of their first input "
        "channel, as meta-trained (before), after adapting to test episode 0 (after), and after minus before. Dark is "
        "negative, light positive; each layer has its own scale, and so has its difference."
    )
    if len(shown) < len(layers):
        caption += f" {len(shown)} of {len(layers)} layers."
    return Picture(f"kernels-{method}", f"Kernels of {method} before and after adaptation", caption, figure)


def _strip(kernels: Kernels, size: tuple[int, int]) -> Array:
    """Kernels side by side, [k_h, n * (k_w + 1) - 1], NaN between them."""
    framed = [np.pad(np.reshape(k, size), ((0, 0), (0, 1)), constant_values=np.nan) for k in kernels]
    return np.concatenate(framed, axis=1)[:, :-1]


def _reach(*strips: Array) -> float:
    """Of the scale, on either side of zero."""
    return max(float(np.nanmax(np.abs(strip))) for strip in strips) or 1.0


def _show(axes: Axes, numbers: Array, reach: float, extent: tuple[float, float, float, float], name: str) -> None:
    image = axes.imshow(numbers, cmap=SIGNED, vmin=-reach, vmax=reach, extent=extent, interpolation="nearest",
                        aspect="auto")  # fmt: skip
    image.set_label(f"_{name}")


def _scale_bar(axes: Axes, reach: float, top: float, height: float) -> None:
    left, right = WIDTH - 0.6, WIDTH - 0.5
    _show(axes, np.linspace(reach, -reach, 64)[:, None], reach, (left, right, top + height, top), "scale")
    middle, text = top + height / 2, f"{reach:.2g}"
    three = ((top, text, "top"), (middle, "0", "center"), (top + height, f"−{text}", "bottom"))
    for y, said, alignment in three if height > LOWEST else ((middle, f"± {text}", "center"),):
        axes.text(right + 0.05, y, said, va=alignment, fontsize=5)
