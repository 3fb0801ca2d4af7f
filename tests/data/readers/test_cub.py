"""CUB from small trees laid out as the published archive, compared with Pillow's own resizing."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fewshot_km.data import Dataset, load_dataset
from fewshot_km.data.layouts import image_files
from fewshot_km.data.layouts.published import check_complete
from fewshot_km.data.remote_files import FETCHABLE
from fewshot_km.data.splits import read_class_lists
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE
from fewshot_km.errors import DataError
from tests.support.made_files import Files, below, encoded, tarred, write, zipped
from tests.support.made_hdf5 import of_image_files

module = importlib.import_module("fewshot_km.data.readers.cub")

CLASSES = {
    "train": ["001.Black_footed_Albatross", "003.Sooty_Albatross"],
    "val": ["002.Laysan_Albatross"],
    "test": ["004.Groove_billed_Ani", "200.Common_Yellowthroat"],
}
COUNTS = {name: 2 + i for i, name in enumerate(sorted(name for names in CLASSES.values() for name in names))}


def pixels(name: str, position: int) -> npt.NDArray[np.uint8]:
    """Of differing sizes and ratios, and the last of a class grey: eight of the published images are."""
    random = np.random.default_rng([int(name[:3]), position])
    coarse = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((100 + 20 * position, 90 + int(name[:3]) % 7), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("L") if position == COUNTS[name] - 1 else image)


def file_name(name: str, position: int) -> str:
    return f"{name[4:]}_{position:04d}_{position + 1}.jpg"


def published_form() -> dict[str, bytes]:
    """Images as PNG, which keeps pixels; with what lies beside them in the archive and what people put there."""
    images = {
        f"CUB_200_2011/images/{name}/{file_name(name, i)}": encoded(pixels(name, i))
        for name, count in COUNTS.items()
        for i in range(count)
    }
    mask = encoded(np.zeros((20, 20), np.uint8))
    beside = {f"CUB_200_2011/segmentations/{name}/mask{i}.png": mask for name in COUNTS for i in range(9)}
    hidden = {f"CUB_200_2011/images/{name}/._{file_name(name, 0)}": b"x" for name in COUNTS}
    texts = {"attributes.txt": b"1 has_bill_shape::curved", "CUB_200_2011/images.txt": b"1 001.Black_footed_Albatross/"}
    return {**images, **beside, **hidden, **texts, "CUB_200_2011/images/.DS_Store": b"x"}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return published_form()


def load(data_root: Path, allow_partial: bool = True) -> Dataset:
    return load_dataset("cub", data_root, {"allow_partial": allow_partial})


def test_whole_images_are_stretched_class_by_class(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cub", files)
    dataset = load(tmp_path)
    bank = dataset.bank
    assert dict(zip(bank.class_names, bank.counts.tolist(), strict=True)) == COUNTS
    for c, name in enumerate(bank.class_names):
        for i in range(COUNTS[name]):
            colour = Image.fromarray(pixels(name, i)).convert("RGB")
            expected = np.asarray(colour.resize((84, 84), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
            np.testing.assert_array_equal(bank.images[bank.starts[c] + i], expected)
    assert dataset.found == "class folders in cub, 20 images of 100x91 to 200x94, brought to 84x84"


def test_splits_are_the_frozen_ones(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cub", files)
    dataset = load(tmp_path)
    for split, names in read_class_lists("cub").items():
        found = [dataset.bank.class_names[c] for c in dataset.splits[split].classes[:, 0]]
        assert found == CLASSES[split] == [name for name in names if name in COUNTS]
    assert dataset.partial == "5 of 200 classes, 20 of 11,788 images"


LAYOUTS: dict[str, Callable[[Files], Files]] = {
    "the published archive": lambda files: {"CUB_200_2011.tgz": tarred(files)},
    "its folder": lambda files: files,
    "the archive in a folder": lambda files: {"CUB/CUB_200_2011.tgz": tarred(files)},
    "its folder in another": lambda files: below("cub", files),
    "a zip": lambda files: {"cub-200-2011/birds.zip": zipped(files)},
    "a zip of images/ alone": lambda files: {
        "CUB_200_2011.zip": zipped({n.partition("/")[2]: c for n, c in files.items() if "/images/" in n})
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_and_archives_give_the_same(layout: str, files: Files, tmp_path: Path) -> None:
    write(tmp_path / "a", LAYOUTS[layout](files))
    write(tmp_path / "b" / "cub", files)
    assert load(tmp_path / "a").digest == load(tmp_path / "b").digest


def test_a_data_root_may_be_the_folder_itself(files: Files, tmp_path: Path) -> None:
    write(tmp_path, files)
    assert load(tmp_path / "CUB_200_2011").digest == load(tmp_path).digest


def test_it_is_found_where_fetch_puts_it(files: Files, tmp_path: Path) -> None:
    (remote,) = FETCHABLE["cub"]
    for place in remote.places(tmp_path):
        write(place.parent, {place.name: tarred(files)})
        assert load(tmp_path).bank.class_names == tuple(COUNTS)
        place.unlink()


def test_the_second_load_decodes_nothing(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    write(tmp_path / "cub", files)
    first = load(tmp_path)
    monkeypatch.setattr(image_files, "bank_from_files", None)
    second = load(tmp_path)
    assert (second.digest, second.found, second.partial) == (first.digest, first.found, first.partial)


def torchmeta() -> dict[str, bytes]:
    return of_image_files(
        {
            split: {name: [encoded(pixels(name, i)) for i in range(COUNTS[name])] for name in names}
            for split, names in CLASSES.items()
        }
    )


def test_torchmetas_files_are_the_same_data_set(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "a" / "cub", files)
    write(tmp_path / "b" / "cub", torchmeta())
    dataset = load(tmp_path / "b")
    assert dataset.digest == load(tmp_path / "a").digest
    assert dataset.found == "torchmeta's HDF5 files in cub, 20 images of 100x91 to 200x94, brought to 84x84"
    with pytest.raises(DataError, match=r"torchmeta's HDF5 files.* holds 5 of 200 classes"):
        load(tmp_path / "b", allow_partial=False)


def test_the_archive_beside_torchmetas_files_is_read_instead(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cub", torchmeta() | {"CUB_200_2011.tgz": tarred(files)})
    assert load(tmp_path).found.startswith("class folders in cub/CUB_200_2011.tgz")


def test_an_incomplete_set_is_refused(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cub", files)
    with pytest.raises(DataError, match=r"holds 5 of 200 classes, 20 of 11,788 images of cub\. .*allow_partial"):
        load(tmp_path, allow_partial=False)


def test_the_published_number_of_images_is_complete() -> None:
    counts = {split: dict.fromkeys(names, 59) for split, names in read_class_lists("cub").items()}
    counts["train"]["001.Black_footed_Albatross"] -= 12  # 200 x 59 are 11,800
    assert check_complete(module.CUB, counts, "here", False) is None


def test_a_class_of_another_edition_is_refused(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cub", {**files, "CUB_200_2011/images/201.Dodo/a.jpg": encoded(np.zeros((9, 9), np.uint8))})
    with pytest.raises(DataError, match=r"201\.Dodo of no split \(unknown\)"):
        load(tmp_path)


def test_a_damaged_image_is_refused_by_name(files: Files, tmp_path: Path) -> None:
    name = "CUB_200_2011/images/002.Laysan_Albatross/Laysan_Albatross_0001_2.jpg"
    write(tmp_path / "cub", {**files, name: files[name][:-40]})
    with pytest.raises(DataError, match=rf"cub: 1 of 20 images cannot be read: '{name}': "):
        load(tmp_path)


def test_an_archive_cut_short_is_refused_by_name(files: Files, tmp_path: Path) -> None:
    write(tmp_path, {"CUB_200_2011.tgz": tarred(files)[:-3000]})
    with pytest.raises(DataError, match=r"CUB_200_2011\.tgz is damaged or cut short"):
        load(tmp_path)


@pytest.mark.parametrize("there", [{}, {"cub/segmentations/001.Black_footed_Albatross/a.png": b""}], ids=["", "masks"])
def test_nothing_there_says_where_it_was_looked_for_and_what_would_do(there: Files, tmp_path: Path) -> None:
    write(tmp_path, there)
    with pytest.raises(DataError) as refusal:
        load(tmp_path)
    assert ("in segmentations/; 1 folder 001.Black_footed_Albatross; a.png" if there else "it holds nothing") in str(
        refusal.value
    )
    for part in ("CUB-200-2011 not found", str(tmp_path), "fewshot-km data fetch cub", "CUB_200_2011.tgz", "images/"):
        assert part in str(refusal.value)
