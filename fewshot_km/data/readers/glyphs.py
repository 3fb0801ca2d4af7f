"""The embedded data set: letters of five scripts, drawn from font outlines that the package brings."""

import hashlib
import io
import lzma
import unicodedata
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.cache import Prepared, prepare, write_bank
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.splits import make_splits, read_class_lists
from fewshot_km.errors import DataError

VERSION = 1  # a change of any pixel makes another version: numbers of two versions are not comparable
OUTLINES = "glyph_outlines.npz.xz"  # beside this file, as tools/glyph_outlines.py writes it
DRAWINGS = 20  # per class, as in Omniglot
SIDE = 28  # pixels, as Omniglot is used in the papers
SAMPLES = 8  # sample points along a pixel's side: 64 levels of grey, more than the eye needs on an edge
GRID = 16 * SAMPLES  # vertices snap to 1/128 pixel: finer than the samples, coarse enough to round alike anywhere
PENS = (-1, 0, 1, 2)  # samples on either side, 1/8 pixel each: broader fills counters, finer leaves hairlines faint
CURVE_STEPS = 6  # chords per quadratic curve: for 99 in 100 curves within 1/20 pixel of the truth at 20 pixels
START, LINE, CONTROL, CURVE = range(4)  # a contour's first point, a line's end, a curve's control point, a curve's end

Outline = npt.NDArray[np.float64]
"""Directed chords [E, 2 ends, 2 = (x, y)], y upwards; contours are closed, their order does not matter."""


@DATASETS.register("glyphs")
def glyphs(data_root: Path) -> Dataset:  # noqa: ARG001 - nothing is fetched
    """Letters of five scripts from matplotlib's fonts: needs no download, drawn on first use.

    28x28 grey, ink bright, 20 drawings a class, each face at least once. Armenian, Georgian (test) and Cyrillic
    (validation) are unseen in training, and so are all variants of some Latin and Greek base letters.
    Raises DataError where the cache cannot be written.
    """
    lists = read_class_lists("glyphs")
    names = [name for names in lists.values() for name in names]
    bank = prepare("glyphs", f"glyphs {VERSION}: {names}", [], lambda: Prepared(draw_bank(names), lists, "")).bank
    return Dataset("glyphs", bank, make_splits(bank, {split: [[n] for n in names] for split, names in lists.items()}))


def draw_bank(names: Sequence[str]) -> ImageBank:
    """Draw the named classes into the cache; the images of a class depend on its name alone."""
    outlines = read_outlines()
    images = enumerate(image for name in names for image in draw_class(name, outlines))
    return write_bank("glyphs", names, [DRAWINGS] * len(names), (1, SIDE, SIDE), images)


def draw_class(name: str, outlines: Mapping[str, Sequence[Outline]]) -> npt.NDArray[np.uint8]:
    """The drawings of a class, uint8 [DRAWINGS, 1, 28, 28], from the outlines of its letter."""
    faces = outlines.get(class_character(name))
    if not faces:
        raise DataError(f"'glyphs' has no outline of the class '{name}'")
    # faces are drawn in turn; which of them come twice differs between classes
    first = int(uniform_numbers(f"glyphs {VERSION} {name}")[0] * len(faces))
    numbers = [uniform_numbers(f"glyphs {VERSION} {name} {i}").tolist() for i in range(DRAWINGS)]
    placed = [jitter(faces[(first + i) % len(faces)], six) for i, (*six, _, _) in enumerate(numbers)]
    filled = change_pen(rasterise(placed), [PENS[int(number * len(PENS))] for *_, number, _ in numbers])
    return shrink(filled)[:, None]


def read_outlines() -> dict[str, list[Outline]]:
    """Character -> its shipped outlines, one for each face that has it."""
    packed = lzma.decompress((files("fewshot_km.data.readers") / OUTLINES).read_bytes())
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        points = np.cumsum(arrays["steps"], axis=0, dtype=np.int64) / 2  # kept as differences, in half font units
        characters, sizes, kinds = (arrays[key] for key in ("characters", "sizes", "kinds"))
    outlines: dict[str, list[Outline]] = {}
    ends = np.cumsum(sizes).tolist()
    for character, end, size in zip(characters.tolist(), ends, sizes.tolist(), strict=True):
        own = slice(end - size, end)
        outlines.setdefault(chr(character), []).append(outline_of(points[own], kinds[own]))
    return outlines


def outline_of(points: npt.NDArray[np.float64], kinds: npt.NDArray[np.uint8]) -> Outline:
    """Chords of one letter, centred and the longer side of its box 1, from points [P, 2] and their kinds [P]."""
    ends, curves, starts = (np.flatnonzero(kinds == kind) for kind in (LINE, CURVE, START))
    t = (np.arange(CURVE_STEPS + 1) / CURVE_STEPS)[:, None, None]
    on_curves = (1 - t) * (1 - t) * points[curves - 2] + 2 * t * (1 - t) * points[curves - 1] + t * t * points[curves]
    lasts = np.append(starts[1:], len(points)) - 1
    lines = np.stack([points[np.append(ends - 1, lasts)], points[np.append(ends, starts)]], axis=1)
    return _centre(np.concatenate([lines, np.stack([on_curves[:-1], on_curves[1:]], axis=2).reshape(-1, 2, 2)]))


def class_character(name: str) -> str:
    """The character that a class draws: the inverse of class_name."""
    return unicodedata.lookup(name.replace("_", " "))


