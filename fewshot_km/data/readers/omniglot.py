"""Omniglot: 1623 handwritten characters of 20 drawings each, under both of its published protocols."""

import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fewshot_km.data.bank import ImageBank, write_file_list
from fewshot_km.data.cache import Prepared, prepare, write_bank
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.contents import describe_places
from fewshot_km.data.files.impostors import HEAD, describe_impostor, name_impostor
from fewshot_km.data.files.locating import find_trees
from fewshot_km.data.files.names import by_original_name, few, sort_key
from fewshot_km.data.files.trees import IMAGE_LIMIT, FileTree
from fewshot_km.data.images import describe_damage, in_threads
from fewshot_km.data.layouts.torchmeta import ONE_FILE, count_arrays, find_one_file, read_arrays
from fewshot_km.data.remote_files import OMNIGLOT_FILES, RemoteFile
from fewshot_km.data.splits import make_splits, read_class_lists
from fewshot_km.data.storage import DATA_ROOT_VARIABLE
from fewshot_km.errors import DataError

CHARACTERS = (964, 659)  # in images_background and images_evaluation, as published
DRAWINGS = 20
DRAWN_SIZE = 105
SIZE = 28  # as in MAML and Matching Networks
ANGLES = (0, 90, 180, 270)  # degrees, counter-clockwise, as np.rot90 turns
DRAWING_LIMIT = 1 << 20  # bytes; the largest real drawing has about 500, so more than this is an attack or a mistake
RECIPE = "28x28 Lanczos of L, ink 255, four rotations, with the names of files"  # change it with the decoding
AGAIN = "Move it away and run `fewshot-km data fetch omniglot`"

Characters = Mapping[str, Sequence[str]]
"""Class name -> its drawings' paths inside an archive or folder, by drawing number."""


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
    """The names in the bank of a character turned by 0, 90, 180 and 270 degrees counter-clockwise."""
    return [f"{name}@{angle}" for angle in ANGLES]


def load_bank(data_root: Path) -> Prepared:
    """Load the bank of all characters in four rotations, from the cache or the files; raises DataError."""
    trees = find_omniglot(data_root)
    found = " and ".join(tree.path.name for tree in trees)
    if any(isinstance(tree, Hdf5Tree) for tree in trees):
        found += ", where the drawings of a character are in no known order"
    counts = CHARACTERS if len(trees) == len(CHARACTERS) else (sum(CHARACTERS),)
    return prepare("omniglot", RECIPE, trees, lambda: Prepared(read_bank(trees, counts), {}, found))


def find_omniglot(data_root: Path) -> list[FileTree]:
    """Find both halves, zipped or unpacked; or one folder or archive with both; or torchmeta's HDF5 file.

    They may lie in `data_root` or where fetching, torchvision and a clone of the original put them. Raises DataError
    that says what to do where they do not.
    """
    places = [_find_half(file, data_root) for file in OMNIGLOT_FILES]
    halves = [open_tree(place) for place in places if place]
    if len(halves) == len(OMNIGLOT_FILES):
        return halves
    alphabets = {name.partition("/")[0] for names in read_class_lists("omniglot").values() for name in names}
    trees = find_trees(data_root, "omniglot", alphabets.__contains__, aliases=("omniglot-py",))
    merged = [] if halves else [tree for tree in trees if list_characters(tree)]
    if merged:
        return merged[:1]
    arrays = [(tree, name) for tree in trees if (name := find_one_file(tree.names))]
    if arrays and not halves:
        return [Hdf5Tree(*arrays[0])]
    missing = [file for file, place in zip(OMNIGLOT_FILES, places, strict=True) if place is None]
    seen = "" if halves else f" ({describe_places(data_root, trees)})"
    raise DataError(
        f"Omniglot: {' and '.join(f.name for f in missing)} not found in {data_root} or {data_root / 'omniglot'}"
        f"{seen}. Run `fewshot-km data fetch omniglot`, or put there, zipped or unpacked, "
        f"{' and '.join(f.url for f in missing)}, or torchmeta's {ONE_FILE}; "
        f"--data-root or {DATA_ROOT_VARIABLE} names another data root"
    )


