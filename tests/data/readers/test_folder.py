"""The data set `folder`: images of one's own in class folders or a csv file, against images decoded here."""

import hashlib
import io
import json
import os
import random
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fewshot_km.data import Dataset, load_dataset
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.readers.folder import pairs_with_masks
from fewshot_km.data.splits import split_classes
from fewshot_km.errors import ConfigError, DataError
from fewshot_km.experiments.settings.grid import load_grid
from tests.support.made_files import write

CLASSES = ["ant", "bee", "cat", "dog", "elk", "fox"]


def picture(seed: int, size: tuple[int, int] = (20, 20), mode: str = "RGB") -> Image.Image:
    width, height = size
    bands = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(noise if bands > 1 else noise[..., 0], mode)


def encode(image: Image.Image, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def animals(images: int = 3) -> dict[str, bytes]:
    return {f"{name}/{i}.png": encode(picture(10 * c + i)) for c, name in enumerate(CLASSES) for i in range(images)}


def load(root: Path, **options: Any) -> Dataset:
    return load_dataset("folder", root, {"path": "animals", "size": 20, **options})


def names_of(dataset: Dataset, split: str) -> list[str]:
    return [dataset.bank.class_names[c] for c in dataset.splits[split].classes[:, 0]]


def test_each_folder_is_a_class_and_each_image_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "animals", animals() | {"notes.txt": b"hello", "ant/notes.txt": b"hello", ".git/x.png": b"hidden"})
    dataset = load(tmp_path)
    assert dataset.bank.class_names == tuple(CLASSES)
    assert dataset.bank.counts.tolist() == [3] * 6
    for c in range(6):
        for i in range(3):
            stored = dataset.bank.images[dataset.bank.starts[c] + i]
            assert np.array_equal(stored, np.asarray(picture(10 * c + i)).transpose(2, 0, 1))
    assert dataset.partial is None
    assert "class folders, split with seed 0 in animals, 18 images of 20x20" in capsys.readouterr().err


def test_formats_colours_and_sizes_may_be_mixed(tmp_path: Path) -> None:
    odd = {
        "0.jpg": encode(picture(1, (31, 17)), "JPEG"),
        "1.BMP": encode(picture(2, (20, 20)), "BMP"),
        "2.tiff": encode(picture(3, (9, 40), "L"), "TIFF"),
        "3.webp": encode(picture(4, (20, 20)), "WEBP"),
        "4.gif": encode(picture(5, (20, 20), "L"), "GIF"),
        "5.ppm": encode(picture(6, (20, 20)), "PPM"),
    }
    write(tmp_path / "animals", animals() | {f"fox/{name}": data for name, data in odd.items()})
    dataset = load(tmp_path)
    fox = dataset.bank.images[dataset.bank.starts[5] :]
    assert dataset.bank.counts.tolist() == [3, 3, 3, 3, 3, 9]
    in_order = ["0.jpg", "0.png", "1.BMP", "1.png", "2.png", "2.tiff", "3.webp", "4.gif", "5.ppm"]
    for i, name in enumerate(in_order):
        if name in odd:
            image = Image.open(io.BytesIO(odd[name])).convert("RGB").resize((20, 20), Image.Resampling.LANCZOS)
            assert np.array_equal(fox[i], np.asarray(image).transpose(2, 0, 1)), name
    assert "images of 9x17 to 31x40, brought to 20x20" in dataset.found


def test_grey_has_one_channel(tmp_path: Path) -> None:
    write(tmp_path / "animals", animals())
    bank = load(tmp_path, colour="grey").bank
    assert bank.image_shape == (1, 20, 20)
    assert np.array_equal(bank.images[0, 0], np.asarray(picture(0).convert("L")))


def test_crop_keeps_the_middle_and_stretch_the_whole(tmp_path: Path) -> None:
    wide = Image.new("RGB", (60, 20), "red")
    wide.paste("lime", (20, 0, 40, 20))
    write(tmp_path / "animals", {name: encode(wide) for name in animals()})
    assert (load(tmp_path, fit="crop").bank.images == np.array([0, 255, 0], np.uint8)[:, None, None]).all()
    stretched = load(tmp_path, fit="stretch").bank.images
    assert (stretched[:, 0, :, 0] == 255).all()
    assert (stretched[:, 1, :, 10] == 255).all()


def test_photographs_are_turned_as_they_were_held(tmp_path: Path) -> None:
    image = picture(7)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    out = io.BytesIO()
    image.save(out, "PNG", exif=exif)
    write(tmp_path / "animals", animals(1) | {"ant/0.png": out.getvalue()})
    assert np.array_equal(load(tmp_path).bank.images[0], np.rot90(np.asarray(image), -1).transpose(2, 0, 1))


