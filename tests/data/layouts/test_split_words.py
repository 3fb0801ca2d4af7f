"""Words that stand for splits, as found in the repositories of few-shot benchmarks."""

import pytest

from fewshot_km.data.layouts.split_words import split_and_rest, split_called, splits_in


@pytest.mark.parametrize(
    ("names", "split"),
    [
        ("train Train TRAIN training base meta-train meta_train trainval train2017 trainImages images_train", "train"),
        ("val Valid validation dev meta-val val2017 VAL_SET", "val"),
        ("test Testing novel eval evaluation meta-test test_images testset unseen held-out", "test"),
    ],
)
def test_names_in_use_stand_for_their_split(names: str, split: str) -> None:
    for name in names.split():
        assert split_called(name) == split, name
        assert split_and_rest(name) == (split, ""), name


@pytest.mark.parametrize(
    "name", ["ant", "terrain", "contest", "latest", "strainer", "evaluate", "database", "images", "n01", "été"]
)
def test_names_of_other_things_stand_for_none(name: str) -> None:
    assert split_called(name) is None
    assert not splits_in(name)


def test_parts_of_a_name_are_mentioned() -> None:
    assert splits_in("birds_train") == splits_in("birdsTrain") == splits_in("CUB Train 84") == {"train"}
    assert split_and_rest("birds_train") == ("train", "birds")
    assert splits_in("train_test") == {"train", "test"}
    assert split_and_rest("train_test") is None
