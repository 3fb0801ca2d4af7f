"""Which class an image of ImageNet is of, where no table and no split says it."""

import pytest

from fewshot_km.data.images import image_suffixes
from fewshot_km.data.layouts.published import Published
from fewshot_km.data.layouts.synsets import by_synset, synset_of

MINI = Published("mini-imagenet", 600, 60_000)
TRAIN, VAL, OTHER = "n01532829", "n01855672", "n01440764"


@pytest.mark.parametrize(
    ("name", "synset"),
    [
        ("n0153282900000005.jpg", "n01532829"),
        ("n01532829_54.JPEG", "n01532829"),
        ("n01532829", "n01532829"),
        ("n0153282", None),
        ("xn01532829", None),
        ("n\u06610\u0661532829.jpg", None),  # digits, but not WordNet's
    ],
)
def test_a_name_begins_with_a_wordnet_id_or_does_not(name: str, synset: str | None) -> None:
    assert synset_of(name) == synset


def found(*names: str) -> object:
    return by_synset(MINI, names, image_suffixes())


def test_classes_fall_into_the_frozen_splits() -> None:
    assert found(f"a/{TRAIN}/1.jpg", f"b/{VAL}/2.jpg", f"c/{OTHER}/3.jpg", f"{TRAIN}/notes.txt") == {
        "train": {TRAIN: [f"a/{TRAIN}/1.jpg"]},
        "val": {VAL: [f"b/{VAL}/2.jpg"]},
    }
    assert found(f"images/{VAL}00000001.jpg", f"{TRAIN}_7.JPEG") == {
        "val": {VAL: [f"images/{VAL}00000001.jpg"]},
        "train": {TRAIN: [f"{TRAIN}_7.JPEG"]},
    }
    assert found(f"{OTHER}/1.jpg", "images/1.jpg") is None


def test_a_folder_stands_over_a_files_own_name() -> None:
    assert found(f"{TRAIN}/{VAL}_1.JPEG") == {"train": {TRAIN: [f"{TRAIN}/{VAL}_1.JPEG"]}}


def test_of_two_folders_of_a_class_the_fullest_counts() -> None:
    names = [f"train/{TRAIN}/{i}.jpg" for i in range(3)]
    for order in ([*names, f"val/{TRAIN}/9.jpg"], [f"val/{TRAIN}/9.jpg", *names]):
        assert found(*order) == {"train": {TRAIN: names}}