def test_an_archive_will_do_and_its_outer_folder_is_no_part_of_the_names(tmp_path: Path) -> None:
    write(tmp_path / "animals", animals())
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w") as archive:
        for name, content in animals().items():
            archive.writestr(f"animals-2026/images/{name}", content)
    assert load(tmp_path, path="zoo.zip").digest == load(tmp_path).digest


def test_folders_in_folders_are_classes_by_the_depth_that_is_asked_for(tmp_path: Path) -> None:
    write(
        tmp_path / "animals", {f"{kind}/{name}": data for kind in ("big", "small") for name, data in animals().items()}
    )
    with pytest.raises(
        DataError, match=r"depth = 1 makes 2 classes \(big, small\), depth = 2 makes 12 classes \(big/ant"
    ):
        load(tmp_path)
    dataset = load(tmp_path, depth=2)
    assert dataset.bank.class_names == tuple(f"{kind}/{name}" for kind in ("big", "small") for name in CLASSES)
    assert dataset.found.startswith("class folders 2 deep, split with seed 0 in animals, 36 images of 20x20; train 8 (")


def test_what_is_there_and_what_was_passed_over_is_said(tmp_path: Path) -> None:
    heic = {f"{name}/{i}.HEIC": b"" for name in ("gnu", "hen", "koi", "yak") for i in range(9)}
    (tmp_path / "animals" / "empty").mkdir(parents=True)
    masks = {f"ant/{i}_mask.png": encode(picture(i)) for i in range(2)}
    write(tmp_path / "animals", animals() | heic | masks | {"top.png": b"", "labels.csv": b"", "LICENSE": b""})
    found = load(tmp_path, split_seed=1, fractions=[0.5, 1 / 6, 1 / 3]).found
    order = sorted(CLASSES, key=lambda name: hashlib.sha256(f"1/{name}".encode()).hexdigest())
    train, test = sorted(order[:3]), sorted(order[4:])
    assert found == (
        "class folders, split with seed 1 in animals, 20 images of 20x20; "
        f"train 3 ({', '.join(train)}), val 1 ({order[3]}), test 2 ({', '.join(test)}); "
        "read as images: 2 possible masks (ant/0_mask.png of ant/0.png), which skip can pass over; "
        "passed over: 1 image (top.png), 1 table (labels.csv), 36 .heic, 1 without an ending, "
        "5 folders without images (empty, gnu, hen, ...)"
    )
    assert load(tmp_path, skip="*_mask.*").bank.counts.tolist() == [3] * 6


# Splits


