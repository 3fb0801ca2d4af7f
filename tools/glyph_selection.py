"""How the classes of `glyphs` were chosen.

`python tools/glyph_selection.py` rewrites the frozen lists.

Candidates are the letters of five scripts that at least twelve of the faces draw. Two letters look alike where, drawn
to the same box, little ink of either lies more than a pixel away from ink of the other; of look-alikes one stays.

The splits keep test classes new. Whole scripts are held out: Armenian and Georgian for test, Cyrillic for validation.
Latin and Greek are the training scripts, but some of their base letters, each with all its variants (case, accents,
hooks, turned and reversed forms), go to validation and test as well, so that these hold accented letters too.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from glyph_outlines import FACES, open_face, read_face
from scipy.ndimage import grey_dilation

from fewshot_km.data.readers.glyphs import Outline, class_character, rasterise, shrink
from fewshot_km.data.storage import write_text

SCRIPTS = ("georgian", "armenian", "cyrillic", "greek", "latin")  # of look-alikes the scarcer, held-out script's stays
HELD_OUT = {"georgian": "test", "armenian": "test", "cyrillic": "val"}
FAMILY_SHARES = {"test": 0.12, "val": 0.08}  # of Latin's and Greek's base letters: 20-way episodes with room to spare

MIN_FACES = 12  # a class shows as many hands as faces: Omniglot has twenty, the letters in all DejaVu faces have twelve
COMPARED_FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono-Oblique", "DejaVuSerif", "DejaVuSerif-BoldItalic")
DRAWN_SIZE = 20  # pixels, the middle of the sizes that letters are drawn at

# Square pixels of ink without a counterpart, both ways. By eye over contact sheets: many a pair below 7 (d with hook
# and with caron, Latin and Cyrillic phi) takes a second look, pairs above (n with tilde, with acute) mostly do not.
LOOK_ALIKE_INK = 7.0
# Letters of two scripts may stand in two splits, where a twin would make a test class known: stricter. Up to 10 stand
# Latin and Cyrillic y, Greek chi and Cyrillic ha, Armenian and Cyrillic S; above, pairs differ in a stroke or a mark.
OTHER_SCRIPT_INK = 10.0
# Capital and small form of one letter differ in proportions alone up to 14 (Cyrillic i, kje), which jitter hides.
CASE_TWIN_INK = 14.0


def class_name(character: str) -> str:
    """The character's Unicode name as an identifier: 'latin_small_letter_e_with_acute'. Unicode never changes names."""
    return unicodedata.name(character).lower().replace(" ", "_")


def script_of(name: str) -> str:
    """The script that a class name begins with."""
    return name.partition("_")[0]


def family_of(name: str) -> str:
    """Script and base letter of a class, shared by all variants of the letter.

    The base is what canonical decomposition leaves first; of its name, the last word before 'with': so 'turned a',
    'small a', 'capital a with ring above' and 'a with hook' all belong to 'latin_a'.
    """
    base = class_name(unicodedata.normalize("NFKD", class_character(name))[0])
    return f"{script_of(name)}_{re.split('_with_', base)[0].rpartition('_')[2]}"


def candidates() -> list[str]:
    """Letters worth comparing, those that should win against their look-alikes first."""
    faces_of: Counter[int] = Counter()
    for face in FACES:
        with open_face(face) as font:
            faces_of.update(font.getBestCmap().keys())
    letters = [chr(code) for code, faces in faces_of.items() if faces >= MIN_FACES and _is_single_letter(chr(code))]
    return sorted(letters, key=_precedence)


def _is_single_letter(character: str) -> bool:
    """Whether it is one full letter of our scripts: no digraph or ligature, no small capital, no modifier."""
    if unicodedata.category(character) not in ("Lu", "Ll", "Lt", "Lo"):
        return False
    name = class_name(character)
    parts = [c for c in unicodedata.normalize("NFKD", character) if unicodedata.category(c).startswith("L")]
    return script_of(name) in SCRIPTS and len(parts) == 1 and "small_capital" not in name


def _precedence(character: str) -> tuple[int, bool, int, int]:
    """Plain letters before marked ones, then scarce scripts before plentiful ones."""
    name = class_name(character)
    marks = len(unicodedata.normalize("NFD", character))
    return marks, "_with_" in name, SCRIPTS.index(script_of(name)), ord(character)


