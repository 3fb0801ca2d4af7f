"""Omniglot: made-up archives for what can go wrong, the real ones (where they are) for what must be right."""

import hashlib
import importlib
import io
import json
import random
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.dataset import DATASETS
from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.readers.omniglot import decode_drawing, load_bank, read_bank
from fewshot_km.data.splits import SPLIT_NAMES, read_class_lists
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE, cache_root
from fewshot_km.errors import DataError
from tests.support.made_hdf5 import of_arrays

# not by an import statement: the package may offer the loader, a function, under the module's name
module = importlib.import_module("fewshot_km.data.readers.omniglot")

Members = dict[str, bytes]


def read_half(path: Path, characters: int) -> ImageBank:
    return read_bank([open_tree(path)], [characters])


def png(seed: int, size: tuple[int, int] = (105, 105)) -> bytes:
    pixels = np.random.default_rng(seed).random((size[1], size[0])) > 0.1
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def drawings(alphabet: str, characters: int, seed: int) -> Members:
    """Made-up members of one alphabet, laid out as in the published archives."""
    return {
        f"{alphabet}/character{c:02d}/{seed + c:04d}_{d:02d}.png": png(100 * (seed + c) + d)
        for c in range(1, characters + 1)
        for d in range(1, 21)
    }


def write_zip(path: Path, members: Mapping[str, bytes], inner: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(inner + name, data)
    return path


def write_folder(path: Path, members: Mapping[str, bytes]) -> Path:
    for name, data in members.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def background() -> Members:
    return drawings("Elvish", 2, seed=0)


@pytest.fixture(scope="module")
def evaluation() -> Members:
    return drawings("Dwarvish", 1, seed=50)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, background: Members, evaluation: Members) -> Path:
    """A data root with a small Omniglot of 2 + 1 characters, and a cache of its own."""
    monkeypatch.setattr(module, "CHARACTERS", (2, 1))
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    write_zip(tmp_path / "data" / "images_background.zip", background, "images_background/")
    write_zip(tmp_path / "data" / "images_evaluation.zip", evaluation, "images_evaluation/")
    return tmp_path / "data"


def banks_in_cache() -> list[str]:
    return sorted(p.name for p in cache_root().glob("*.npy")) if cache_root().is_dir() else []


# --- what is read, and from where ---


def test_classes_are_sorted_drawings_in_order_and_turned(small: Path, background: Members) -> None:
    bank = load_bank(small).bank
    upright = [f"{name}@0" for name in ("Dwarvish/character01", "Elvish/character01", "Elvish/character02")]
    assert list(bank.class_names[::4]) == upright
    assert bank.image_shape == (1, 28, 28)
    start = int(bank.starts[bank.class_names.index("Elvish/character02@0")])
    files = bank.file_names()
    assert files is not None
    for number in range(1, 21):
        expected = decode_drawing(background[f"Elvish/character02/0002_{number:02d}.png"])
        for turns, view in enumerate((0, 90, 180, 270)):
            assert bank.class_names[bank.class_names.index("Elvish/character02@0") + turns].endswith(f"@{view}")
            position = start + 20 * turns + number - 1
            np.testing.assert_array_equal(bank.images[position, 0], np.rot90(expected, turns))
            assert files[position].endswith(f"Elvish/character02/0002_{number:02d}.png")


def shuffled(members: Members) -> Members:
    names = list(members)
    random.Random(3).shuffle(names)
    return {name: members[name] for name in names}


JUNK = {"__MACOSX/Elvish/character01/._0001_01.png": b"x", ".DS_Store": b"x", "Elvish/character01/Thumbs.db": b"x"}

