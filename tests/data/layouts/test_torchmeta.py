"""torchmeta's HDF5 files: read as it writes them, refused where they are hostile, damaged or cannot be read."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.layouts.torchmeta import count_labelled, find_torchmeta, read_arrays
from fewshot_km.errors import DataError
from tests.support.made_files import write

SIZE = 4
PIXELS = {
    name: np.random.default_rng(i).integers(0, 256, (3 + i, SIZE, SIZE, 3), np.uint8) for i, name in enumerate("ba")
}


def made(change: Callable[[h5py.File], object] = lambda _: None) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        group = file.create_group("datasets")
        for name, pixels in PIXELS.items():
            group.create_dataset(name, data=pixels)
        change(file)
    return out.getvalue()


def tree_of(folder: Path, data: bytes, labels: bytes = b'["a", "b"]') -> FileTree:
    write(folder, {"train_data.hdf5": data, "train_labels.json": labels})
    return open_tree(folder)


def read(tree: FileTree) -> list[tuple[str, int, np.ndarray]]:
    counts = count_labelled(tree, "train_data.hdf5", "train_labels.json", (SIZE, SIZE, 3))
    found = list(read_arrays(tree, "train_data.hdf5", (SIZE, SIZE, 3)))
    assert sorted(counts.items()) == sorted({name: sum(of == name for of, *_ in found) for name, *_ in found}.items())
    return found


def test_every_image_comes_with_its_class_and_position(tmp_path: Path) -> None:
    found = read(tree_of(tmp_path, made()))
    assert [(name, i) for name, i, _ in found] == [("a", i) for i in range(4)] + [("b", i) for i in range(3)]
    for name, i, image in found:
        np.testing.assert_array_equal(image, PIXELS[name][i])


def test_the_six_files_are_found_in_one_folder() -> None:
    names = [f"x/{split}_{kind}" for split in ("train", "val", "test") for kind in ("data.hdf5", "labels.json")]
    found = find_torchmeta(names)
    assert found == {s: (f"x/{s}_data.hdf5", f"x/{s}_labels.json") for s in ("train", "val", "test")}
    assert find_torchmeta(names[1:]) is None


def elsewhere(link: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["datasets"]["a"]
        file["datasets"]["a"] = link

    return change


def external_group(file: h5py.File) -> None:
    del file["datasets"]
    file["datasets"] = h5py.ExternalLink("secret.hdf5", "/datasets")


def external_pixels(file: h5py.File) -> None:
    del file["datasets"]["a"]
    shape = (4, SIZE, SIZE, 3)
    file["datasets"].create_dataset("a", shape, np.uint8, external=[("secret.bin", 0, int(np.prod(shape)))])


def virtual_pixels(file: h5py.File) -> None:
    del file["datasets"]["a"]
    layout = h5py.VirtualLayout((4, SIZE, SIZE, 3), np.uint8)
    layout[:] = h5py.VirtualSource("secret.hdf5", "datasets/a", (4, SIZE, SIZE, 3))
    file["datasets"].create_virtual_dataset("a", layout)


def replaced(value: object, **options: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["datasets"]["a"]
        file["datasets"].create_dataset("a", data=value, **options)

    return change


def bomb(file: h5py.File) -> None:
    del file["datasets"]["a"]
    file["datasets"].create_dataset("a", (1 << 40, SIZE, SIZE, 3), np.uint8, chunks=(1 << 10, SIZE, SIZE, 3))


def no_group(file: h5py.File) -> None:
    del file["datasets"]


def array_for_group(file: h5py.File) -> None:
    del file["datasets"]
    file["datasets"] = np.zeros(3)


HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external link": (elsewhere(h5py.ExternalLink("secret.hdf5", "/datasets/a")), "'a' is a link to elsewhere"),
    "soft link": (elsewhere(h5py.SoftLink("/datasets/b")), "'a' is a link to elsewhere"),
    "external group": (external_group, "should hold a group called datasets"),
    "external pixels": (external_pixels, "'a' has its pixels in another file"),
    "virtual pixels": (virtual_pixels, "'a' has its pixels in another file"),
    "another class": (lambda file: file["datasets"].create_dataset("c", data=PIXELS["a"]), "has other classes than"),
    "floats": (replaced(PIXELS["a"] / 255), r"should be an array of uint8 images \[N, 4, 4, 3\]"),
    "another size": (replaced(PIXELS["a"][:, :3]), r"should be an array of uint8 images \[N, 4, 4, 3\]"),
    "one number": (replaced(3), "should be an array of uint8 images"),
    "bomb": (bomb, "'a' unpacks to 52,776,558,133,248 bytes"),
    "no group": (no_group, "should hold a group called datasets"),
    "array for group": (array_for_group, "should hold a group called datasets"),
}


def into_itself(file: h5py.File) -> None:
    file["datasets"]["a2"] = file["datasets"]


def deeper_link(file: h5py.File) -> None:
    file["datasets"].create_group("g")["x"] = h5py.ExternalLink("secret.hdf5", "/datasets/a")


HOSTILE |= {
    "group in itself": (into_itself, "should be an array of uint8 images"),
    "link in a group": (deeper_link, "'g/x' is a link to elsewhere"),
    "image files": (replaced([b"abc"]), "should be an array of uint8 images"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_and_wrong_files_are_refused_by_name(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a relative link would lead
    (tmp_path / "secret.hdf5").write_bytes(made())
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    change, said = HOSTILE[case]
    tree = tree_of(tmp_path / "data", made(change))
    with pytest.raises(DataError, match=rf"data: 'train_data\.hdf5'.*{said}") as caught:
        read(tree)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (b"[1]", "list of class names"),
        (b'{"a": 1}', "list of class names"),
        (b"[", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 99_999, "no JSON"),
    ],
)
def test_labels_that_are_none_are_refused(labels: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"'train_labels\.json'.*{said}"):
        read(tree_of(tmp_path, made(), labels))


def test_no_damage_ends_in_anything_but_one_clear_error(tmp_path: Path) -> None:
    whole = made()
    random = np.random.default_rng(0)
    refused = []
    for _ in range(200):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 3):
            data[place] ^= 1 << random.integers(8)
        tree = tree_of(tmp_path, bytes(data[: random.integers(len(data)) if random.random() < 0.3 else None]))
        try:
            read(tree)
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all("'train_data.hdf5'" in said and "\n" not in said for said in refused)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tree_of(tmp_path, made())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"'train_data\.hdf5' is an HDF5 file.*pip install 'fewshot_km\[hdf5\]'"):
        read(tree)


def test_a_web_page_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'train_data\.hdf5' is a web page"):
        read(tree_of(tmp_path, b"<html>quota</html>"))


def test_image_files_that_are_pixels_are_refused(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, made())
    with pytest.raises(DataError, match="'a' should be a list of image files"):
        count_labelled(tree, "train_data.hdf5", "train_labels.json", None)
