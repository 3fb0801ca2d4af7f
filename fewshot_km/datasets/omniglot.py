"""Omniglot: 1623 handwritten characters of 20 drawings each, under both of its published protocols."""

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from fewshot_km.datasets.bank import ImageBank
from fewshot_km.datasets.base import DATASETS, Dataset
from fewshot_km.datasets.fetch import OMNIGLOT_FILES
from fewshot_km.datasets.splits import make_splits, read_class_lists
from fewshot_km.datasets.storage import CACHE_ROOT_VARIABLE, DATA_ROOT_VARIABLE, cache_root, write_text
from fewshot_km.errors import DataError

CHARACTERS = {"images_background.zip": 964, "images_evaluation.zip": 659}  # as published
DRAWINGS = 20
DRAWN_SIZE = 105
SIZE = 28  # as in MAML and Matching Networks
ANGLES = (0, 90, 180, 270)  # degrees, counter-clockwise, as np.rot90 turns
MEMBER_LIMIT = 1 << 20  # bytes; the largest real drawing has about 500, so more than this is an attack or a mistake
RECIPE = "28x28 Lanczos of L, ink 255, four rotations"  # change it with the decoding: older caches are then left alone

Characters = Mapping[str, Sequence[str]]
"""Class name -> its drawings' paths inside an archive or folder, by drawing number."""


@dataclass(frozen=True)
class Half:
    """One of Omniglot's two parts: a zip archive or a folder with the same content, and how many characters it has."""

    path: Path
    characters: int


@DATASETS.register("omniglot")
def omniglot(data_root: Path) -> Dataset:
    """Omniglot as in MAML: 1100/100/423 random characters; each episode draws one rotation per character."""
    rows = {s: [views(name) for name in names] for s, names in read_class_lists("omniglot").items()}
    bank = load_bank(data_root)
    return Dataset("omniglot", bank, make_splits(bank, rows))


@DATASETS.register("omniglot-vinyals")
def omniglot_vinyals(data_root: Path) -> Dataset:
    """Omniglot with the fixed split of Vinyals et al.: 1028/172/423 characters; their rotations are new classes."""
    lists = read_class_lists("omniglot-vinyals")
    rows = {s: [[view] for name in names for view in views(name)] for s, names in lists.items()}
    bank = load_bank(data_root)
    return Dataset("omniglot-vinyals", bank, make_splits(bank, rows))


def views(name: str) -> list[str]:
    """The bank's class names of one character: itself turned by 0, 90, 180 and 270 degrees counter-clockwise."""
    return [f"{name}@{angle}" for angle in ANGLES]


def find_halves(data_root: Path) -> list[Half]:
    """Both halves, zipped or unpacked, in `data_root` or its folder omniglot; raises DataError that says what to do."""
    halves, missing = [], []
    for file in OMNIGLOT_FILES:
        places = [p for place in file.places(data_root) for p in (place, place.with_suffix(""))]
        path = next((p for p in places if (p.is_file() if p.suffix else p.is_dir())), None)
        if path is None:
            missing.append(file)
        else:
            halves.append(Half(path, CHARACTERS[file.name]))
    if missing:
        raise DataError(
            f"Omniglot: {' and '.join(f.name for f in missing)} not found in {data_root} or {data_root / 'omniglot'}. "
            f"Run `fewshot-km data fetch omniglot`, or put there, zipped or unpacked, "
            f"{' and '.join(f.url for f in missing)}; --data-root or {DATA_ROOT_VARIABLE} names another data root"
        )
    return halves


def load_bank(data_root: Path) -> ImageBank:
    """The bank of all characters in four rotations, memory-mapped from the cache; decoded and cached if not there.

    The array is keyed by the digest of its content, so that the same images from another archive are cached once.
    A note per source (paths, sizes, times of change) leads to it without decoding.
    """
    try:
        halves = find_halves(data_root)
        note = cache_root() / f"omniglot-source-{fingerprint(halves)[:16]}.txt"
        bank = _open_cached(note.read_text(encoding="ascii", errors="replace")) if note.is_file() else None
        if bank is not None:
            return bank
        bank = read_bank(halves)
        if _open_cached(bank.digest) is None:
            bank.save(_bank_path(bank.digest))
        write_text(note, bank.digest)
    except OSError as error:
        raise DataError(
            f"Omniglot cannot be read or cached: {error}; --data-root or {DATA_ROOT_VARIABLE} names another data root, "
            f"{CACHE_ROOT_VARIABLE} another cache"
        ) from error
    return _open_cached(bank.digest) or bank


def _bank_path(digest: str) -> Path:
    return cache_root() / f"omniglot-{digest[:16]}.npy"


def _open_cached(digest: str) -> ImageBank | None:
    bank = ImageBank.open(_bank_path(digest))
    return bank if bank is not None and bank.digest == digest else None