LAYOUTS: dict[str, Callable[[Path, Members], Path]] = {
    "zip in another order, stored": lambda root, m: write_zip(
        root / "images_background.zip", shuffled(m), "images_background/", zipfile.ZIP_STORED
    ),
    "zip without its inner folder": lambda root, m: write_zip(root / "images_background.zip", m),
    "zip with what desktops leave": lambda root, m: write_zip(root / "images_background.zip", {**JUNK, **m}),
    "zip in the folder omniglot": lambda root, m: write_zip(root / "omniglot" / "images_background.zip", m),
    "folder": lambda root, m: write_folder(root / "images_background", m),
    "folder in a folder": lambda root, m: write_folder(root / "images_background" / "images_background", shuffled(m)),
    "folder in the folder omniglot": lambda root, m: write_folder(root / "omniglot" / "images_background", m),
    "folder with what desktops leave": lambda root, m: write_folder(root / "images_background", {**JUNK, **m}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_images_are_the_same_data_set(small: Path, background: Members, layout: str) -> None:
    digest = load_bank(small).bank.digest
    cached = banks_in_cache()
    (small / "images_background.zip").unlink()
    LAYOUTS[layout](small, background)
    assert load_bank(small).bank.digest == digest
    assert banks_in_cache() == cached == [f"omniglot-{digest[:16]}.npy"]


MERGED: dict[str, Callable[[Path, Members], Path]] = {
    "folder": lambda root, m: write_folder(root / "omniglot", m),
    "zip": lambda root, m: write_zip(root / "omniglot.zip", shuffled(m)),
    "in the data root": lambda root, m: write_folder(root, {f"Braille/{name}": data for name, data in m.items()}),
}


@pytest.mark.parametrize("layout", MERGED)
def test_both_halves_in_one_tree_are_the_same_data_set(
    small: Path, background: Members, evaluation: Members, layout: str
) -> None:
    digest = load_bank(small).bank.digest
    for half in ("images_background.zip", "images_evaluation.zip"):
        (small / half).unlink()
    MERGED[layout](small, {**background, **evaluation})
    assert load_bank(small).bank.digest == digest


def torchmeta(halves: Mapping[str, Members]) -> bytes:
    """Inverted drawings, here in the published order."""
    arrays: dict[str, list[npt.NDArray[np.uint8]]] = {}
    for half, members in halves.items():
        for name, data in members.items():
            ink = 255 - np.asarray(Image.open(io.BytesIO(data)).convert("L"))
            arrays.setdefault(f"{half}/{name.rpartition('/')[0]}", []).append(ink)
    return of_arrays({path: np.stack(drawn) for path, drawn in arrays.items()})


@pytest.mark.parametrize("zipped", [False, True])
def test_torchmetas_file_is_the_same_data_set(
    small: Path, background: Members, evaluation: Members, zipped: bool
) -> None:
    digest = load_bank(small).bank.digest
    for half in ("images_background.zip", "images_evaluation.zip"):
        (small / half).unlink()
    data = torchmeta({"images_background": background, "images_evaluation": evaluation})
    (write_zip if zipped else write_folder)(small / f"omniglot{'.zip' * zipped}", {"data.hdf5": data})
    prepared = load_bank(small)
    assert prepared.bank.digest == digest
    assert prepared.found == "data.hdf5, where the drawings of a character are in no known order"
    lacking = {"images_background": background, "images_evaluation": dict(list(evaluation.items())[1:])}
    (write_zip if zipped else write_folder)(small / f"omniglot{'.zip' * zipped}", {"data.hdf5": torchmeta(lacking)})
    with pytest.raises(DataError, match=r"data\.hdf5: Dwarvish/character01 has 19 drawings, not 20"):
        load_bank(small)


def test_a_merged_tree_must_be_complete(small: Path, background: Members) -> None:
    for half in ("images_background.zip", "images_evaluation.zip"):
        (small / half).unlink()
    write_folder(small / "omniglot", background)
    with pytest.raises(DataError, match=r"omniglot holds 2 characters, not 3"):
        load_bank(small)


def test_another_drawing_is_another_data_set(small: Path, background: Members) -> None:
    digest = load_bank(small).bank.digest
    changed = {**background, "Elvish/character01/0001_07.png": png(12345)}
    write_zip(small / "images_background.zip", changed)
    assert load_bank(small).bank.digest != digest


# --- the cache ---


def test_a_second_load_maps_the_cached_array_without_decoding(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_bank(small).bank

    def fail(_: bytes) -> npt.NDArray[np.uint8]:
        raise AssertionError("decoded again")

    monkeypatch.setattr(module, "decode_drawing", fail)
    second = load_bank(small).bank
    assert isinstance(second.images, np.memmap)
    assert second.digest == first.digest
    assert second.is_intact()


@pytest.mark.parametrize("harm", ["truncated", "no index", "no array", "note that leads nowhere"])
def test_a_harmed_cache_is_built_again(small: Path, harm: str) -> None:
    digest = load_bank(small).bank.digest
    array = cache_root() / f"omniglot-{digest[:16]}.npy"
    (note,) = cache_root().glob("*-source-*.json")
    if harm == "truncated":
        array.write_bytes(array.read_bytes()[:1000])
    elif harm == "no index":
        array.with_suffix(".json").unlink()
    elif harm == "no array":
        array.unlink()
    else:
        note.write_text("0" * 64)
    bank = load_bank(small).bank
    assert bank.digest == digest
    assert bank.is_intact()
    assert json.loads(note.read_text())["bank"] == digest


def test_a_cache_that_cannot_be_written_is_one_clear_error(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = small / "a-file"
    blocked.write_text("")
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(blocked))
    with pytest.raises(DataError, match=f"cannot be kept in .*a-file.*{CACHE_ROOT_VARIABLE}"):
        load_bank(small)


# --- what is missing ---


def test_missing_files_say_what_to_fetch_from_where_and_where_to_put_it(tmp_path: Path) -> None:
    for name in ("omniglot", "omniglot-vinyals"):
        with pytest.raises(DataError) as caught:
            DATASETS.get(name)(tmp_path)
        for needed in (
            "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_background.zip",
            "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_evaluation.zip",
            str(tmp_path),
            "--data-root",
            "FEWSHOT_KM_DATA",
            "fewshot-km data fetch omniglot",
        ):
            assert needed in str(caught.value)
        assert "\n" not in str(caught.value)


def test_only_the_missing_half_is_named(small: Path) -> None:
    (small / "images_evaluation.zip").unlink()
    with pytest.raises(DataError) as caught:
        load_bank(small)
    assert "images_evaluation.zip" in str(caught.value)
    assert "images_background.zip" not in str(caught.value)


def test_a_missing_drawing_is_named(tmp_path: Path, background: Members) -> None:
    members = {n: d for n, d in background.items() if n != "Elvish/character02/0002_13.png"}
    path = write_zip(tmp_path / "half.zip", members)
    with pytest.raises(DataError, match=r"half\.zip: Elvish/character02 has 19 drawings, not 20; missing: 13"):
        read_half(path, 2)


def test_a_drawing_too_many_is_refused(tmp_path: Path, background: Members) -> None:
    path = write_folder(tmp_path / "half", {**background, "Elvish/character02/0002_21.png": png(1)})
    with pytest.raises(DataError, match="Elvish/character02 has 21 drawings, not 20"):
        read_half(path, 2)


def test_a_missing_character_is_named(tmp_path: Path) -> None:
    known = [name for names in read_class_lists("omniglot").values() for name in names]
    present = sorted(set(known) - {"Braille/character05"})
    names = {f"{name}/0000_{d:02d}.png": b"" for name in present for d in range(1, 21)}
    path = write_zip(tmp_path / "half.zip", names)
    with pytest.raises(DataError, match="holds 1622 characters, not 1623; missing: Braille/character05"):
        read_half(path, 1623)


def test_the_public_loaders_insist_on_the_published_counts(tmp_path: Path, background: Members) -> None:
    write_zip(tmp_path / "images_background.zip", background)
    write_zip(tmp_path / "images_evaluation.zip", background)
    with pytest.raises(DataError, match=r"images_background\.zip holds 2 characters, not 964"):
        DATASETS.get("omniglot")(tmp_path)


# --- what is damaged ---


def flip(path: Path, needle: bytes, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(needle) + offset] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged or cut short: the archive"),
        (b"<html>404</html>", "a web page, not the data"),
        (b"PK\x03\x04 and no more", "damaged or cut short: the archive"),
    ],
    ids=["empty", "html", "head"],
)
def test_what_is_no_archive_is_named(small: Path, content: bytes, said: str) -> None:
    (small / "images_evaluation.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"images_evaluation\.zip is {said}"):
        load_bank(small)
    assert banks_in_cache() == []


def test_a_truncated_archive_is_refused(small: Path) -> None:
    path = small / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"images_evaluation\.zip is damaged or cut short: the archive.*Fetch"):
        load_bank(small)
    assert banks_in_cache() == []


def test_a_flipped_bit_in_an_archive_names_the_drawing_and_caches_nothing(small: Path, evaluation: Members) -> None:
    member = "Dwarvish/character01/0051_20.png"
    path = write_zip(small / "images_evaluation.zip", evaluation, method=zipfile.ZIP_STORED)
    flip(path, evaluation[member], offset=200)
    with pytest.raises(DataError, match=rf"images_evaluation\.zip is damaged.*'{member}' in it: .*CRC"):
        load_bank(small)
    assert list(cache_root().glob("*")) == []


def test_a_flipped_bit_in_a_folder_names_the_drawing(tmp_path: Path, evaluation: Members) -> None:
    member = "Dwarvish/character01/0051_20.png"
    path = write_folder(tmp_path / "half", evaluation)
    flip(path / member, evaluation[member], offset=200)
    with pytest.raises(DataError, match=f"half is damaged: drawing '{member}'"):
        read_half(path, 1)


def test_no_flipped_bit_of_a_drawing_changes_the_picture_unnoticed() -> None:
    data = png(1)
    intact = decode_drawing(data)
    refused = 0
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        try:
            decoded = decode_drawing(bytes(flipped))
        except Exception:  # whatever Pillow throws: the reader makes one error of it
            refused += 1
        else:
            np.testing.assert_array_equal(decoded, intact)
    assert refused > 0.9 * len(data)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (105, 105)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(1, (50, 105)), "it is 50x105, not 105x105"),
        (jpeg(), "it is no PNG image"),
        (b"", "it is no PNG image"),
        (png(1)[:300], "is damaged"),
        (b"\0" * (2 << 20), "2,097,152 bytes are more than"),
    ],
    ids=["wrong size", "jpeg", "empty", "cut", "huge"],
)
@pytest.mark.parametrize(("write", "name"), [(write_zip, "half.zip"), (write_folder, "half")])
def test_what_is_no_drawing_is_named(
    tmp_path: Path, evaluation: Members, write: Callable[[Path, Members], Path], name: str, data: bytes, reason: str
) -> None:
    member = "Dwarvish/character01/0051_02.png"
    path = write(tmp_path / name, {**evaluation, member: data})
    with pytest.raises(DataError, match=f"{name}.*{member}.*") as caught:
        read_half(path, 1)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_member_that_lies_about_its_size_is_not_inflated(tmp_path: Path, evaluation: Members) -> None:
    bomb = 64 << 20
    path = write_zip(tmp_path / "half.zip", {**evaluation, "Dwarvish/character01/0051_01.png": b"\0" * bomb})
    data = path.read_bytes()
    assert data.count(bomb.to_bytes(4, "little")) == 2  # in the member's own header and in the directory
    path.write_bytes(data.replace(bomb.to_bytes(4, "little"), (300).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(DataError, match="0051_01"):
        read_half(path, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_inflate_without_bound_are_refused(tmp_path: Path, evaluation: Members, method: int) -> None:
    path = write_zip(tmp_path / "half.zip", evaluation, method=method)
    with pytest.raises(DataError, match="neither stored nor deflated"):
        read_half(path, 1)


# --- the image itself ---


def lanczos(image: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    """Lanczos-3 reduction of a square image to size x size, from the textbook formula.

    Rows first, then columns, each clipped to whole grey levels: all that an 8-bit image can hold in between.
    """
    scale = len(image) / size
    centres = (np.arange(size) + 0.5) * scale
    distance = (np.arange(len(image)) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.clip(np.round(image @ weights.T), 0, 255)
    return np.clip(np.round(weights @ rows), 0, 255)


def test_a_drawing_is_reduced_by_lanczos_and_inverted() -> None:
    pixels = np.ones((105, 105), dtype=bool)
    pixels[20:30, 15:90] = False  # ink: a bar near the top, and a stem that hangs from it
    pixels[20:95, 60:68] = False
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    decoded = decode_drawing(buffer.getvalue())
    assert decoded.dtype == np.uint8
    assert np.abs(decoded - (255 - lanczos(pixels * 255.0, 28))).max() <= 1
    assert decoded[6, 10] > 250
    assert decoded[26, 2] < 5


# --- the real data ---


def test_the_random_split_follows_its_rule(real_omniglot: Path) -> None:
    names = set()
    for half in ("background", "evaluation"):
        with zipfile.ZipFile(real_omniglot / f"images_{half}.zip") as archive:
            names |= {"/".join(n.split("/")[1:3]) for n in archive.namelist() if n.endswith(".png")}
    order = sorted(names, key=lambda name: hashlib.sha256(b"1/" + name.encode()).digest())
    lists = read_class_lists("omniglot")
    assert lists == {
        "train": sorted(order[:1100]),
        "val": sorted(order[1100:1200]),
        "test": sorted(order[1200:]),
    }
    assert len(order[1200:]) == 423


def test_the_fixed_split_is_the_published_one(real_omniglot: Path) -> None:
    lists = read_class_lists("omniglot-vinyals")
    for split in SPLIT_NAMES:
        published = json.loads((real_omniglot / "splits" / f"vinyals.{split}.json").read_text())
        names = [f"{a}/{c}" for half in published.values() for a, chars in half.items() for c in chars]
        assert lists[split] == sorted(names)


@pytest.mark.slow
def test_counts_are_the_published_ones(real_omniglot: Path) -> None:
    bank = DATASETS.get("omniglot")(real_omniglot).bank
    assert len(bank.class_names) == 4 * 1623
    assert set(bank.counts) == {20}
    assert len({name.split("/")[0] for name in bank.class_names}) == 50
    assert bank.image_shape == (1, 28, 28)
    assert bank.is_intact()


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("omniglot", {"train": (1100, 4), "val": (100, 4), "test": (423, 4)}),
        ("omniglot-vinyals", {"train": (4112, 1), "val": (688, 1), "test": (1692, 1)}),
    ],
)
@pytest.mark.slow
def test_splits_cover_all_characters_and_share_none(
    real_omniglot: Path, name: str, shapes: dict[str, tuple[int, int]]
) -> None:
    dataset = DATASETS.get(name)(real_omniglot)
    assert {s: dataset.splits[s].classes.shape for s in SPLIT_NAMES} == shapes
    characters = []
    for split in SPLIT_NAMES:
        names = [dataset.bank.class_names[c] for c in dataset.splits[split].classes.ravel()]
        assert {n.rpartition("@")[2] for n in names} == {"0", "90", "180", "270"}
        characters.append({n.rpartition("@")[0] for n in names})
    assert len(set.union(*characters)) == sum(map(len, characters)) == 1623


def test_the_columns_of_a_row_are_one_character_turned(real_omniglot: Path) -> None:
    dataset = DATASETS.get("omniglot")(real_omniglot)
    bank = dataset.bank
    upright, *turned = (bank.images[_images_of(dataset.splits["test"].classes[:, v])] for v in range(4))
    for quarter, images in enumerate(turned, start=1):
        np.testing.assert_array_equal(images, np.rot90(upright, quarter, axes=(2, 3)))
    # counter-clockwise: the left edge becomes the bottom
    np.testing.assert_array_equal(turned[0][:, :, -1], upright[:, :, :, 0])


def _images_of(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return (20 * classes[:, None] + np.arange(20)).ravel()


def test_drawings_are_in_their_published_order(real_omniglot: Path) -> None:
    bank = DATASETS.get("omniglot")(real_omniglot).bank
    start = bank.starts[bank.class_names.index("Braille/character01@0")]
    images = bank.images[start : start + 20]
    same = [(i + 1, j + 1) for i in range(20) for j in range(i + 1, 20) if np.array_equal(images[i], images[j])]
    assert same == [(3, 19)]  # the one duplicate that Omniglot is known for


def test_ink_is_bright_on_dark_paper(real_omniglot: Path) -> None:
    dataset = DATASETS.get("omniglot")(real_omniglot)
    images = dataset.bank.images[_images_of(dataset.splits["val"].classes[:, 0])] / 255
    assert 0.03 < images.mean() < 0.2
    assert np.median(images) == 0
    assert images.max(axis=(1, 2, 3)).min() > 0.5


def test_a_real_drawing_agrees_with_the_lanczos_formula(real_omniglot: Path) -> None:
    bank = DATASETS.get("omniglot")(real_omniglot).bank
    start = bank.starts[bank.class_names.index("Korean/character07@0")]
    with zipfile.ZipFile(real_omniglot / "images_background.zip") as archive:
        members = sorted(n for n in archive.namelist() if "/Korean/character07/" in n and n.endswith(".png"))
        originals = [np.asarray(Image.open(io.BytesIO(archive.read(m)))) for m in members]
    assert len(originals) == 20
    for original, image in zip(originals, bank.images[start : start + 20, 0], strict=True):
        assert np.abs(image - (255 - lanczos(original * 255.0, 28))).max() <= 1


@pytest.mark.slow
def test_zipped_again_or_unpacked_it_is_the_same_cached_array(real_omniglot: Path, tmp_path: Path) -> None:
    bank = DATASETS.get("omniglot")(real_omniglot).bank
    cached = {p.name: p.stat().st_mtime_ns for p in cache_root().glob("omniglot-*.npy")}
    with zipfile.ZipFile(real_omniglot / "images_background.zip") as archive:
        members = {n: archive.read(n) for n in reversed(archive.namelist()) if n.endswith(".png")}
    write_zip(tmp_path / "images_background.zip", members, method=zipfile.ZIP_STORED)
    with zipfile.ZipFile(real_omniglot / "images_evaluation.zip") as archive:
        archive.extractall(tmp_path / "images_evaluation")
    again = DATASETS.get("omniglot")(tmp_path).bank
    assert again.digest == bank.digest
    assert {p.name: p.stat().st_mtime_ns for p in cache_root().glob("omniglot-*.npy")} == cached


def test_loading_from_the_cache_takes_no_time(real_omniglot: Path) -> None:
    DATASETS.get("omniglot")(real_omniglot)
    start = time.perf_counter()
    dataset = DATASETS.get("omniglot")(real_omniglot)
    assert time.perf_counter() - start < 0.5  # decoding takes ten seconds
    assert isinstance(dataset.bank.images, np.memmap)


def test_a_flipped_bit_in_the_real_archive_is_refused(
    real_omniglot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "images_evaluation.zip").symlink_to(real_omniglot / "images_evaluation.zip")
    with zipfile.ZipFile(real_omniglot / "images_background.zip") as archive:
        name = min((n for n in archive.namelist() if n.endswith("_05.png")), key=lambda n: n[-11:])
        member = archive.getinfo(name)
    data = bytearray((real_omniglot / "images_background.zip").read_bytes())
    data[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 1
    (tmp_path / "images_background.zip").write_bytes(data)
    with pytest.raises(DataError, match=rf"images_background\.zip is damaged.*'{name}' in it: .*CRC"):
        DATASETS.get("omniglot")(tmp_path)
    assert list((tmp_path / "cache").glob("*")) == []
