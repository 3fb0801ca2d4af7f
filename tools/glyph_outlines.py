"""How `fewshot_km/data/readers/glyph_outlines.npz.xz` was made: the letters of `glyphs` out of matplotlib's fonts.

`python tools/glyph_outlines.py` writes it anew, with fontTools, from the fonts of matplotlib 3.11.2: other versions may
bring other letters.
"""

import io
import lzma
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont

from fewshot_km.data.readers.glyphs import CONTROL, CURVE, LINE, OUTLINES, START, Outline, class_character, outline_of
from fewshot_km.data.splits import read_class_lists

FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)

Points = list[tuple[int, tuple[float, float]]]
"""Kind and place, in font units, of each point of a letter: see the kinds in `glyphs`."""


class _PointPen(BasePen):  # type: ignore[misc]  # fontTools brings no types
    """Collects the points of a letter."""

    def __init__(self, glyphs: Any) -> None:
        super().__init__(glyphs)
        self.points: Points = []

    def _moveTo(self, pt: Any) -> None:  # noqa: N802 - the names that BasePen calls
        self.points.append((START, pt))

    def _lineTo(self, pt: Any) -> None:  # noqa: N802
        self.points.append((LINE, pt))

    def _qCurveToOne(self, pt1: Any, pt2: Any) -> None:  # noqa: N802
        self.points += [(CONTROL, pt1), (CURVE, pt2)]


def open_face(face: str) -> TTFont:
    """A font out of those that matplotlib ships, to be closed by the caller."""
    import matplotlib

    return TTFont(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf", lazy=True)


def read_points(face: str, characters: Collection[str]) -> dict[str, Points]:
    """Character -> its points, for those characters that the face draws."""
    found = {}
    with open_face(face) as font:
        glyphs, glyph_names = font.getGlyphSet(), font.getBestCmap()
        for character in characters:
            glyph_name = glyph_names.get(ord(character), ".notdef")
            pen = _PointPen(glyphs)
            if glyph_name != ".notdef":
                glyphs[glyph_name].draw(pen)
            if pen.points:
                found[character] = pen.points
    return found


def read_face(face: str, characters: Collection[str]) -> dict[str, Outline]:
    """Character -> its outline, for those characters that the face draws."""
    return {
        character: outline_of(np.array([place for _, place in points], float), np.array([kind for kind, _ in points]))
        for character, points in read_points(face, characters).items()
    }


def pack_outlines() -> dict[str, npt.NDArray[Any]]:
    """The arrays of the shipped file: per outline its character and number of points; kinds and steps of all points.

    Outlines come by face; steps are differences of places in half font units, which compress best.
    """
    characters = [class_character(name) for names in read_class_lists("glyphs").values() for name in names]
    letters = [item for face in FACES for item in read_points(face, characters).items()]
    doubled = 2 * np.array([place for _, points in letters for _, place in points], float)
    if (doubled != np.rint(doubled)).any():
        raise SystemExit("a point lies between half font units")
    return {
        "characters": np.array([ord(character) for character, _ in letters], "<u2"),
        "sizes": np.array([len(points) for _, points in letters], "<u2"),
        "kinds": np.array([kind for _, points in letters for kind, _ in points], np.uint8),
        "steps": np.asfortranarray(np.diff(doubled, axis=0, prepend=0).astype("<i2")),
    }


def main() -> None:
    """Write the outlines into the package."""
    target = Path(__file__).parents[1] / "fewshot_km" / "data" / "readers" / OUTLINES
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **pack_outlines())
    target.write_bytes(lzma.compress(packed.getvalue(), preset=9))


if __name__ == "__main__":
    main()