def test_fractions_split_by_nothing_but_names_and_seed(tmp_path: Path) -> None:
    write(tmp_path / "animals", animals())
    for seed in range(4):
        order = sorted(CLASSES, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
        dataset = load(tmp_path, split_seed=seed, fractions=[0.5, 1 / 6, 1 / 3])
        assert names_of(dataset, "train") == sorted(order[:3])
        assert names_of(dataset, "val") == order[3:4]
        assert names_of(dataset, "test") == sorted(order[4:])


@given(
    st.integers(3, 200),
    st.tuples(st.integers(1, 100), st.integers(1, 100), st.integers(1, 100)),
    st.integers(0, 2**63),
)
def test_every_class_is_in_one_split_and_shares_are_as_near_as_can_be(
    count: int, weights: tuple[int, int, int], seed: int
) -> None:
    names = [f"class {i}" for i in range(count)]
    fractions = [weight / sum(weights) for weight in weights]
    lists = split_classes(names, fractions, seed)
    assert sorted(name for split in lists.values() for name in split) == sorted(names)
    sizes = [len(lists[split]) for split in ("train", "val", "test")]
    assert min(sizes) >= 1
    if min(fractions) * count >= 1:
        assert all(abs(size - fraction * count) < 1 for size, fraction in zip(sizes, fractions, strict=True))
    assert split_classes(names[::-1], fractions, seed) == lists


def test_folders_for_the_splits_are_taken_for_what_they_say(tmp_path: Path) -> None:
    where = dict(zip(CLASSES, ["train", "train", "train", "validation", "test", "test"], strict=True))
    write(tmp_path / "animals", {f"{where[n.split('/')[0]]}/{n}": data for n, data in animals().items()})
    dataset = load(tmp_path)
    assert names_of(dataset, "train") == ["ant", "bee", "cat"]
    assert names_of(dataset, "val") == ["dog"]
    assert names_of(dataset, "test") == ["elk", "fox"]


def test_given_lists_decide_and_classes_in_none_are_left_out(tmp_path: Path) -> None:
    lists = {"train": ["fox", "ant"], "val": ["cat"], "test": ["bee"]}
    write(tmp_path / "animals", animals() | {"lists.json": json.dumps(lists).encode()})
    dataset = load(tmp_path, splits="lists.json")
    assert dataset.bank.class_names == ("ant", "bee", "cat", "fox")
    assert {split: set(names_of(dataset, split)) for split in lists} == {s: set(n) for s, n in lists.items()}


def test_a_csv_file_names_files_classes_and_splits(tmp_path: Path) -> None:
    files = {f"all/{c}{i}.png": encode(picture(10 * c + i)) for c in range(6) for i in range(3)}
    rows = [f"{c}{i}.png,{CLASSES[c]}" for c in range(6) for i in range(3)]
    write(
        tmp_path / "animals", files | {"all/labels.csv": "\n".join(["file,class", *reversed(rows)]).encode("utf-8-sig")}
    )
    write(tmp_path / "folders", animals())
    assert load(tmp_path, table="all/labels.csv").digest == load(tmp_path, path="folders").digest

    split = dict(zip(CLASSES, ["train", "train", "val", "val", "test", "test"], strict=True))
    rows = [
        "class,split,file",
        *(f"{CLASSES[c]},{split[CLASSES[c]]},all/{c}{i}.png" for c in range(6) for i in range(3)),
    ]
    write(tmp_path / "animals", {"labels.csv": "\n".join(rows).encode()})
    dataset = load(tmp_path, table="labels.csv")
    assert {name: s for s in ("train", "val", "test") for name in names_of(dataset, s)} == split


def test_neither_listing_order_nor_the_file_systems_spelling_changes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    class Shuffled:
        def __init__(self, path: Any) -> None:
            with real(path) as entries:
                self.entries = list(entries)
            random.shuffle(self.entries)

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    digests = set()
    for attempt, form in enumerate(["NFC", "NFD", "NFC", "NFD"]):
        spelled = unicodedata.normalize(form, "Zähne")  # type: ignore[arg-type]
        files = {name.replace("elk", spelled): data for name, data in animals().items()}
        write(tmp_path / str(attempt), files)
        random.seed(attempt)
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", Shuffled)
            digests.add(load(tmp_path, path=str(attempt)).digest)
    assert len(digests) == 1


# Mistakes


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        ({}, {"path": "nowhere"}, "nowhere is not there"),
        ({}, {}, "holds no folders with images"),
        ({"a.png": b""}, {}, "make one folder a class"),
        ({"a/1.png": b"", "b/1.png": b""}, {}, r"2 classes \(a, b\) cannot be split .* training has not seen"),
        ({"all/1.png": b"", "all/2.png": b""}, {}, "all 2 images are in one folder, 'all', which is one class: make"),
        ({"all/1.png": b"", "all/2.png": b"", "t.csv": b""}, {}, r"image is, set table = \"t.csv\""),
        ({"1.png": b"", "2.heic": b"", "t.csv": b""}, {}, 'image is, set table = "t.csv". It has 1 image .*1 .heic'),
        (animals(), {"skip": "*.png"}, "leaves no images"),
        (animals(), {"within": "images"}, "leaves no class folders with images; there are ant, bee, cat, ..."),
        (animals(), {"depth": 2}, "depth = 2, but no image lies more than 1 folder deep"),
        (animals(), {"fractions": [0.5, 0.5, 0.5]}, "add up to 1"),
        (animals(), {"fractions": [0.5, 0.5]}, "give three"),
        (animals(), {"table": "no.csv"}, "there is no file 'no.csv'"),
        (
            animals() | {"t.csv": b"a,b\n1,2\n"},
            {"table": "t.csv"},
            "needs a first line with the columns",
        ),
        (animals() | {"t.csv": b"file,class\nant/9.png,ant\n"}, {"table": "t.csv"}, "line 2: 'ant/9.png' is not there"),
        (animals() | {"t.csv": b"file,class\nant/0.png,\n"}, {"table": "t.csv"}, "line 2: the class is missing"),
        (animals() | {"t.csv": b"file,class\nant/0.png\n"}, {"table": "t.csv"}, "line 2: the class is missing"),
        (
            animals() | {"t.csv": b"file,class\n" + b"ant/0.png,a\n" * 2},
            {"table": "t.csv"},
            "line 3: 'ant/0.png' occurs twice: it is in line 2 already",
        ),
        (animals() | {"t.csv": "file,class\nä,ö\n".encode("latin1")}, {"table": "t.csv"}, "'t.csv' is not UTF-8"),
        (animals() | {"t.csv": b'file,class\n"ant/0.png,a\n'}, {"table": "t.csv"}, "'t.csv' is no csv file"),
        (
            animals() | {"t.csv": b"file,class,split\nant/0.png,a,train\nant/1.png,a,test\n"},
            {"table": "t.csv"},
            "line 3: class 'a' is in 'train' and in 'test'",
        ),
        (
            animals() | {"t.csv": b"file,class,split\nant/0.png,a,mine\n"},
            {"table": "t.csv"},
            "may say train, val or test, not 'mine'",
        ),
        (animals() | {"s.json": b"{"}, {"splits": "s.json"}, "'s.json' should hold"),
        (animals() | {"s.json": b"[" * 100_000}, {"splits": "s.json"}, "'s.json' should hold .*recursion"),
        (animals() | {"s.json": b'{"train": ' + b"9" * 5000}, {"splits": "s.json"}, "'s.json' should hold"),
        (animals() | {"s.json": b'{"train": [], "val": []}'}, {"splits": "s.json"}, "'s.json' should hold"),
        (
            animals() | {"s.json": b'{"train": [1], "val": [], "test": []}'},
            {"splits": "s.json"},
            "'s.json' should hold",
        ),
        (
            animals() | {"s.json": b'{"train": ["ant"], "val": ["gnu"], "test": ["bee"]}'},
            {"splits": "s.json"},
            "lists classes without images: gnu",
        ),
        (
            animals() | {"s.json": b'{"train": ["ant"], "val": ["ant"], "test": ["bee"]}'},
            {"splits": "s.json"},
            "class 'ant' stands in split 'train' and again in 'val'",
        ),
        (
            animals() | {"s.json": b'{"train": ["ant"], "val": [], "test": ["bee"]}'},
            {"splits": "s.json"},
            "split 'val' has no classes",
        ),
        (animals() | {"ant/0.png": b"no image"}, {}, "1 of 18 images cannot be read: 'ant/0.png': it is no image"),
        (animals() | {"ant/0.png": animals()["ant/0.png"][:-30]}, {}, "'ant/0.png'"),
    ],
)
def test_what_is_wrong_is_one_error_that_says_where(
    files: dict[str, bytes], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    (tmp_path / "animals").mkdir()
    write(tmp_path / "animals", files)
    with pytest.raises(DataError, match=says) as caught:
        load(tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_classes_whose_names_look_the_same_are_refused(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        write(tmp_path / "animals", {f"{unicodedata.normalize(form, 'Zähne')}/0.png": b""})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="more than one class folder is called 'Zähne'"):
        load(tmp_path)


def test_wrong_options_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the option 'path'"):
        load_dataset("folder", tmp_path)
    with pytest.raises(ConfigError, match="option 'colour': 'red' is not allowed"):
        load(tmp_path, colour="red")
    with pytest.raises(ConfigError, match="option 'depth': 0 is not allowed; allowed: 'auto', 'each', 1, 2, 3,"):
        load(tmp_path, depth=0)
    with pytest.raises(ConfigError, match="option 'size'"):
        load(tmp_path, size=0)


def test_too_few_classes_or_images_are_named_with_their_numbers(tmp_path: Path) -> None:
    files = animals()
    del files["fox/2.png"]
    lists = {"train": ["ant", "bee"], "val": ["cat", "dog"], "test": ["elk", "fox"]}
    write(tmp_path / "animals", files | {"s.json": json.dumps(lists).encode()})
    dataset = load(tmp_path, splits="s.json")
    stream = Stream("test", 0)
    with pytest.raises(DataError, match=r"needs 5 classes; split 'test' of 'folder animals' has 2: .* fractions"):
        EpisodeSampler(dataset, "test", TaskSpec(5, 1, 1), stream)
    with pytest.raises(DataError, match="needs 3 images a class; class 'fox' of 'folder animals' has 2"):
        EpisodeSampler(dataset, "test", TaskSpec(2, 1, 2), stream)
    EpisodeSampler(dataset, "test", TaskSpec(2, 1, 1), stream)


PARTED = {"train": CLASSES[:4], "test": CLASSES[4:]}
WITHOUT_VALIDATION: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {
    "folders": (
        {
            f"{split}/{name}/{i}.png": encode(picture(10 * CLASSES.index(name) + i))
            for split, names in PARTED.items()
            for name in names
            for i in range(3)
        },
        {},
    ),
    "csv files": (
        animals()
        | {
            f"{split}.csv": "".join(
                ["file,class\n", *(f"{name}/{i}.png,{name}\n" for name in names for i in range(3))]
            ).encode()
            for split, names in PARTED.items()
        },
        {},
    ),
    "texts": (
        animals() | {f"{split}.txt": "\n".join(names).encode() for split, names in PARTED.items()},
        {"split": "lists"},
    ),
    "a table": (
        animals()
        | {
            "t.csv": "".join(
                [
                    "file,class,split\n",
                    *(
                        f"{name}/{i}.png,{name},{split}\n"
                        for split, names in PARTED.items()
                        for name in names
                        for i in range(3)
                    ),
                ]
            ).encode()
        },
        {"table": "t.csv"},
    ),
    "json": (animals() | {"s.json": json.dumps(PARTED).encode()}, {"splits": "s.json"}),
}


@pytest.mark.parametrize("case", WITHOUT_VALIDATION)
def test_validation_takes_whole_classes_of_training(case: str, tmp_path: Path) -> None:
    files, options = WITHOUT_VALIDATION[case]
    write(tmp_path / "animals", files)
    with pytest.raises(DataError, match=r"set validation = 0\.2"):
        load(tmp_path, **options)
    for seed in range(3):
        drawn = sorted(PARTED["train"], key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
        dataset = load(tmp_path, **options, validation=0.5, split_seed=seed)
        assert names_of(dataset, "val") == sorted(drawn[2:])
        assert names_of(dataset, "train") == sorted(drawn[:2])
        assert names_of(dataset, "test") == PARTED["test"]
        assert f"0.5 of the classes of train taken for validation with seed {seed}" in dataset.found
        assert dataset.bank.counts.tolist() == [3] * 6


def test_validation_is_refused_where_it_would_change_nothing(tmp_path: Path) -> None:
    write(tmp_path / "animals", animals())
    with pytest.raises(DataError, match=r"validation = 0.2, but fractions split these classes"):
        load(tmp_path, validation=0.2)
    lists = {"train": CLASSES[:3], "val": CLASSES[3:4], "test": CLASSES[4:]}
    write(tmp_path / "animals", {"s.json": json.dumps(lists).encode()})
    with pytest.raises(DataError, match=r"validation = 0.2, but there are classes for validation already"):
        load(tmp_path, validation=0.2, splits="s.json")
    write(tmp_path / "animals", {"s.json": json.dumps({"train": ["ant"], "test": ["bee"]}).encode()})
    with pytest.raises(DataError, match=r"animals: validation = 0.2, but train has 1 class and none to spare"):
        load(tmp_path, validation=0.2, splits="s.json")


def test_a_grid_names_the_folder_and_its_options(tmp_path: Path) -> None:
    text = """
    seeds = [0]
    learners = ["maml"]
    [[tasks]]
    dataset = { name = "folder", path = "animals", size = 32 }
    label = "animals"
    ways = 2
    shots = 1
    [inner]
    lr = 0.1
    """
    (tmp_path / "g.toml").write_text(text)
    (cell,) = load_grid(tmp_path / "g.toml").cells
    written = cell.config.model_dump(mode="json")["task"]["dataset"]
    assert written == {
        "name": "folder",
        "path": "animals",
        "table": "",
        "file_column": "",
        "class_column": "",
        "within": "",
        "skip": "",
        "depth": "auto",
        "split": "auto",
        "splits": "",
        "fractions": [0.64, 0.16, 0.2],
        "split_seed": 0,
        "validation": 0.0,
        "size": 32,
        "colour": "rgb",
        "fit": "stretch",
    }
    (tmp_path / "g.toml").write_text(text.replace("size", "sise"))
    with pytest.raises(ConfigError, match=r"tasks\[0\]\.dataset: data set 'folder' has no option 'sise': did you mean"):
        load_grid(tmp_path / "g.toml")


# --- masks ---


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("ant/1.jpg", "ant/1.png"),
        ("ant/1.JPG", "ant/1.PNG"),
        ("ant/1.png", "ant/1_mask.png"),
        ("ant/1.jpg", "ant/1_segmentation.png"),
        ("ant/1.png", "ant/1-GT.png"),
        ("ant/1.jpg", "ant/1_seg.gif"),
    ],
)
def test_a_mask_is_known_by_its_name(image: str, mask: str) -> None:
    assert pairs_with_masks(["ant/0.jpg", image, mask, "bee/1.jpg"]) == [(image, mask)]
    assert pairs_with_masks([mask, image]) == [(image, mask)]


def test_images_of_other_names_and_folders_are_none() -> None:
    assert pairs_with_masks(["ant/1.jpg", "bee/1.png", "ant/2.png", "mask/1.png", "ant/mask.png", "ant/10.png"]) == []
