"""Every promise about episodes, for any shape of data set and task that hypothesis can think of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fewshot_km.data import Dataset, ImageBank
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.open_episodes import OpenEpisodeSampler
from fewshot_km.data.splits import Split, read_class_lists
from fewshot_km.errors import DataError

NAMED_SHAPES = {  # (classes, views of a class, images of a class): the splits of the data sets that we ship readers for
    "glyphs test": (len(read_class_lists("glyphs")["test"]), 1, 20),
    "omniglot train": (1100, 4, 20),
    "omniglot test": (423, 4, 20),
    "omniglot-vinyals train": (4112, 1, 20),
}


def numbered_dataset(counts: list[int], views: int = 1) -> Dataset:
    """Images of 1x1x4 whose pixels spell (class, image in the class); `views` classes make one row of the split."""
    arrays = [
        np.array([[[[c >> 8, c & 255, i >> 8, i & 255]]] for i in range(n)], dtype=np.uint8)
        for c, n in enumerate(counts)
    ]
    bank = ImageBank.from_classes([f"class{c}" for c in range(len(counts))], arrays)
    split = Split("train", np.arange(len(counts)).reshape(-1, views), "")
    return Dataset("numbered", bank, {"train": split})


def spelled(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(class, image within the class) of images [..., 1, 1, 4] as floats."""
    digits = (images * 255).round().long().flatten(-3)
    return digits[..., 0] * 256 + digits[..., 1], digits[..., 2] * 256 + digits[..., 3]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Dataset, TaskSpec, int, int, int]:
    """A data set with uneven classes, a task that fits it, a seed, an index, and the number of views."""
    ways, shots, queries = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    views = draw(st.integers(1, 4))
    rows = draw(st.integers(ways, ways + 5))
    size = st.integers(shots + queries, shots + queries + 6)
    counts = draw(st.lists(size, min_size=rows * views, max_size=rows * views))
    dataset = numbered_dataset(counts, views)
    return dataset, TaskSpec(ways, shots, queries), draw(st.integers(0, 2**63 - 1)), draw(st.integers(0, 2**63)), views


