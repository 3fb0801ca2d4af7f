"""Sheets of images: classes of a split, or the support and query images of one episode."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fewshot_km.data import Dataset
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.storage import whole_file
from fewshot_km.text import one_line

DOTS_PER_INCH = 150
SMALLEST_IMAGE = 68  # dots on either side: a 28x28 image is shown at more than twice its size
MOST_LETTERS = 200  # of a class name: as wide as the widest sheet
SHEET_COLUMNS = 20  # images of a class on a sheet: all of a character's drawings, a sample of larger classes


def class_sheet(dataset: Dataset, split: str, classes: int, out: Path) -> None:
    """Draw `classes` classes of a split, evenly spread, one per row with its first images; writes `out`."""
    rows = dataset.splits[split].classes[:, 0]
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(classes, len(rows))).astype(int))]
    starts, counts = dataset.bank.starts[chosen], dataset.bank.counts[chosen]
    columns = min(SHEET_COLUMNS, int(counts.min()))
    ids = starts[:, None] + np.arange(columns)
    names = [dataset.bank.class_names[c] for c in chosen]
    title = f"{_name(dataset)}, {split}: {len(chosen)} of {len(rows)} classes"
    _draw(dataset.bank.images[ids], names, title, [], out)


def episode_sheet(dataset: Dataset, split: str, spec: TaskSpec, index: int, out: Path) -> None:
    """Draw one episode of the test stream, a row per label: support images, a gap, query images; writes `out`.

    Raises DataError where the split does not allow such a task.
    """
    ids = EpisodeSampler(dataset, split, spec, Stream("test", 0)).image_ids([index])[0]
    bank = dataset.bank
    owner = np.searchsorted(bank.starts, ids[:, 0], side="right") - 1
    names = [f"{label}: {bank.class_names[c]}" for label, c in enumerate(owner)]
    title = f"{_name(dataset)}, {split}, {spec}, episode {index}: support | query"
    _draw(bank.images[ids], names, title, [spec.shots], out)


def _name(dataset: Dataset) -> str:
    return f"{dataset.name} (partial: {dataset.partial})" if dataset.partial else dataset.name


def _draw(images: npt.NDArray[np.uint8], names: Sequence[str], title: str, gaps: Sequence[int], out: Path) -> None:
    """images uint8 [rows, columns, C, H, W]; `gaps` are columns that get a line on their left."""
    rows, columns, channels, height, width = images.shape
    border = np.pad(images, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)), constant_values=90)
    sheet = border.transpose(0, 3, 1, 4, 2).reshape(rows * (height + 2), columns * (width + 2), channels)
    inches = max(SMALLEST_IMAGE, height) / DOTS_PER_INCH
    figure = Figure(figsize=(columns * inches, rows * inches))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet if channels == 3 else sheet[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_yticks(
        (np.arange(rows) + 0.5) * (height + 2),
        [one_line(name, MOST_LETTERS).replace("$", r"\$") for name in names],
        fontsize=8,
    )
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_title(one_line(title).replace("$", r"\$"), fontsize=9, loc="left")
    for gap in gaps:
        axes.axvline(gap * (width + 2) - 0.5, color="tab:orange", linewidth=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box, where no font has a name's letters
        # tight: around names and title too, however long they are
        with whole_file(out) as part:
            figure.savefig(
                part,
                format=out.suffix[1:],
                dpi=DOTS_PER_INCH,
                bbox_inches="tight",
                metadata={"Date": None} if out.suffix == ".svg" else None,
            )
