"""The embedded data set: letters of five scripts, drawn with the fonts that matplotlib ships."""

import hashlib
import json
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.readers.glyph_drawing import (
    FACES,
    Outline,
    change_pen,
    class_character,
    jitter,
    rasterise,
    read_outlines,
    shrink,
    uniform_numbers,
)
from fewshot_km.data.splits import make_splits, read_class_lists
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE, cache_root
from fewshot_km.errors import DataError
from fewshot_km.text import one_line

GLYPHS_VERSION = 1  # a change of any pixel makes another version: numbers of two versions are not comparable
GLYPHS_DIGEST = (
    "474b0646192987961519c4b4b7a89731fdde829be6cacd731ebc44cca078d691"  # as drawn with the fonts of matplotlib 3.11.2
)
GLYPHS_MATPLOTLIB = "3.11.2"
DRAWINGS = 20  # per class, as in Omniglot
PENS = (-1, 0, 1, 2)  # samples on either side, 1/8 pixel each: broader fills counters, finer leaves hairlines faint


@DATASETS.register("glyphs")
def glyphs(data_root: Path) -> Dataset:  # noqa: ARG001 - nothing is fetched
    """Letters of five scripts from matplotlib's fonts: needs no download, drawn on first use.

    28x28 grey, ink bright, 20 drawings a class, each face at least once. Armenian, Georgian (test) and Cyrillic
    (validation) are unseen in training, and so are all variants of some Latin and Greek base letters.
    Warns where the fonts differ from those that published numbers were made with; raises DataError where they are
    missing or the cache cannot be written.
    """
    lists = read_class_lists("glyphs")
    bank = cached_bank([name for names in lists.values() for name in names])
    if bank.digest != GLYPHS_DIGEST:
        warnings.warn(
            f"the data set 'glyphs' has digest {bank.digest[:12]} here and {GLYPHS_DIGEST[:12]} elsewhere: "
            f"matplotlib {version('matplotlib')} brings other fonts than {GLYPHS_MATPLOTLIB}, "
            "so results on it are not comparable with other machines'",
            stacklevel=2,
        )
    return Dataset("glyphs", bank, make_splits(bank, {split: [[n] for n in names] for split, names in lists.items()}))


def cached_bank(names: Sequence[str]) -> ImageBank:
    """The bank of these classes: from the cache, else drawn and put there."""
    key = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
    path = cache_root() / f"glyphs-v{GLYPHS_VERSION}-{key}.npy"
    bank = ImageBank.open(path)
    if bank is None:
        what = f"drawing the data set 'glyphs' ({len(names)} letters), once: kept as {path}"
        print(one_line(what), file=sys.stderr)
        bank = draw_bank(names)
        try:
            bank.save(path)
        except OSError as error:
            raise DataError(
                f"cannot keep the data set 'glyphs' in {path.parent}: {error.strerror or error}; "
                f"name a folder that can be written with {CACHE_ROOT_VARIABLE}"
            ) from error
    return ImageBank.open(path) or bank


def draw_bank(names: Sequence[str]) -> ImageBank:
    """Draw the named classes; a class's pictures depend on its name alone."""
    characters = [class_character(name) for name in names]
    outlines = [read_outlines(face, characters) for face in FACES]
    return ImageBank.from_classes(
        names,
        (
            draw_class(name, [of_face[letter] for of_face in outlines if letter in of_face])
            for name, letter in zip(names, characters, strict=True)
        ),
    )


def draw_class(name: str, faces: Sequence[Outline]) -> npt.NDArray[np.uint8]:
    """The class's drawings, uint8 [DRAWINGS, 1, 28, 28], from its outlines in all faces that have it."""
    if not faces:
        raise DataError(f"no font of matplotlib {version('matplotlib')} draws the class '{name}' of 'glyphs'")
    # faces are drawn in turn; which of them come twice differs between classes
    first = int(uniform_numbers(f"glyphs {GLYPHS_VERSION} {name}")[0] * len(faces))
    numbers = [uniform_numbers(f"glyphs {GLYPHS_VERSION} {name} {i}").tolist() for i in range(DRAWINGS)]
    placed = [jitter(faces[(first + i) % len(faces)], six) for i, (*six, _, _) in enumerate(numbers)]
    filled = change_pen(rasterise(placed), [PENS[int(number * len(PENS))] for *_, number, _ in numbers])
    return shrink(filled)[:, None]