def _find_half(file: RemoteFile, data_root: Path) -> Path | None:
    """Find an archive or its unpacked folder; raises DataError where a host has sent something else in its place."""
    for place in file.places(data_root):
        entries = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
        there = by_original_name(entries)
        archive, folder = (place.parent / there.get(name, name) for name in (place.name, place.stem))
        if archive.is_file():
            with archive.open("rb") as content:
                impostor = describe_impostor(content.read(HEAD))
            if impostor:
                raise DataError(f"{archive} {impostor}")
            return archive
        if folder.is_dir():
            return folder
    return None


def list_characters(tree: FileTree) -> Characters:
    """List the drawings of a half or of both, <Alphabet>/characterNN/NNNN_MM.png at any depth, and nothing else.

    Where folders hold the same character, the fullest counts: a clone also has small selections of the drawings.
    """
    folders: dict[tuple[str, str], list[str]] = {}
    for member in sorted(tree.names, key=lambda m: sort_key(m.rpartition("/")[2])):
        match = re.fullmatch(r"((?:.*/)?)([^/]+/character[0-9]+)/[0-9]+_[0-9]{1,9}\.png", member)
        if match:
            folders.setdefault((match[2], match[1]), []).append(member)
    characters: dict[str, list[str]] = {}
    for (name, _), members in folders.items():
        characters[name] = max(characters.get(name, []), members, key=len)
    return characters


def read_bank(halves: Sequence[FileTree], counts: Sequence[int]) -> ImageBank:
    """Decode all drawings: uint8 [20, 1, 28, 28] per class, ink 255, characters by name, each with its four rotations.

    `counts`: the number of characters in each tree. Raises DataError where a tree is incomplete or damaged.
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
                    raise DataError(f"{half} is damaged: drawing '{member}': {drawing}. {AGAIN}")
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
            named = f"; missing: {few(absent)}" if absent else f"; unknown: {few(strange)}" if strange else ""
            raise DataError(f"{half} holds {len(characters)} characters, not {count}{named}. {AGAIN}")
        for name, members in characters.items():
            numbers = [int(m.removesuffix(".png").rpartition("_")[2]) for m in members]
            if numbers != list(range(1, DRAWINGS + 1)):
                gaps = [f"{n:02d}" for n in range(1, DRAWINGS + 1) if n not in numbers]
                named = f"; missing: {few(gaps)}" if gaps else ""
                raise DataError(f"{half}: {name} has {len(members)} drawings, not {DRAWINGS}{named}. {AGAIN}")


def decode_drawing(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode a PNG of 105x105, dark ink on white, to uint8 [28, 28], ink 255; raises any of Pillow's errors."""
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


class Hdf5Tree(FileTree):
    """torchmeta's HDF5 file as if it were a folder of PNG files <half>/<Alphabet>/characterNN/0_MM.png.

    MM is the position of a drawing in the file: the order in which torchmeta's machine listed a folder. The file does
    not tell under which number a drawing was published.
    """

    def __init__(self, tree: FileTree, name: str) -> None:
        super().__init__(tree.path / name)
        self._tree, self._name = tree, name

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All drawings; raises DataError where the file is damaged or something else."""
        counts = count_arrays(self._tree, self._name, (DRAWN_SIZE, DRAWN_SIZE), top="")
        return tuple(_file(path, position) for path, count in counts.items() for position in range(count))

    def read(
        self,
        names: Collection[str],
        limit: int = IMAGE_LIMIT,  # noqa: ARG002 - a drawing of known size comes near no limit
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the wanted drawings, dark ink on white as they were published."""
        wanted = frozenset(names)
        for path, position, drawing in read_arrays(self._tree, self._name, (DRAWN_SIZE, DRAWN_SIZE), top=""):
            file = _file(path, position)
            if file in wanted:
                out = io.BytesIO()
                Image.fromarray(255 - drawing).save(out, "PNG")
                yield file, out.getvalue()

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open one drawing."""
        return io.BytesIO(self.read_one(name))

    def fingerprint(self) -> list[object]:
        """The fingerprint of the folder or archive in which the file lies."""
        return [self._name, *self._tree.fingerprint()]


def _file(path: str, position: int) -> str:
    return f"{path}/0_{position + 1:02d}.png"