def _centre(outline: Outline) -> Outline:
    """Move the box's centre to the origin and make its longer side 1."""
    low, high = outline.min(axis=(0, 1)), outline.max(axis=(0, 1))
    centred: Outline = (outline - (low + high) / 2) / (high - low).max()
    return centred


def jitter(outline: Outline, numbers: Sequence[float]) -> Outline:
    """Place a letter as another hand would: turned, slanted, stretched, sized and shifted.

    numbers are six uniform ones from [0, 1); the result is in pixels from the picture's centre. The ranges
    are modest: chosen by eye so that accents stay readable on the smallest letters.
    """
    turn, slant, stretch, size, right, up = (2 * n - 1 for n in numbers)
    tangent = 0.09 * turn  # of half the angle, up to 10 degrees; the rational form of a rotation needs no libm
    cosine, sine = (1 - tangent * tangent) / (1 + tangent * tangent), 2 * tangent / (1 + tangent * tangent)
    wider = 1 + 0.12 * stretch
    x, y = outline[..., 0] * wider, outline[..., 1] / wider
    x = x + 0.15 * slant * y
    turned = _centre(np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1))
    # the largest letter, 22 pixels, shifted by 1.5 and drawn with a broad pen, 0.4, keeps a pixel from the border
    shifted: Outline = turned * (20 + 2 * size) + np.array([1.5 * right, 1.5 * up])
    return shifted


def rasterise(outlines: Sequence[Outline], side: int = SIDE) -> npt.NDArray[np.bool_]:
    """Fill outlines, given in pixels from the picture's centre, by the non-zero winding rule.

    Returns bool [number of outlines, side * SAMPLES, side * SAMPLES]: whether each sample point lies inside. Crossings
    of chords with the rows of sample points are exact integers.
    """
    samples = side * SAMPLES
    step = GRID // SAMPLES
    vertices = np.rint(np.concatenate(outlines) * [GRID, -GRID]).astype(np.int64) + side * GRID // 2
    picture = np.repeat(np.arange(len(outlines)), [len(o) for o in outlines])
    downwards = np.where(vertices[:, 1, 1] > vertices[:, 0, 1], 1, -1)
    upper, lower = np.where((downwards > 0)[:, None, None], vertices, vertices[:, ::-1]).transpose(1, 0, 2)

    # sample row r lies at step * r + step / 2; a chord owns the rows in [upper, lower)
    first, last = (np.clip(-((step // 2 - end[:, 1]) // step), 0, samples) for end in (upper, lower))
    rows_of_chord = last - first
    chord = np.repeat(np.arange(len(vertices)), rows_of_chord)
    row = np.arange(len(chord)) - np.repeat(np.cumsum(rows_of_chord) - rows_of_chord, rows_of_chord) + first[chord]
    (dx, dy), (x, y) = (lower - upper)[chord].T, upper[chord].T
    crossing_times_dy = x * dy + dx * (step * row + step // 2 - y)
    column = np.clip(-((step // 2 * dy - crossing_times_dy) // (step * dy)), 0, samples)

    winding = np.zeros((len(outlines), samples, samples + 1), dtype=np.int8)
    np.add.at(winding, (picture[chord], row, column), downwards[chord].astype(np.int8))
    filled: npt.NDArray[np.bool_] = np.cumsum(winding, axis=2, dtype=np.int8)[:, :, :samples] != 0
    return filled


def change_pen(filled: npt.NDArray[np.bool_], broader: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Broaden strokes [n, S, S] by so many samples on either side; negative numbers make them finer.

    A stroke is never made so fine that it breaks: the part that would vanish stays as it is.
    """
    widths = np.asarray(broader)
    result = filled.copy()
    for width in np.unique(widths[widths != 0]):
        chosen = widths == width
        ink = filled[chosen]
        if width > 0:
            result[chosen] = _spread(ink, width)
        else:
            fine = ~_spread(~ink, -width)
            result[chosen] = fine | (ink & ~_spread(fine, 1 - width))
    return result


def _spread(ink: npt.NDArray[np.bool_], distance: int) -> npt.NDArray[np.bool_]:
    """Dilate [n, S, S] by an octagon: steps to 4 and to 8 neighbours in turn."""
    for step in range(distance):
        grown = ink.copy()
        grown[:, 1:] |= ink[:, :-1]
        grown[:, :-1] |= ink[:, 1:]
        across = grown if step % 2 else ink
        wider = grown.copy()
        wider[:, :, 1:] |= across[:, :, :-1]
        wider[:, :, :-1] |= across[:, :, 1:]
        ink = wider
    return ink


def shrink(filled: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Grey pixels uint8 [n, side, side] out of sample points: 255 where all of a pixel's points are ink."""
    n, samples, _ = filled.shape
    blocks = filled.reshape(n, samples // SAMPLES, SAMPLES, samples // SAMPLES, SAMPLES)
    points = blocks.sum(axis=(2, 4), dtype=np.int64)
    grey: npt.NDArray[np.uint8] = ((points * 255 + SAMPLES**2 // 2) // SAMPLES**2).astype(np.uint8)
    return grey


def uniform_numbers(key: str) -> npt.NDArray[np.float64]:
    """Eight numbers from [0, 1) that depend on the key alone: no generator's stream may change them."""
    words = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u4")
    numbers: npt.NDArray[np.float64] = words / 2.0**32
    return numbers
