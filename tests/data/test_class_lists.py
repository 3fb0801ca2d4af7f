"""The shipped class lists: published counts, no class twice, and each list's own rule computed anew."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

import fewshot_km
from fewshot_km.data.splits import SPLIT_NAMES, read_class_lists
from tests.conftest import SHARED_DATA

CLASS_LISTS = Path(fewshot_km.__file__).parent / "data" / "class_lists"

PUBLISHED_COUNTS = {
    "omniglot": (1100, 100, 423),
    "omniglot-vinyals": (1028, 172, 423),
    "glyphs": (331, 100, 142),  # by ourselves: the README beside the lists
    "mini-imagenet": (64, 16, 20),
    "tiered-imagenet": (351, 97, 160),
    "cifar-fs": (64, 16, 20),
    "fc100": (60, 20, 20),
    "cub": (100, 50, 50),
}

# CIFAR-100's published table
SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}

# TADAM counts the superclasses from 0 in alphabetical order
FC100_SUPERCLASSES = {
    "train": (1, 2, 3, 4, 5, 6, 9, 10, 15, 17, 18, 19),
    "val": (8, 11, 13, 16),
    "test": (0, 7, 12, 14),
}


def all_names(name: str) -> list[str]:
    return [n for names in read_class_lists(name).values() for n in names]


def test_every_shipped_list_has_a_published_count() -> None:
    assert {file.stem for file in CLASS_LISTS.glob("*.json")} == set(PUBLISHED_COUNTS)


@pytest.mark.parametrize(("name", "counts"), PUBLISHED_COUNTS.items())
def test_counts_are_the_published_ones(name: str, counts: tuple[int, int, int]) -> None:
    stored = json.loads((CLASS_LISTS / f"{name}.json").read_text(encoding="utf-8"))
    assert {split: len(names) for split, names in stored.items()} == dict(zip(SPLIT_NAMES, counts, strict=True))


@pytest.mark.parametrize("name", PUBLISHED_COUNTS)
def test_lists_are_sorted_and_name_no_class_twice(name: str) -> None:
    assert [n for n, times in Counter(all_names(name)).items() if times > 1] == []
    for names in read_class_lists(name).values():
        assert names == sorted(names)


@pytest.mark.parametrize("name", ["mini-imagenet", "tiered-imagenet"])
def test_imagenets_classes_are_wordnet_ids(name: str) -> None:
    assert [n for n in all_names(name) if not re.fullmatch(r"n\d{8}", n)] == []


def test_mini_imagenet_is_the_split_of_ravi_and_larochelle() -> None:
    folder = SHARED_DATA / "mini-imagenet"
    if not (folder / "train.csv").is_file():
        pytest.skip(f"the published mini-ImageNet csv files are not at {folder}")
    for split, names in read_class_lists("mini-imagenet").items():
        with (folder / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            images = Counter(row["label"] for row in csv.DictReader(file))
        assert dict(images) == dict.fromkeys(names, 600)


@pytest.mark.parametrize("name", ["cifar-fs", "fc100"])
def test_cifars_lists_cover_its_hundred_classes(name: str) -> None:
    assert sorted(all_names(name)) == sorted(" ".join(SUPERCLASSES.values()).split())


def test_fc100_keeps_superclasses_whole() -> None:
    members = [SUPERCLASSES[superclass].split() for superclass in sorted(SUPERCLASSES)]
    lists = read_class_lists("fc100")
    assert lists == {s: sorted(n for i in FC100_SUPERCLASSES[s] for n in members[i]) for s in SPLIT_NAMES}


def test_cub_follows_its_rule() -> None:
    order = sorted(all_names("cub"))
    assert [int(folder.split(".")[0]) for folder in order] == list(range(1, 201))
    split_of_place = ("train", "val", "train", "test")
    assert read_class_lists("cub") == {
        split: [folder for i, folder in enumerate(order) if split_of_place[i % 4] == split] for split in SPLIT_NAMES
    }