def unmatched_ink(letters: Sequence[str]) -> npt.NDArray[np.float64]:
    """Ink of either letter that the other lacks, in square pixels, float64 [n, n]; a mean over the compared faces.

    The lesser of two values: drawn with their own proportions, and both stretched to a square, as jitter stretches.
    """
    ink, faces = np.zeros((2, len(letters), len(letters))), np.zeros((len(letters), len(letters)))
    for face in COMPARED_FACES:
        outlines = read_face(face, letters)
        drawn = np.array([i for i, letter in enumerate(letters) if letter in outlines])
        faces[np.ix_(drawn, drawn)] += 1
        for kind, sizes in enumerate((_own_size, _square_size)):
            pictures = [outlines[letters[i]] * sizes(outlines[letters[i]]) for i in drawn]
            ink[kind][np.ix_(drawn, drawn)] += _unmatched(_draw(pictures))
    mean: npt.NDArray[np.float64] = ink.min(axis=0) / np.maximum(faces, 1)
    return mean


def _own_size(outline: Outline) -> npt.NDArray[np.float64]:  # noqa: ARG001 - the counterpart of _square_size
    return np.array([DRAWN_SIZE, DRAWN_SIZE], dtype=np.float64)


def _square_size(outline: Outline) -> npt.NDArray[np.float64]:
    box = np.ptp(outline, axis=(0, 1))
    return DRAWN_SIZE / box if box.min() > 0.4 else _own_size(outline)  # bars such as I would become blocks


def _draw(outlines: Sequence[Outline]) -> npt.NDArray[np.float64]:
    """Pictures [n, 28, 28] with ink from 0 to 1, drawn in portions that fit in memory."""
    portions = [shrink(rasterise(outlines[i : i + 64])) for i in range(0, len(outlines), 64)]
    return np.concatenate(portions) / 255.0


def _unmatched(pictures: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ink [n, n] of one picture beyond a pixel of the other's, plus the reverse; 0 of a picture with itself."""
    near = grey_dilation(pictures, (1, 3, 3)).reshape(len(pictures), -1)
    flat = pictures.reshape(len(pictures), -1)
    one_way = flat.sum(axis=1)[:, None] - flat @ near.T
    one_way -= np.diag(one_way)[:, None]
    both: npt.NDArray[np.float64] = one_way + one_way.T
    return both


def drop_look_alikes(letters: Sequence[str]) -> list[str]:
    """Those letters that differ enough from every one that stands before them and stays."""
    ink = unmatched_ink(letters)
    kept: list[int] = []
    for i, letter in enumerate(letters):
        needed = np.array([_needed_ink(letter, letters[k]) for k in kept])
        if bool((ink[i, kept] > needed).all()):
            kept.append(i)
    return [letters[i] for i in kept]


def _needed_ink(letter: str, other: str) -> float:
    if other in (letter.lower(), letter.upper()):
        return CASE_TWIN_INK
    same_script = script_of(class_name(letter)) == script_of(class_name(other))
    return LOOK_ALIKE_INK if same_script else OTHER_SCRIPT_INK


def assign_splits(names: Collection[str]) -> dict[str, list[str]]:
    """Class names by split, sorted: by script where that is held out, else by base letter."""
    split_of = {name: HELD_OUT.get(script_of(name)) or _family_split(family_of(name)) for name in names}
    return {split: sorted(n for n in names if split_of[n] == split) for split in ("train", "val", "test")}


def _family_split(family: str) -> str:
    """The split of a base letter, by a hash of its name: it does not move when other letters come or go."""
    place = int.from_bytes(hashlib.sha256(family.encode()).digest()[:4], "big") / 2**32
    for split, share in FAMILY_SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


def select_classes() -> dict[str, list[str]]:
    """The class lists from scratch, from the fonts alone."""
    return assign_splits([class_name(letter) for letter in drop_look_alikes(candidates())])


def write_class_lists(lists: Mapping[str, Sequence[str]], path: Path) -> None:
    """Freeze class lists as JSON, one class a line so that changes can be read."""
    write_text(path, json.dumps(lists, indent=1) + "\n")


def main() -> None:
    """Rewrite the frozen lists and print how many classes of each script they have."""
    lists = select_classes()
    write_class_lists(lists, Path(__file__).parents[1] / "fewshot_km" / "data" / "class_lists" / "glyphs.json")
    for split, names in lists.items():
        scripts = Counter(script_of(n) for n in names)
        print(f"{split}: {len(names)} classes ({', '.join(f'{n} {s}' for s, n in scripts.most_common())})")


if __name__ == "__main__":
    main()
