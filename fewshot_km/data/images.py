"""Image files, of whatever format, to the pixels of a bank."""

import io
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from fewshot_km.data.bank import ImageBank, write_file_list
from fewshot_km.data.cache import write_bank
from fewshot_km.data.files.impostors import name_impostor
from fewshot_km.data.files.names import ending
from fewshot_km.data.files.trees import FileTree
from fewshot_km.errors import DataError

PIXELS_LIMIT = 1 << 27  # in one image: 134 million, more than any camera's, and half a gigabyte when decoded
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
# of the others that Pillow knows, some call programs (EPS), some hold no images (HDF5), and all are rare
DAMAGED_SHOWN = 10  # files named in one message
DAMAGED_LIMIT = 100  # after so many, the rest is not looked at: it is the wrong folder, or a broken disk

T = TypeVar("T")
K = TypeVar("K")

ClassFiles = Mapping[str, Sequence[str]]
"""Class name -> names of its image files in a tree, in order."""


@dataclass(frozen=True)
class ImageForm:
    """The form to which all images of a bank are brought.

    size     pixels on either side
    channels 3 for colour, 1 for grey
    fit      stretch: the whole image, whatever the ratio of its sides, as MAML's code did; crop: its middle square
    upright  whether to turn images as the camera noted; readers of published data sets do not
    """

    size: int
    channels: int = 3
    fit: Literal["stretch", "crop"] = "stretch"
    upright: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size

    def __str__(self) -> str:
        return f"{self.size}x{self.size}, {self.channels} channels, {self.fit}{', upright' if self.upright else ''}"


@lru_cache
def image_suffixes() -> frozenset[str]:
    """The endings, lower case, of image files that can be read."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def images_among(names: Iterable[str]) -> list[str]:
    """Those names that end as image files do."""
    return [name for name in names if ending(name) in image_suffixes()]


def decode_image(data: bytes, form: ImageForm) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Decode the first frame of an image file to uint8 [C, size, size]; also returns the width and height it had.

    Images of other sizes are resized by Lanczos; transparency is laid over white. Raises ValueError, OSError or another
    of Pillow's errors where the file is damaged, is no image, or has more than PIXELS_LIMIT pixels.
    """
    with _open(data) as image:
        width, height = image.size
        if width * height > PIXELS_LIMIT:
            raise ValueError(f"it is too large: {width}x{height} pixels, and {PIXELS_LIMIT:,} may be decoded")
        if image.format != "PNG":
            return _bring_to(image, form), image.size
        image.verify()  # compares the chunks' checksums, which loading does not; the image cannot be used afterwards
    with _open(data) as image:
        return _bring_to(image, form), image.size


def describe_damage(error: Exception, data: bytes = b"") -> str:
    """Say in a few words why an image could not be decoded; `data` is the beginning of its file."""
    if impostor := name_impostor(data):
        return f"it is {impostor}"
    if isinstance(error, UnidentifiedImageError):  # its own words show the address of a buffer
        return "it is no image of a known format"
    return " ".join(str(error).split()) or type(error).__name__


def _open(data: bytes) -> Image.Image:
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])


def _bring_to(image: Image.Image, form: ImageForm) -> npt.NDArray[np.uint8]:
    plain = _convert(ImageOps.exif_transpose(image) if form.upright else image, "L" if form.channels == 1 else "RGB")
    side = (form.size, form.size)
    if plain.size != side and form.fit == "crop":
        plain = ImageOps.fit(plain, side, Image.Resampling.LANCZOS)
    elif plain.size != side:
        plain = plain.resize(side, Image.Resampling.LANCZOS)
    return np.asarray(plain).reshape(*side, form.channels).transpose(2, 0, 1)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert to 8 bits of grey or colour, as a viewer would show it."""
    if image.mode.startswith("I"):  # 16 bits, or 32 that hold 16: Pillow's own conversion cuts all above 255 off
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError("its pixels have more than 16 bits")
        image = Image.fromarray(((wide.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of no known range: save it with 8 or 16 bits")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque.convert("RGB")
    return image.convert(mode)


def bank_from_files(label: str, tree: FileTree, classes: ClassFiles, form: ImageForm) -> tuple[ImageBank, str]:
    """Decode the images of all classes, on all cores, into a cached bank: classes by name, images in the given order.

    Also returns, for people, what was done. Raises DataError that names the damaged files.
    """
    names = sorted(classes)
    ordered = [file for name in names for file in classes[name]]
    slots = {file: slot for slot, file in enumerate(ordered)}
    files = (((slots[file], file), data) for file, data in tree.read(list(slots)))
    bank, done = bank_from_images(label, str(tree), {name: len(classes[name]) for name in names}, files, form)
    return replace(bank, file_list=write_file_list(label, ordered)), done


def bank_from_images(
    label: str, where: str, counts: Mapping[str, int], files: Iterable[tuple[tuple[int, str], bytes]], form: ImageForm
) -> tuple[ImageBank, str]:
    """Decode image files as bank_from_files does.

    counts  class -> number of its images, in the order of the bank
    files   position in the bank, name for people, and content of each file, in any order
    """
    total = sum(counts.values())
    damaged: list[str] = []
    widths: set[int] = set()
    heights: set[int] = set()

    def decode(data: bytes) -> tuple[npt.NDArray[np.uint8], tuple[int, int]] | str:
        try:
            return decode_image(data, form)
        except Exception as error:  # Pillow answers damaged bytes with a dozen unrelated types
            return describe_damage(error, data)

    def images() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on odd but readable files; too large ones we refuse ourselves
            for (slot, file), decoded in in_threads(decode, files):
                if isinstance(decoded, str):
                    damaged.append(f"'{file}': {decoded}")
                    if len(damaged) == DAMAGED_LIMIT:
                        break
                else:
                    image, (width, height) = decoded
                    widths.add(width)
                    heights.add(height)
                    yield slot, image
        if damaged:
            count = f"{len(damaged)}{' or more' if len(damaged) == DAMAGED_LIMIT else ''} of {total:,} images"
            shown = "; ".join(sorted(damaged)[:DAMAGED_SHOWN]) + ("; ..." if len(damaged) > DAMAGED_SHOWN else "")
            raise DataError(f"{where}: {count} cannot be read: {shown}. Replace or remove them")

    bank = write_bank(label, list(counts), list(counts.values()), form.shape, images())
    smallest, largest = f"{min(widths)}x{min(heights)}", f"{max(widths)}x{max(heights)}"
    sizes = smallest if smallest == largest else f"{smallest} to {largest}"
    brought = "" if sizes == f"{form.size}x{form.size}" else f", brought to {form.size}x{form.size}"
    return bank, f"{total:,} images of {sizes}{brought}"


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[bytes], T], items: Iterable[tuple[K, bytes]]) -> Iterator[tuple[K, T]]:
    """Yield key and work(data) in the order of the items, few in memory at once; Pillow decodes without the GIL."""
    with ThreadPoolExecutor(cores()) as pool:
        waiting: deque[tuple[K, Future[T]]] = deque()
        for key, data in items:
            waiting.append((key, pool.submit(work, data)))
            if len(waiting) > 8 * cores():  # enough that no thread waits for the reader
                first, future = waiting.popleft()
                yield first, future.result()
        for key, future in waiting:
            yield key, future.result()
