"""Omniglot: 1623 handwritten characters of 20 drawings each, under both of its published protocols."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.cache import Prepared, in_threads, prepare, write_bank
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.file_lists import write_file_list
from fewshot_km.data.files.impostors import name_impostor
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import describe_damage
from fewshot_km.data.layouts.omniglot_files import Characters, find_omniglot, list_characters
from fewshot_km.data.layouts.torchmeta_omniglot import Hdf5Tree
from fewshot_km.data.splits import make_splits, read_class_lists
from fewshot_km.errors import DataError

CHARACTERS = (964, 659)  # in images_background and images_evaluation, as published
DRAWINGS = 20
DRAWN_SIZE = 105
SIZE = 28  # as in MAML and Matching Networks
ANGLES = (0, 90, 180, 270)  # degrees, counter-clockwise, as np.rot90 turns
DRAWING_LIMIT = 1 << 20  # bytes; the largest real drawing has about 500, so more than this is an attack or a mistake
# change it with the decoding: older caches are then left alone
RECIPE = "28x28 Lanczos of L, ink 255, four rotations, with the names of files"


@DATASETS.register("omniglot")
def omniglot(data_root: Path) -> Dataset:
    """Omniglot as in MAML: 1100/100/423 random characters; each episode draws one rotation per character."""
    rows = {s: [views(name) for name in names] for s, names in read_class_lists("omniglot").items()}
    prepared = load_bank(data_root)
    return Dataset("omniglot", prepared.bank, make_splits(prepared.bank, rows), prepared.found)


@DATASETS.register("omniglot-vinyals")
def omniglot_vinyals(data_root: Path) -> Dataset:
    """Omniglot with the fixed split of Vinyals et al.: 1028/172/423 characters; their rotations are new classes."""
    lists = read_class_lists("omniglot-vinyals")
    rows = {s: [[view] for name in names for view in views(name)] for s, names in lists.items()}
    prepared = load_bank(data_root)
    return Dataset("omniglot-vinyals", prepared.bank, make_splits(prepared.bank, rows), prepared.found)


def views(name: str) -> list[str]:
    """The bank's class names of one character: itself turned by 0, 90, 180 and 270 degrees counter-clockwise."""
    return [f"{name}@{angle}" for angle in ANGLES]


def load_bank(data_root: Path) -> Prepared:
    """The bank of all characters in four rotations; decoded where it is not cached."""
    trees = find_omniglot(data_root)
    found = " and ".join(tree.path.name for tree in trees)
    if any(isinstance(tree, Hdf5Tree) for tree in trees):
        found += ", where the drawings of a character are in no known order"
    counts = CHARACTERS if len(trees) == len(CHARACTERS) else (sum(CHARACTERS),)
    return prepare("omniglot", RECIPE, trees, lambda: Prepared(read_bank(trees, counts), {}, found))


def read_bank(halves: Sequence[FileTree], counts: Sequence[int]) -> ImageBank:
    """Decode all drawings: uint8 [20, 1, 28, 28] per class, ink 255, characters by name, each with its four rotations.

    `counts` are the characters of each tree, a half or both. Raises DataError where one is incomplete or damaged.
    """
    found = [list_characters(half) for half in halves]
    check_complete(halves, counts, found)
    names = sorted(name for characters in found for name in characters)
    first = {name: c * len(ANGLES) * DRAWINGS for c, name in enumerate(names)}

    def images() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        for half, characters in zip(halves, found, strict=True):
            name_of = {member: name for name, members in characters.items() for member in members}
            drawn: dict[str, dict[str, npt.NDArray[np.uint8]]] = {name: {} for name in characters}
            for member, drawing in in_threads(_decode_or_say, half.read(list(name_of), DRAWING_LIMIT)):
                if isinstance(drawing, str):
                    raise DataError(f"{half} is damaged: drawing '{member}': {drawing}. {_AGAIN}")
                name = name_of[member]
                drawn[name][member] = drawing
                if len(drawn[name]) == DRAWINGS:  # neighbours in the bank, which are written fastest together
                    own = drawn.pop(name)
                    upright = np.stack([own[m] for m in characters[name]])
                    turned = np.concatenate([np.rot90(upright, turns, (1, 2)) for turns in range(len(ANGLES))])
                    yield from enumerate(turned[:, None], start=first[name])

    classes = [view for name in names for view in views(name)]
    bank = write_bank("omniglot", classes, [DRAWINGS] * len(classes), (1, SIZE, SIZE), images())
    files = {name: members for characters in found for name, members in characters.items()}
    listed = [member for name in names for _ in views(name) for member in files[name]]
    return replace(bank, file_list=write_file_list("omniglot", listed))


def check_complete(halves: Sequence[FileTree], counts: Sequence[int], found: Sequence[Characters]) -> None:
    """Raise DataError, with the half and the names, unless all characters are there with drawings 01 to 20."""
    known = {name for names in read_class_lists("omniglot").values() for name in names}
    absent = sorted(known.difference(*found))
    for half, characters, count in zip(halves, found, counts, strict=True):
        if len(characters) != count:
            strange = sorted(set(characters) - known)
            named = f"; missing: {_some(absent)}" if absent else f"; unknown: {_some(strange)}" if strange else ""
            raise DataError(f"{half} holds {len(characters)} characters, not {count}{named}. {_AGAIN}")
        for name, members in characters.items():
            numbers = [int(PurePosixPath(m).stem.rpartition("_")[2]) for m in members]
            if numbers != list(range(1, DRAWINGS + 1)):
                gaps = [f"{n:02d}" for n in range(1, DRAWINGS + 1) if n not in numbers]
                named = f"; missing: {_some(gaps)}" if gaps else ""
                raise DataError(f"{half}: {name} has {len(members)} drawings, not {DRAWINGS}{named}. {_AGAIN}")


def decode_drawing(data: bytes) -> npt.NDArray[np.uint8]:
    """One PNG of 105x105, dark ink on white -> uint8 [28, 28], ink 255; raises Pillow's many errors."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        if image.size != (DRAWN_SIZE, DRAWN_SIZE):
            raise ValueError(f"it is {image.size[0]}x{image.size[1]}, not {DRAWN_SIZE}x{DRAWN_SIZE}")
        image.verify()  # the chunks' checksums, which loading does not look at; it uses the image up
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        # to L first: on 1-bit images Pillow silently resizes by nearest neighbour, whatever filter is asked for
        small = image.convert("L").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return 255 - np.asarray(small)


def _decode_or_say(data: bytes) -> npt.NDArray[np.uint8] | str:
    try:
        return decode_drawing(data)
    except UnidentifiedImageError:
        return f"it is {name_impostor(data) or 'no PNG image'}"
    except Exception as error:  # Pillow answers damaged bytes with a dozen unrelated types
        return describe_damage(error, data)


_AGAIN = "Move it away and run `fewshot-km data fetch omniglot`"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
