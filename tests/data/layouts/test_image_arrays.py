"""Arrays of images in numpy archives: read one at a time, and never more than their labels count."""

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.layouts.image_arrays import read_npz
from fewshot_km.errors import DataError
from tests.support.made_files import write

SIZE = 8
IMAGES = np.random.default_rng(0).integers(0, 256, (500, SIZE, SIZE, 3), np.uint8)


def npz(save: Callable[..., None] = np.savez, **arrays: object) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def read(folder: Path, content: bytes, count: int = len(IMAGES)) -> list[npt.NDArray[np.uint8]]:
    write(folder, {"a.npz": content})
    return list(read_npz(open_tree(folder), "a.npz", "images", count, SIZE))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_are_those_that_numpy_wrote(save: Callable[..., None], tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, npz(save, other=np.zeros(3), images=IMAGES)), IMAGES)


def test_no_more_than_an_image_is_held(tmp_path: Path) -> None:
    images = np.zeros((20_000, SIZE, SIZE, 3), np.uint8)
    write(tmp_path, {"a.npz": npz(images=images)})
    tree = open_tree(tmp_path)
    tracemalloc.start()
    assert sum(1 for _ in read_npz(tree, "a.npz", "images", len(images), SIZE)) == len(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 4


def lying(shape: str) -> bytes:
    """An archive whose array says that it has another shape than its bytes have."""
    out = io.BytesIO()
    member = io.BytesIO()
    np.save(member, IMAGES)
    content = member.getvalue().replace(b"(500, 8, 8, 3)", shape.encode())
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("images.npy", content)
    return out.getvalue()


def packed(method: int) -> bytes:
    out, member = io.BytesIO(), io.BytesIO()
    np.save(member, IMAGES)
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("images.npy", member.getvalue())
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lying("(400, 8, 8, 3)"), "has 400 images and its labels are 500"),
        (npz(images=IMAGES[:400]), "has 400 images and its labels are 500"),
        (lying("(500, 9, 8, 3)"), r"should hold uint8 images \[N, 8, 8, 3\]"),
        (lying("(-500, 8, 8, 3)"), "has -500 images"),
        (npz(images=IMAGES[0]), r"should hold uint8 images \[N, 8, 8, 3\], not uint8 \[8, 8, 3\]"),
        (npz(images=np.array([print] * 500)), "should hold uint8 images"),
        (npz(pixels=IMAGES), "should hold an array called images"),
        (npz(images=IMAGES)[:-50_000], "is damaged or cut short"),
        (b"PK", "is damaged or cut short"),
        (packed(zipfile.ZIP_BZIP2), "neither stored nor deflated"),
        (packed(zipfile.ZIP_LZMA), "neither stored nor deflated"),
        (b"<html>quota</html>", "is a web page, not the data"),
    ],
)
def test_anything_else_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"'a\.npz'.*{said}") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_bytes_beyond_the_last_image_are_refused(tmp_path: Path) -> None:
    out, member = io.BytesIO(), io.BytesIO()
    np.save(member, IMAGES)
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("images.npy", member.getvalue() + b"x")
    with pytest.raises(DataError, match="more bytes follow"):
        read(tmp_path, out.getvalue())


def test_no_flipped_bit_of_an_image_goes_unnoticed(tmp_path: Path) -> None:
    data = bytearray(npz(images=IMAGES))
    data[len(data) // 2] ^= 4
    with pytest.raises(DataError, match="is damaged or cut short: BadZipFile: Bad CRC"):
        read(tmp_path, bytes(data))