def fingerprint(halves: Sequence[Half]) -> str:
    """SHA-256 over path, size and time of change of every source file: cheap to compute, for one machine only."""
    facts: list[object] = [RECIPE]
    for half in halves:
        root = half.path.resolve()
        files = sorted(_files_below(root)) if root.is_dir() else [(str(root), root.stat())]
        facts += [[path, status.st_size, status.st_mtime_ns] for path, status in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _files_below(folder: Path | str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:  # in a third of the time that Path.rglob takes over 32,460 files
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path)
            else:
                yield entry.path, entry.stat(follow_symlinks=False)


def read_bank(halves: Sequence[Half]) -> ImageBank:
    """Decode all drawings: uint8 [20, 1, 28, 28] per class, ink 255, characters by name, each with its four rotations.

    Raises DataError where a half is incomplete or damaged.
    """
    found = [list_characters(half.path) for half in halves]
    check_complete(halves, found)
    total = sum(half.characters for half in halves)
    drawings = (pair for half, characters in zip(halves, found, strict=True) for pair in decode(half.path, characters))
    console = Console(stderr=True)
    bar = track(drawings, "decoding Omniglot", total, console=console, transient=True, disable=not console.is_terminal)
    upright = dict(bar)
    names = sorted(upright)
    turned = (np.rot90(upright[name], angle // 90, axes=(-2, -1)) for name in names for angle in ANGLES)
    return ImageBank.from_classes([view for name in names for view in views(name)], turned)


def list_characters(path: Path) -> Characters:
    """The drawings in an archive or folder, <Alphabet>/characterNN/NNNN_MM.png at any depth; all else is passed over.

    Raises DataError where `path` is not a whole archive.
    """
    try:
        if path.is_dir():
            members = [p.relative_to(path).as_posix() for p in path.rglob("*.png")]
        else:
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
    except Exception as error:  # zipfile answers damaged bytes with a dozen unrelated types
        raise _damaged(path, error) from error
    characters: dict[str, list[str]] = {}
    for member in sorted(members, key=lambda m: PurePosixPath(m).name):  # never the order of archive or file system
        match = re.search(r"(?:^|/)([^/]+/character\d+)/\d+_\d+\.png$", member)
        if match:
            characters.setdefault(match[1], []).append(member)
    return characters


def check_complete(halves: Sequence[Half], found: Sequence[Characters]) -> None:
    """Raise DataError, with the half and the names, unless all characters are there with drawings 01 to 20."""
    known = {name for names in read_class_lists("omniglot").values() for name in names}
    absent = sorted(known.difference(*found))
    for half, characters in zip(halves, found, strict=True):
        if len(characters) != half.characters:
            strange = sorted(set(characters) - known)
            named = f"; missing: {_some(absent)}" if absent else f"; unknown: {_some(strange)}" if strange else ""
            raise DataError(f"{half.path} holds {len(characters)} characters, not {half.characters}{named}. {_AGAIN}")
        for name, members in characters.items():
            numbers = [int(PurePosixPath(m).stem.rpartition("_")[2]) for m in members]
            if numbers != list(range(1, DRAWINGS + 1)):
                gaps = [f"{n:02d}" for n in range(1, DRAWINGS + 1) if n not in numbers]
                named = f"; missing: {_some(gaps)}" if gaps else ""
                raise DataError(f"{half.path}: {name} has {len(members)} drawings, not {DRAWINGS}{named}. {_AGAIN}")


def decode(path: Path, characters: Characters) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Yield (class name, uint8 [20, 1, 28, 28]) per character; raises DataError that names a damaged drawing."""
    with _reader(path) as read:
        for name, members in characters.items():
            images = []
            for member in members:
                try:
                    images.append(decode_drawing(read(member)))
                except Exception as error:  # zipfile and Pillow answer damaged bytes with a dozen unrelated types
                    raise _damaged(path, error, member) from error
            yield name, np.stack(images)[:, None]


@contextmanager
def _reader(path: Path) -> Iterator[Callable[[str], bytes]]:
    """Yield a function from a drawing's path to its bytes; nothing is ever extracted to disk."""

    def limited(size: int) -> None:
        if size > MEMBER_LIMIT:
            raise ValueError(f"{size:,} bytes are no drawing of {DRAWN_SIZE}x{DRAWN_SIZE}")

    def from_folder(member: str) -> bytes:
        limited((path / member).stat().st_size)
        return (path / member).read_bytes()

    if path.is_dir():
        yield from_folder
        return
    with zipfile.ZipFile(path) as archive:

        def from_archive(member: str) -> bytes:
            info = archive.getinfo(member)
            limited(info.file_size)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("it is neither stored nor deflated")  # zipfile inflates the others without bound
            with archive.open(info) as file:
                return file.read(MEMBER_LIMIT)  # a bare read() would trust the member to be as small as it says

        yield from_archive


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


_AGAIN = "Move it away and run `fewshot-km data fetch omniglot`"


def _damaged(path: Path, error: Exception, member: str | None = None) -> DataError:
    where = f"drawing '{member}'" if member else "no whole archive"
    # Pillow's own words for this show the address of a buffer
    reason = "it is no PNG image" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
    return DataError(f"{path} is damaged: {where}: {' '.join(reason.split())}. {_AGAIN}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
