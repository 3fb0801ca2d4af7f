"""Banks on disk: built once, found again by the names, sizes and times of the user's files, and memory-mapped."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from fewshot_km.data.bank import ImageBank, content_digest
from fewshot_km.data.dataset import Dataset
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.splits import make_splits
from fewshot_km.data.storage import (
    CACHE_ROOT_VARIABLE,
    DATA_ROOT_VARIABLE,
    cache_root,
    describe_os_error,
    temporary_file,
    write_text,
)
from fewshot_km.errors import DataError
from fewshot_km.text import one_line, parse_json

ABANDONED_AFTER_S = 86_400  # a killed process leaves its unfinished bank; a day later nobody builds it any more


@dataclass(frozen=True)
class Prepared:
    """A bank, and what its reader found out about the files.

    lists   split name -> class names, one view a class
    found   one line for people: what was recognised, and where
    partial "25 of 100 classes" where a part of a published data set is missing, else None
    """

    bank: ImageBank
    lists: Mapping[str, Sequence[str]]
    found: str
    partial: str | None = None


def prepare(label: str, recipe: str, trees: Sequence[FileTree], build: Callable[[], Prepared]) -> Prepared:
    """Build a bank from the files in `trees`, or take it from the cache where nothing has changed since.

    `recipe` says how files become pixels; where it has changed, the bank is built anew. Raises DataError where the
    files cannot be read or the cache cannot be written; the cache then stays as it was.
    """
    try:
        facts = json.dumps([recipe, [tree.fingerprint() for tree in trees]], ensure_ascii=True)
        note = cache_root() / f"{label}-source-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.json"
        prepared = _read_note(label, note)
        if prepared is None:
            _remove_abandoned(cache_root())
            prepared = build()
            _write_note(note, prepared)
    except OSError as error:
        raise DataError(
            f"{label} cannot be read or cached: {describe_os_error(error)}; --data-root or {DATA_ROOT_VARIABLE} names "
            f"another data root, {CACHE_ROOT_VARIABLE} another cache"
        ) from error
    return prepared


def announce(name: str, prepared: Prepared) -> Dataset:
    """Make a data set of a prepared bank, one view a class; prints on standard error what was found."""
    about = f"; partial: {prepared.partial}" if prepared.partial else ""
    print(one_line(f"{name}: {prepared.found}{about}"), file=sys.stderr)
    views = {split: [[name] for name in names] for split, names in prepared.lists.items()}
    splits = make_splits(prepared.bank, views)
    return Dataset(name, prepared.bank, splits, found=prepared.found, partial=prepared.partial)


def write_bank(
    label: str,
    names: Sequence[str],
    counts: Sequence[int],
    shape: tuple[int, int, int],
    images: Iterable[tuple[int, npt.NDArray[np.uint8]]],
) -> ImageBank:
    """Write (position, uint8 [C, H, W]) pairs, in any order, into a bank of the cache and open it.

    It holds one image at a time, since banks may be larger than memory, and writes to the file itself, since a full
    disk would kill a process that writes to a map of it. The same content is kept once. Raises DataError where the
    bank does not fit, and leaves nothing behind.
    """
    total = sum(counts)
    size = total * int(np.prod(shape))
    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_file(folder, f"{label}.npy") as part:
            with part.open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (total, *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                _write_images(label, file, total, size, images)
            return _keep(label, part, names, counts)
    except OSError as error:
        raise DataError(
            f"{label}: {size:,} bytes cannot be kept in {folder}: {error.strerror or error}; "
            f"make room, or name another folder with {CACHE_ROOT_VARIABLE}"
        ) from error


def _write_images(
    label: str, file: IO[bytes], total: int, size: int, images: Iterable[tuple[int, npt.NDArray[np.uint8]]]
) -> None:
    start = file.tell()
    if hasattr(os, "posix_fallocate"):
        file.flush()
        os.posix_fallocate(file.fileno(), start, size)  # a disk without room says so now, not after an hour
    console = Console(stderr=True)
    done = expected = 0
    what = f"{label}: reading {total:,} images, once"
    if not console.is_terminal:
        print(what, file=sys.stderr)
    shown = track(images, what, total, console=console, transient=True, disable=not console.is_terminal)
    for slot, image in shown:
        if slot != expected:  # to seek is to write out what small images have gathered
            file.seek(start + slot * image.nbytes)
        file.write(np.ascontiguousarray(image).data)
        done, expected = done + 1, slot + 1
    if done != total:
        raise DataError(f"{label}: {done:,} images came where {total:,} were announced")


def _keep(label: str, part: Path, names: Sequence[str], counts: Sequence[int]) -> ImageBank:
    """Give a complete file the name of its content, unless the same content is there already."""
    images = np.load(part, mmap_mode="r", allow_pickle=False)
    starts = np.cumsum([0, *counts]).astype(np.int64)
    digest = content_digest(images, names, starts)
    path = bank_path(label, digest)
    bank = _open_cached(label, digest)
    if bank is None or not bank.is_intact():
        part.chmod(0o644)  # temporary files are private; a cache may be shared between users
        part.replace(path)
        ImageBank(images, tuple(names), starts, digest).write_index(path)
        bank = _open_cached(label, digest)
    if bank is None:
        raise DataError(f"{label}: {path} vanished as soon as it was written: does another program tidy that folder?")
    return bank


def bank_path(label: str, digest: str) -> Path:
    """The file in the cache of the bank with this content."""
    return cache_root() / f"{label}-{digest[:16]}.npy"


def _open_cached(label: str, digest: str) -> ImageBank | None:
    bank = ImageBank.open(bank_path(label, digest))
    return bank if bank is not None and bank.digest == digest else None


def _read_note(label: str, note: Path) -> Prepared | None:
    """Read what was prepared before; None where there is no such note, or its bank is gone."""
    try:
        known = parse_json(note.read_text(encoding="utf-8"))
        bank = _open_cached(label, str(known["bank"]))
        lists = {str(split): [str(name) for name in names] for split, names in known["lists"].items()}
        if bank is None or not {name for names in lists.values() for name in names} <= set(bank.class_names):
            return None
        files = known.get("files")  # which caches of earlier versions do not know
        bank = replace(bank, file_list=cache_root() / str(files) if files else None)
        return Prepared(bank, lists, str(known["found"]), known["partial"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_note(note: Path, prepared: Prepared) -> None:
    known = {
        "bank": prepared.bank.digest,
        "lists": prepared.lists,
        "found": prepared.found,
        "partial": prepared.partial,
        "files": prepared.bank.file_list and prepared.bank.file_list.name,
    }
    write_text(note, json.dumps(known, ensure_ascii=False))


def _remove_abandoned(folder: Path) -> None:
    for part in folder.glob(".*.part"):
        with suppress(OSError):  # another process may remove it first
            if time.time() - part.stat().st_mtime > ABANDONED_AFTER_S:
                part.unlink()
