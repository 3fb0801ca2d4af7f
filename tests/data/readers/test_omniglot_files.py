"""Omniglot is found wherever people have it; which drawings are whose does not depend on where."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.readers.omniglot import find_omniglot, list_characters
from fewshot_km.errors import DataError
from tests.support.made_files import Files, below, tarred, write, zipped

HALVES: dict[str, dict[str, bytes]] = {
    half: {
        f"{alphabet}/character{c:02d}/{first + c:04d}_{d:02d}.png": f"{alphabet}{c}{d}".encode()
        for c in (1, 2)
        for d in range(1, 21)
    }
    for half, alphabet, first in (("images_background", "Braille", 100), ("images_evaluation", "Tengwar", 200))
}
ALL = HALVES["images_background"] | HALVES["images_evaluation"]
ZIPS = {f"{half}.zip": zipped(below(half, files)) for half, files in HALVES.items()}
UNPACKED = {name: content for half, files in HALVES.items() for name, content in below(half, files).items()}
SMALL = {name: content for name, content in HALVES["images_background"].items() if "_05" in name}

LAYOUTS: dict[str, Files] = {
    "the data root": ZIPS,
    "where fetching puts it": below("omniglot", ZIPS),
    "torchvision": below("omniglot-py", ZIPS),
    "torchvision, unpacked": below("omniglot-py", UNPACKED),
    "torchvision, both": below("omniglot-py", ZIPS | UNPACKED),
    "torchvision in omniglot/": below("omniglot/omniglot-py", UNPACKED),
    "a clone": below("omniglot/python", ZIPS | {"images_background_small1.zip": zipped(SMALL), "demo.py": b"x"}),
    "the data root is a clone": below("python", ZIPS),
    "fetched again": {"images_background (1).zip": ZIPS["images_background.zip"], **below("omniglot", ZIPS)},
    "merged": below("omniglot", ALL),
    "merged, deeper": below("omniglot/data/images_all", ALL),
    "merged in the data root": ALL,
    "merged, halves below": below("Omniglot/all", UNPACKED | below("images_background_small1", SMALL)),
    "merged in a zip": {"omniglot.zip": zipped(ALL)},
    "merged in a tar in its folder": {"omniglot/x.tar.gz": tarred(UNPACKED)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_drawings_are_found(layout: str, tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS[layout])
    trees = find_omniglot(tmp_path)
    assert len(trees) == (1 if "merged" in layout else 2)
    found = {}
    for tree in trees:
        characters = list_characters(tree)
        assert all(len(members) == 20 for members in characters.values())
        contents = dict(tree.read([member for members in characters.values() for member in members]))
        found |= {f"{name}/{m.rpartition('/')[2]}": contents[m] for name, ms in characters.items() for m in ms}
    assert found == ALL


@pytest.mark.parametrize("folder", ["omniglot-py", "omniglot", "python"])
def test_a_data_root_may_be_the_folder_itself(folder: str, tmp_path: Path) -> None:
    write(tmp_path / folder, ZIPS)
    assert [tree.path.name for tree in find_omniglot(tmp_path / folder)] == list(ZIPS)


@pytest.mark.parametrize("absent", ["", "images_evaluation.zip"])
def test_a_web_page_is_called_one(absent: str, tmp_path: Path) -> None:
    files = {name: content for name, content in ZIPS.items() if name != absent}
    write(tmp_path / "omniglot", files | {"images_background.zip": b"<!DOCTYPE html><html>quota"})
    with pytest.raises(DataError, match=r"omniglot.images_background\.zip is a web page, not the data"):
        find_omniglot(tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"omniglot/drawings.hdf5": b"x", "omniglot/labels.json": b"x"},
            r"looked in \S+omniglot \(drawings.hdf5; labels.json\)",
        ),
        ({"birds/a.png": b""}, r"it holds birds\)"),
    ],
)
def test_what_was_seen_instead_is_said(files: Files, said: str, tmp_path: Path) -> None:
    write(tmp_path, files)
    with pytest.raises(DataError, match=rf"images_background\.zip and images_evaluation\.zip not found .*{said}"):
        find_omniglot(tmp_path)


def renamed(change: Callable[[str], str]) -> dict[str, bytes]:
    return {change(name): content for name, content in ALL.items()}


def test_what_is_no_drawing_is_passed_over(tmp_path: Path) -> None:
    write(
        tmp_path / "a", renamed(lambda name: name.replace("character", "symbol")) | {"Braille/character01/a.png": b""}
    )
    assert list_characters(open_tree(tmp_path / "a")) == {}
