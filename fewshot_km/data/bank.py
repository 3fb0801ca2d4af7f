"""The image bank: all images of a data set in one uint8 array, ordered by class."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewshot_km.data.storage import cache_root, whole_file, write_text
from fewshot_km.errors import DataError
from fewshot_km.text import parse_json


@dataclass(frozen=True)
class ImageBank:
    """Images of all classes, in memory or memory-mapped.

    images      uint8 [M, C, H, W], grouped by class: images[starts[c]:starts[c + 1]] belong to class c
    class_names one name per class, unique, in the order of the class index
    starts      int64 [number of classes + 1], from 0 to M
    digest      SHA-256 of names, counts, shape and pixels: the same content has the same digest on every machine
    path        the file that the images are mapped from, if any
    file_list   the file that lists the image file of each image, if the images came from files
    """

    images: npt.NDArray[np.uint8]
    class_names: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    digest: str
    path: Path | None = None
    file_list: Path | None = None

    @classmethod
    def from_classes(cls, names: Sequence[str], images: Iterable[npt.NDArray[np.uint8]]) -> "ImageBank":
        """Build a bank from one uint8 array [n, C, H, W] per class; raises DataError where shapes or names clash."""
        arrays = list(images)
        if len(names) != len(arrays) or not arrays:
            raise DataError(
                f"an image bank needs one array of images per class: {len(names)} names, {len(arrays)} arrays"
            )
        if len(set(names)) != len(names):
            twice = sorted({n for n in names if list(names).count(n) > 1})
            raise DataError(f"class names must be unique; these occur more than once: {', '.join(twice[:5])}")
        for name, array in zip(names, arrays, strict=True):
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != arrays[0].shape[1:]:
                raise DataError(
                    f"class '{name}' holds {array.dtype} images of shape {array.shape}; "
                    f"the bank holds uint8 images [n, C, H, W] of shape {arrays[0].shape[1:]}"
                )
        stacked = np.concatenate(arrays)
        starts = np.cumsum([0] + [len(a) for a in arrays]).astype(np.int64)
        return cls(stacked, tuple(names), starts, content_digest(stacked, names, starts))

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Images per class, int64 [number of classes]."""
        return np.diff(self.starts)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def file_names(self) -> list[str] | None:
        """Name the image file of each image, as in the user's folder or archive; None where it is not known."""
        try:
            names = [] if self.file_list is None else json.loads(self.file_list.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return list(map(str, names)) if isinstance(names, list) and len(names) == len(self.images) else None

    def class_index(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Find the positions of the named classes, int64; raises DataError that lists those the bank lacks."""
        position = {name: i for i, name in enumerate(self.class_names)}
        missing = [n for n in names if n not in position]
        if missing:
            raise DataError(
                f"{len(missing)} classes are missing from the images: {', '.join(missing[:5])}"
                + (", ..." if len(missing) > 5 else "")
            )
        return np.array([position[n] for n in names], dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write `path` (.npy) and, last, its index (.json): a bank without an index does not exist."""
        with whole_file(path) as part, part.open("wb") as file:
            np.lib.format.write_array(file, self.images, allow_pickle=False)
        self.write_index(path)

    def write_index(self, path: Path) -> None:
        """Write class names, counts and digest beside the images at `path`."""
        index = {"digest": self.digest, "class_names": self.class_names, "counts": self.counts.tolist()}
        write_text(path.with_suffix(".json"), json.dumps(index, ensure_ascii=False))

    @classmethod
    def open(cls, path: Path) -> "ImageBank | None":
        """Map the bank at `path` into memory; returns None where there is none, or only a part of one."""
        try:
            index = parse_json(path.with_suffix(".json").read_text(encoding="utf-8"))
            # read-only: a copy-on-write map is refused where the file is larger than memory
            images = np.lib.format.open_memmap(path, mode="r")
            starts = np.cumsum([0] + index["counts"]).astype(np.int64)
            names = tuple(index["class_names"])
            digest = str(index["digest"])
            is_whole = path.stat().st_size == images.offset + images.nbytes
        except Exception:  # numpy and json answer damaged headers and indexes with a dozen unrelated types
            return None
        is_bank = images.dtype == np.uint8 and images.ndim == 4
        if not (is_bank and is_whole and starts[-1] == len(images) and len(starts) == len(names) + 1):
            return None
        return cls(images, names, starts, digest, path)

    def is_intact(self) -> bool:
        """Tell whether the pixels still have the digest under which they were stored."""
        return content_digest(self.images, self.class_names, self.starts) == self.digest


def content_digest(images: npt.NDArray[np.uint8], names: Sequence[str], starts: npt.NDArray[np.int64]) -> str:
    """SHA-256 over class names, images per class, image shape and pixels, in this order."""
    header = json.dumps([list(names), starts.tolist(), list(images.shape)], ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(header.encode())
    for start in range(0, len(images), 4096):  # in pieces: a memory-mapped bank need not fit in memory
        digest.update(np.ascontiguousarray(images[start : start + 4096]).data)
    return digest.hexdigest()


def write_file_list(label: str, names: Sequence[str]) -> Path:
    """Keep the names, in the order of the bank's images, in the cache; the same list is kept once."""
    text = json.dumps(list(names), ensure_ascii=True)  # file names may be no text that UTF-8 has
    path = cache_root() / f"{label}-files-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        write_text(path, text)
    return path
