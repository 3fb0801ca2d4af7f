"""Letters drawn from font outlines, in integer arithmetic: the same fonts give the same bytes on every machine."""

import hashlib
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont

from fewshot_km.errors import DataError

FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)

SIDE = 28  # pixels, as Omniglot is used in the papers
SAMPLES = 8  # sample points along a pixel's side: 64 levels of grey, more than the eye needs on an edge
GRID = (
    16 * SAMPLES
)  # vertices snap to 1/128 pixel: finer than the samples, coarse enough for rounding to agree anywhere
CURVE_STEPS = 6  # chords per quadratic curve: for 99 in 100 curves within 1/20 pixel of the truth at 20 pixels

Outline = npt.NDArray[np.float64]
"""Directed chords [E, 2 ends, 2 = (x, y)], y upwards; contours are closed, their order does not matter."""


def class_name(character: str) -> str:
    """The character's Unicode name as an identifier: 'latin_small_letter_e_with_acute'. Unicode never changes names."""
    return unicodedata.name(character).lower().replace(" ", "_")


def class_character(name: str) -> str:
    """The character that a class draws: the inverse of class_name."""
    return unicodedata.lookup(name.replace("_", " "))


class _ChordPen(BasePen):  # type: ignore[misc]  # fontTools brings no types
    """Collects a glyph's contours as chords."""

    def __init__(self, glyphs: Any) -> None:
        super().__init__(glyphs)
        self.chords: list[tuple[tuple[float, float], tuple[float, float]]] = []
        self._start = self._here = (0.0, 0.0)

    def _moveTo(self, pt: Any) -> None:  # noqa: N802 - the names that BasePen calls
        self._start = self._here = pt

    def _lineTo(self, pt: Any) -> None:  # noqa: N802
        self.chords.append((self._here, pt))
        self._here = pt

    def _qCurveToOne(self, pt1: Any, pt2: Any) -> None:  # noqa: N802
        (x0, y0), (x1, y1), (x2, y2) = self._here, pt1, pt2
        for step in range(1, CURVE_STEPS + 1):
            t = step / CURVE_STEPS
            a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
            self._lineTo((a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2))

    def _closePath(self) -> None:  # noqa: N802
        self._lineTo(self._start)


def open_face(face: str) -> TTFont:
    """A font out of those that matplotlib ships, to be closed by the caller; raises DataError where it is missing."""
    import matplotlib  # a fifth of a second, which only drawing is worth

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    if not path.is_file():
        raise DataError(f"the font file {path} is missing: reinstall matplotlib, whose wheel brings it")
    return TTFont(path, lazy=True)


def read_outlines(face: str, characters: Collection[str]) -> dict[str, Outline]:
    """Outlines of those characters that the face draws, centred, the longer side of the box 1."""
    outlines = {}
    with open_face(face) as font:
        glyphs, glyph_names = font.getGlyphSet(), font.getBestCmap()
        for character in characters:
            glyph_name = glyph_names.get(ord(character), ".notdef")
            if glyph_name == ".notdef":
                continue
            pen = _ChordPen(glyphs)
            glyphs[glyph_name].draw(pen)
            if pen.chords:
                outlines[character] = _centre(np.array(pen.chords, dtype=np.float64))
    return outlines


def _centre(outline: Outline) -> Outline:
    """Move the box's centre to the origin and make its longer side 1."""
    low, high = outline.min(axis=(0, 1)), outline.max(axis=(0, 1))
    centred: Outline = (outline - (low + high) / 2) / (high - low).max()
    return centred


def jitter(outline: Outline, numbers: Sequence[float]) -> Outline:
    """A letter as another hand would place it: turned, slanted, stretched, sized and shifted.

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