def check_episode(dataset: Dataset, spec: TaskSpec, seed: int, index: int, views: int) -> None:
    sampler = EpisodeSampler(dataset, "train", spec, Stream("train", seed))
    episode = sampler.draw([index])
    sx, sy, qx, qy = (t[0] for t in (episode.support_x, episode.support_y, episode.query_x, episode.query_y))
    assert len(sx) == len(sy) == spec.ways * spec.shots
    assert len(qx) == len(qy) == spec.ways * spec.queries
    assert (sx.dtype, sy.dtype) == (torch.float32, torch.int64)
    assert torch.bincount(sy, minlength=spec.ways).tolist() == [spec.shots] * spec.ways
    assert torch.bincount(qy, minlength=spec.ways).tolist() == [spec.queries] * spec.ways
    support_class, support_image = spelled(sx)
    query_class, query_image = spelled(qx)
    class_of = dict(zip(sy.tolist(), support_class.tolist(), strict=True))
    assert len({c // views for c in class_of.values()}) == spec.ways  # N distinct classes, one view of each
    assert [class_of[y] for y in sy.tolist()] == support_class.tolist()  # labels tell classes, in the support
    assert [class_of[y] for y in qy.tolist()] == query_class.tolist()  # and in the query alike
    seen = list(zip(support_class.tolist(), support_image.tolist(), strict=True))
    asked = list(zip(query_class.tolist(), query_image.tolist(), strict=True))
    assert len(set(seen + asked)) == len(seen) + len(asked)  # disjoint, and nothing twice


@given(problems())
def test_episodes_keep_their_promises(problem: tuple[Dataset, TaskSpec, int, int, int]) -> None:
    check_episode(*problem)


@pytest.fixture(scope="module")
def shaped() -> dict[str, Dataset]:
    return {name: numbered_dataset([n] * (rows * views), views) for name, (rows, views, n) in NAMED_SHAPES.items()}


@pytest.mark.parametrize("name", NAMED_SHAPES)
@given(
    ways=st.sampled_from([5, 20]),
    shots=st.sampled_from([1, 5]),
    queries=st.integers(1, 15),
    seed=st.integers(0, 10**6),
    index=st.integers(0, 10**9),
)
def test_episodes_of_the_shipped_shapes_keep_their_promises(
    name: str, shaped: dict[str, Dataset], ways: int, shots: int, queries: int, seed: int, index: int
) -> None:
    check_episode(shaped[name], TaskSpec(ways, shots, queries), seed, index, NAMED_SHAPES[name][1])


@given(problems(), st.lists(st.integers(0, 1000), min_size=1, max_size=5))
def test_an_episode_is_a_function_of_its_index_alone(
    problem: tuple[Dataset, TaskSpec, int, int, int], indices: list[int]
) -> None:
    dataset, spec, seed, _, _ = problem
    together = EpisodeSampler(dataset, "train", spec, Stream("train", seed)).draw(indices)
    for t, index in enumerate(indices):
        alone = EpisodeSampler(dataset, "train", spec, Stream("train", seed)).draw([index])
        assert torch.equal(together.support_x[t], alone.support_x[0])
        assert torch.equal(together.query_x[t], alone.query_x[0])


def test_streams_seeds_and_specs_draw_different_episodes(shaped: dict[str, Dataset]) -> None:
    dataset = shaped["omniglot test"]
    variants = [
        (TaskSpec(5, 1, 5), Stream("train", 0)),
        (TaskSpec(5, 1, 5), Stream("train", 1)),
        (TaskSpec(5, 1, 5), Stream("test", 0)),
        (TaskSpec(5, 2, 4), Stream("train", 0)),
    ]
    drawn = {EpisodeSampler(dataset, "train", *v).image_ids([i]).tobytes() for v in variants for i in range(20)}
    assert len(drawn) == 80


def test_classes_images_views_and_labels_are_drawn_evenly() -> None:
    """Chi-squared over 4,000 episodes; each probability is known in closed form."""
    dataset = numbered_dataset([6] * 12, views=3)
    sampler = EpisodeSampler(dataset, "train", TaskSpec(2, 1, 1), Stream("train", 3))
    ids = sampler.image_ids(range(4000))  # [episodes, label, support | query]
    for label in range(2):
        for column in range(2):
            drawn = np.bincount(ids[:, label, column], minlength=72)
            assert stats.chisquare(drawn).pvalue > 1e-4  # every image of every class and view alike, at every place


@pytest.mark.parametrize("sampler_class", [EpisodeSampler, OpenEpisodeSampler])
def test_an_image_stands_at_every_place_alike(sampler_class: type[EpisodeSampler]) -> None:
    """Chi-squared over 400 episodes: the k-th image of a label stands at each place with the same probability."""
    dataset = numbered_dataset([800] * 8)
    sampler = sampler_class(dataset, "train", TaskSpec(4, 2, 3), Stream("test", 5))
    for of_episodes, images in zip(sampler.orders(range(400)), (8, 12), strict=True):
        assert (np.sort(of_episodes, axis=1) == np.arange(images)).all()  # each once
        assert len({order.tobytes() for order in of_episodes}) > 390  # and not in one order
        for place in range(images):
            assert stats.chisquare(np.bincount(of_episodes[:, place], minlength=images)).pvalue > 1e-4


@pytest.mark.parametrize("sampler_class", [EpisodeSampler, OpenEpisodeSampler])
def test_answers_by_place_are_at_chance(sampler_class: type[EpisodeSampler]) -> None:
    """However a query's place is turned into an answer: as if labels were sorted, or as the support's labels lie."""
    spec = TaskSpec(5, 2, 2)
    sampler = sampler_class(numbered_dataset([1200] * 5), "train", spec, Stream("test", 0))
    episode = sampler.draw(range(300))
    assert len({tuple(labels) for labels in episode.support_y.tolist()}) > 250
    for answers in (torch.arange(5).repeat_interleave(2), torch.arange(5).repeat(2), episode.support_y):
        right = int((answers == episode.query_y).sum())
        assert stats.binomtest(right, 3000, 1 / 5).pvalue > 1e-4


def test_uneven_classes_are_drawn_evenly() -> None:
    dataset = numbered_dataset([2, 3, 50])
    sampler = EpisodeSampler(dataset, "train", TaskSpec(1, 1, 1), Stream("train", 0))
    ids = sampler.image_ids(range(6000))[:, 0]
    starts = dataset.bank.starts
    for c in range(3):
        of_class = ids[(ids[:, 0] >= starts[c]) & (ids[:, 0] < starts[c + 1])]
        assert abs(len(of_class) - 2000) < 4 * np.sqrt(6000 * (1 / 3) * (2 / 3))
        for column in range(2):
            drawn = np.bincount(of_class[:, column] - starts[c], minlength=starts[c + 1] - starts[c])
            assert stats.chisquare(drawn).pvalue > 1e-4


def test_the_order_of_words_is_that_of_a_plain_sort() -> None:
    """The first episode of a stream, drawn again with nothing but sorted Philox words."""
    dataset = numbered_dataset([7] * 9)
    spec = TaskSpec(4, 2, 3)
    sampler = EpisodeSampler(dataset, "train", spec, Stream("train", 5))
    words = np.random.Philox(key=sampler._key, counter=[0, 2, 0, 0])  # episode 2: the second 64-bit counter word
    chosen = sorted(range(9), key=words.random_raw(9).tolist().__getitem__)[:4]
    words.random_raw(4)  # views
    expected = []
    for c in chosen:
        order = words.random_raw(7).tolist()
        expected.append([7 * c + i for i in sorted(range(7), key=order.__getitem__)[:5]])
    assert sampler.image_ids([2])[0].tolist() == expected


def test_pixels_become_numbers_between_0_and_1() -> None:
    bank = ImageBank.from_classes(["a"], [np.array([[[[0, 51, 255]]], [[[0, 51, 255]]]], dtype=np.uint8)])
    dataset = Dataset("three", bank, {"train": Split("train", np.array([[0]]), "")})
    episode = EpisodeSampler(dataset, "train", TaskSpec(1, 1, 1), Stream("train", 0)).draw([0])
    torch.testing.assert_close(episode.query_x.flatten(), torch.tensor([0.0, 0.2, 1.0]))


def test_a_memory_mapped_bank_gives_the_same_episodes(tmp_path: Path) -> None:
    dataset = numbered_dataset([6] * 10)
    path = tmp_path / "bank.npy"
    dataset.bank.save(path)
    mapped = ImageBank.open(path)
    assert mapped is not None
    again = Dataset("numbered", mapped, dataset.splits)
    spec, stream = TaskSpec(3, 2, 2), Stream("train", 0)
    one = EpisodeSampler(dataset, "train", spec, stream).draw(range(5))
    two = EpisodeSampler(again, "train", spec, stream).draw(range(5))
    assert torch.equal(one.support_x, two.support_x)
    assert torch.equal(one.query_x, two.query_x)


def test_tasks_can_be_taken_from_a_batch() -> None:
    sampler = EpisodeSampler(numbered_dataset([6] * 10), "train", TaskSpec(3, 2, 2), Stream("train", 0))
    part, alone = sampler.draw(range(10))[3:5], sampler.draw(range(3, 5))
    assert len(part) == 2
    for name in ("support_x", "support_y", "query_x", "query_y"):
        assert torch.equal(getattr(part, name), getattr(alone, name))


def test_tasks_that_do_not_fit_are_refused_with_the_numbers() -> None:
    dataset = numbered_dataset([5, 3, 5])
    stream = Stream("train", 0)
    with pytest.raises(DataError, match="4-way 1-shot needs 4 classes; split 'train' of 'numbered' has 3"):
        EpisodeSampler(dataset, "train", TaskSpec(4, 1, 1), stream)
    with pytest.raises(DataError, match="needs 4 images a class; class 'class1' of 'numbered' has 3"):
        EpisodeSampler(dataset, "train", TaskSpec(2, 1, 3), stream)
