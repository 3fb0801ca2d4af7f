"""Layouts of folders, made with the split of each file known: no test class may ever end in training."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data.layouts.folder_layout import Depth, read_folders
from fewshot_km.data.layouts.split_words import SPLIT_WORDS
from fewshot_km.errors import DataError

ANIMALS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis"]
SPLITS = ("train", "val", "test")


def in_any_case(words: Sequence[str]) -> st.SearchStrategy[str]:
    spelled = st.sampled_from(words).flatmap(lambda w: st.sampled_from([w, w.title(), w.upper()]))
    return st.builds(
        lambda around, word: around.format(word), st.sampled_from(["{}", "1_{}", "{}-images", "{}2017"]), spelled
    )


names_of_splits = st.tuples(*(in_any_case(SPLIT_WORDS[split]) for split in SPLITS))


def read(
    images: Sequence[str], **options: object
) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]] | None]:
    classes, lists, _ = read_folders("here", sorted(images), **options)  # type: ignore[arg-type]
    return classes, lists


@given(names_of_splits, st.lists(st.sampled_from(["data", "v1", "Images"]), max_size=2), st.integers(3, 9))
def test_three_split_folders_of_any_name_and_case_are_the_split_wherever_they_stand(
    words: tuple[str, str, str], above: list[str], count: int
) -> None:
    truth = {animal: SPLITS[i % 3] for i, animal in enumerate(ANIMALS[:count])}
    word = dict(zip(SPLITS, words, strict=True))
    images = ["/".join([*above, word[split], animal, f"{i}.png"]) for animal, split in truth.items() for i in range(2)]
    classes, lists = read([*images, "preview.png"])
    assert lists is not None
    assert {name: split for split in SPLITS for name in lists[split]} == truth
    assert {name: [f.split("/")[-2] for f in files] for name, files in classes.items()} == {n: [n, n] for n in truth}


trees = st.lists(
    st.tuples(
        st.sampled_from(SPLITS),
        st.lists(st.sampled_from(["birds", "images", "train"]), max_size=1),  # above the split's folder
        st.lists(st.sampled_from(["group", "mammals"]), max_size=1),  # below it
        st.sampled_from(ANIMALS),
        st.lists(st.sampled_from(["s1", "s2", "test"]), max_size=1),
    ),
    min_size=3,
    max_size=12,
)
depths: st.SearchStrategy[Depth] = st.sampled_from(["auto", "auto", "each", 1, 2, 3])


@given(trees, names_of_splits, depths)
def test_no_image_of_a_test_folder_is_ever_in_training(
    tree: list[tuple[str, list[str], list[str], str, list[str]]], words: tuple[str, str, str], depth: Depth
) -> None:
    word = dict(zip(SPLITS, words, strict=True))
    truth = {
        "/".join([*above, word[split], *below, animal, *inner, f"{i}.png"]): split
        for i, (split, above, below, animal, inner) in enumerate(tree)
    }
    try:
        classes, lists = read(list(truth), depth=depth)
    except DataError:
        return
    if lists is None:  # all that images share tells nothing: one split's folders, to be divided anew
        assert len(set(truth.values())) == 1
        return
    for split in SPLITS:
        for name in lists[split]:
            for file in classes[name]:
                assert truth[file] == split


@given(st.dictionaries(st.sampled_from(ANIMALS), st.sets(st.sampled_from(SPLITS), min_size=1), min_size=4))
def test_classes_in_two_splits_are_refused_and_joined_on_request(where: dict[str, set[str]]) -> None:
    images = [f"{split}/{name}/0.png" for name, splits in where.items() for split in sorted(splits)]
    shared = sorted(name for name, splits in where.items() if len(splits) > 1)
    parts = {split for splits in where.values() for split in splits}
    if shared:
        with pytest.raises(DataError, match=r'few-shot learning is tested on classes .* set split = "fractions"'):
            read(images)
    elif len(parts) == 2:
        (missing,) = set(SPLITS) - parts
        with pytest.raises(DataError, match=f"but no class folders for {missing}: "):
            read(images)
    if len(parts) > 1:
        classes, lists = read(images, join=True)
        assert lists is None
        assert classes == {n: sorted(f"{split}/{n}/0.png" for split in splits) for n, splits in where.items()}


@given(st.sets(st.tuples(st.sampled_from(ANIMALS[:4]), st.sampled_from(["s1", "s2", "s3", "s4"])), min_size=2))
def test_where_depths_make_different_classes_one_must_be_chosen(folders: set[tuple[str, str]]) -> None:
    images = [f"{animal}/{session}/{i}.png" for animal, session in folders for i in range(2)]
    by_animal = defaultdict(set)
    for animal, session in folders:
        by_animal[animal].add(session)
    if len(by_animal) == 1:
        assert set(read(images)[0]) == {session for _, session in folders}  # the folder around all of them is none
        return
    if len(by_animal) < len(folders):
        with pytest.raises(
            DataError, match=f"depth = 1 makes {len(by_animal)} classes .*depth = 2 makes {len(folders)} "
        ):
            read(images)
    else:
        assert set(read(images)[0]) == {f"{animal}/{session}" for animal, session in folders}
    assert {name: len(files) for name, files in read(images, depth=1)[0].items()} == {
        animal: 2 * len(sessions) for animal, sessions in by_animal.items()
    }
    assert set(read(images, depth=2)[0]) == {f"{animal}/{session}" for animal, session in folders}
    assert read(images, depth="each") == read(images, depth=2)


def test_images_at_several_depths_need_one_too() -> None:
    images = ["ant/0.png", "ant/more/1.png", "bee/0.png", "cat/0.png"]
    with pytest.raises(
        DataError, match=r'depth = 1 makes 3 classes .* makes 1 class \(ant/more\), depth = "each" makes 4'
    ):
        read(images)
    assert read(images, depth=1)[0]["ant"] == ["ant/0.png", "ant/more/1.png"]
    assert read(images, depth=2)[0] == {"ant/more": ["ant/more/1.png"]}
    assert sorted(read(images, depth="each")[0]) == ["ant", "ant/more", "bee", "cat"]


def test_names_that_are_wanted_tell_the_depth() -> None:
    images = [f"{kind}/{name}/0.png" for kind, name in (("big", "elk"), ("big", "fox"), ("small", "ant"))]
    assert sorted(read(images, wanted=["big/elk", "small/ant"])[0]) == ["big/elk", "big/fox", "small/ant"]
    assert sorted(read(images, wanted=["big"])[0]) == ["big", "small"]
    with pytest.raises(DataError, match="not clear"):
        read(images, wanted=["gnu"])


@pytest.mark.parametrize(
    "layout", ["{kind}/{animal}", "{animal}/{kind}", "v1/{kind}/{animal}", "{part}/{kind}/{animal}"]
)
def test_within_reads_images_and_not_their_masks(layout: str) -> None:
    parts = dict(zip(ANIMALS[:3], SPLITS, strict=True))
    images = [
        f"{layout.format(kind=kind, animal=animal, part=part)}/{i}.png"
        for kind in ("images", "masks")
        for animal, part in parts.items()
        for i in range(2)
    ]
    with pytest.raises(DataError, match='or within = "images", as '):
        read(images)
    classes, lists = read(images, within="images")
    assert {name: len(files) for name, files in classes.items()} == dict.fromkeys(parts, 2)
    assert all("/images/" in f"/{file}" for files in classes.values() for file in files)
    assert (lists is not None) == ("part" in layout)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ("train/1.png test/2.png val/3.png", "test/ and train/ and val/ would be classes, but stand for splits"),
        ("ant/1.png bee/1.png cat/1.png test/1.png", "test/ would be classes, but stand"),
        ("train/ant/1.png test/bee/2.png", "train/ for train and test/ for test, but no class folders for val"),
        ("train/ant/1.png other/bee/2.png", "there are train/ for train, but no class folders for val and test"),
        ("train/a/1.png base/b/1.png val/c/2.png test/d/3.png", "base/ and train/ both stand for train"),
        ("Train/a/1.png train/b/1.png val/c/2.png test/d/3.png", "Train/ and train/ both stand for train"),
        ("trainval/val/a/1.png trainval/train/b/2.png test/d/3.png", "'trainval/val/a' stands for train and val"),
        ("train_test/a/1.png val/b/2.png", "'train_test/a' stands for test and train"),
    ],
)
def test_split_folders_that_are_not_clear_are_refused_with_a_way_out(images: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read(images.split())
    assert 'set split = "fractions"' in str(caught.value)
    read(images.split(), join=True, depth=1)


def test_a_folder_called_train_may_be_a_class_and_may_hold_everything() -> None:
    assert sorted(read(["bus/1.png", "car/1.png", "train/1.png"])[0]) == ["bus", "car", "train"]
    assert sorted(read(["x/train/ant/1.png", "x/train/bee/1.png", "x/train/cat/1.png"])[0]) == ["ant", "bee", "cat"]
    folders = ["bus/s1/1.png", "bus/s2/1.png", "train/s1/1.png", "train/s2/1.png"]
    with pytest.raises(DataError, match="there are train/ for train, but no class folders for val and test"):
        read(folders)
    assert sorted(read(folders, join=True, depth=1)[0]) == ["bus", "train"]  # one split's folder is nothing to join
