"""Episodes that share no image: none does, and there are as many as there can be."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fewshot_km.data import Dataset
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.open_episodes import OpenEpisodeSampler
from fewshot_km.errors import DataError
from tests.data.test_episodes import numbered_dataset, problems, spelled

STREAM = Stream("test-open", 0)


def most_by_trying(groups: tuple[int, ...], ways: int) -> int:
    """The greatest number of episodes, by trying every choice of classes."""

    @cache
    def most(left: tuple[int, ...]) -> int:
        able = [c for c, n in enumerate(left) if n]
        tries = (tuple(sorted(n - (c in chosen) for c, n in enumerate(left))) for chosen in combinations(able, ways))
        return max((1 + most(after) for after in tries), default=0)

    return most(tuple(sorted(groups)))


def most_by_formula(groups: list[int], ways: int) -> int:
    """The greatest T with sum(min(g, T)) >= T * ways: no class serves an episode twice."""
    return max(t for t in range(sum(groups) + 1) if sum(min(g, t) for g in groups) >= t * ways)


@given(st.integers(1, 3).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(1, 4), min_size=w, max_size=6))))
def test_there_are_as_many_as_there_can_be(problem: tuple[int, list[int]]) -> None:
    ways, groups = problem
    sampler = OpenEpisodeSampler(numbered_dataset([2 * g for g in groups]), "train", TaskSpec(ways, 1, 1), STREAM)
    assert len(sampler) == most_by_trying(tuple(groups), ways) == most_by_formula(groups, ways)


@given(problems())
def test_no_image_is_used_twice_in_any_view(problem: tuple[Dataset, TaskSpec, int, int, int]) -> None:
    dataset, spec, seed, _, views = problem
    sampler = OpenEpisodeSampler(dataset, "train", spec, Stream("test-open", seed))
    everything = range(len(sampler))
    size = spec.shots + spec.queries
    counts = dataset.bank.counts.reshape(-1, views).min(axis=1)  # images that a class has in each view
    assert len(sampler) == most_by_formula([int(n) // size for n in counts], spec.ways)
    episodes, used = sampler.draw(everything), set()
    classes, images = spelled(torch.cat([episodes.support_x, episodes.query_x], dim=1))
    labels = torch.cat([episodes.support_y, episodes.query_y], dim=1)
    for of_classes, of_images, of_labels in zip(classes.tolist(), images.tolist(), labels.tolist(), strict=True):
        used |= {(c // views, i) for c, i in zip(of_classes, of_images, strict=True)}
        assert len(set(zip(of_classes, of_labels, strict=True))) == spec.ways  # a label is a class in one view
        assert len({c // views for c in of_classes}) == spec.ways
    assert len(used) == len(sampler) * spec.ways * size


@given(problems())
def test_an_episode_is_a_function_of_split_task_and_stream(
    problem: tuple[Dataset, TaskSpec, int, int, int],
) -> None:
    dataset, spec, seed, _, _ = problem
    stream = Stream("test-open", seed)
    once, again = (OpenEpisodeSampler(dataset, "train", spec, stream) for _ in range(2))
    everything = range(len(once))
    assert np.array_equal(once.image_ids(everything), again.image_ids(everything))
    last = everything[-1]
    assert np.array_equal(once.image_ids([last])[0], once.image_ids(everything)[last])
    assert torch.equal(once.draw([last]).query_x[0], once.draw(everything).query_x[last])


@pytest.mark.parametrize(
    ("classes", "images", "views", "spec", "bound", "episodes"),
    [
        (423, 20, 4, TaskSpec(20, 1, 1), 211, 211),  # Omniglot
        (423, 20, 4, TaskSpec(20, 5, 5), 42, 42),
        (20, 600, 1, TaskSpec(5, 1, 15), 150, 148),  # mini-ImageNet; a class of 600 holds 37 whole groups of 16
        (20, 600, 1, TaskSpec(5, 5, 15), 120, 120),
    ],
)
def test_the_pools_of_the_papers_hold_what_can_be_counted(
    classes: int, images: int, views: int, spec: TaskSpec, bound: int, episodes: int
) -> None:
    size = spec.shots + spec.queries
    assert classes * images // (spec.ways * size) == bound
    assert classes * (images // size) // spec.ways == episodes
    dataset = numbered_dataset([images] * (classes * views), views)
    assert len(OpenEpisodeSampler(dataset, "train", spec, STREAM)) == episodes


def test_streams_draw_different_episodes() -> None:
    dataset = numbered_dataset([6] * 12)
    drawn = [
        OpenEpisodeSampler(dataset, "train", TaskSpec(3, 1, 1), stream).image_ids(range(12)).tobytes()
        for stream in (STREAM, Stream("test-open", 1), Stream("test", 0))
    ]
    assert len(set(drawn)) == 3


def test_classes_images_views_and_labels_are_drawn_evenly() -> None:
    """Chi-squared over the first episodes of 2,000 streams; a class with more images comes first, under any label."""
    dataset = numbered_dataset([6] * 27 + [8] * 3, views=3)
    first = [
        OpenEpisodeSampler(dataset, "train", TaskSpec(3, 1, 1), Stream("test-open", seed)).image_ids([0])[0]
        for seed in range(2000)
    ]
    ids = np.stack(first)  # [streams, label, support | query]
    largest = ids >= 6 * 27
    assert (largest[..., 0].sum(axis=1) == 1).all()
    for label in range(3):
        for column in range(2):
            of_others = ids[:, label, column][~largest[:, label, column]]
            assert stats.chisquare(np.bincount(of_others, minlength=6 * 27)).pvalue > 1e-4
    assert stats.chisquare(largest[..., 0].sum(axis=0)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(ids[largest] - 6 * 27, minlength=24)).pvalue > 1e-4


def test_what_does_not_fit_or_is_not_there_is_refused() -> None:
    dataset = numbered_dataset([5, 3, 5])
    with pytest.raises(DataError, match="4-way 1-shot needs 4 classes"):
        OpenEpisodeSampler(dataset, "train", TaskSpec(4, 1, 1), STREAM)
    with pytest.raises(DataError, match="needs 4 images a class"):
        OpenEpisodeSampler(dataset, "train", TaskSpec(2, 1, 3), STREAM)
    sampler = OpenEpisodeSampler(dataset, "train", TaskSpec(2, 1, 2), STREAM)
    assert isinstance(sampler, EpisodeSampler)
    assert len(sampler) == 1
    with pytest.raises(IndexError):
        sampler.image_ids([1])
