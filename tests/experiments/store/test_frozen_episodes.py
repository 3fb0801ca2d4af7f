"""The digest of test episodes: the same for everyone, another one for anything else."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from fewshot_km.data import load_dataset
from fewshot_km.data.episodes import EpisodeSampler, Presented, Stream, TaskSpec
from fewshot_km.data.open_episodes import OpenEpisodeSampler
from fewshot_km.experiments.store.frozen_episodes import digest_of_test, episodes_digest, frozen_open, frozen_test
from tests.support.made_up_results import SMALL_GRID, small_grid


def test_it_is_the_sha256_of_what_its_description_says() -> None:
    """Two episodes, 3-way 1-shot with one query: 3 + 3 images each."""
    support, query = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[7, 8, 9], [10, 11, 12]])
    support_y, query_y = np.array([[2, 0, 1], [0, 1, 2]]), np.array([[1, 0, 2], [2, 1, 0]])
    shown = Presented(support, support_y, query, query_y)
    ids, labels = [1, 2, 3, 7, 8, 9, 4, 5, 6, 10, 11, 12], [2, 0, 1, 1, 0, 2, 0, 1, 2, 2, 1, 0]
    text = b"abc\n3\n1\n1\n" + struct.pack("<12q", *ids) + struct.pack("<12q", *labels)
    assert episodes_digest("abc", TaskSpec(3, 1, 1), shown) == hashlib.sha256(text).hexdigest()[:16]
    other_byte_order = Presented(support.astype(">i8"), support_y, query, query_y)
    assert episodes_digest("abc", TaskSpec(3, 1, 1), other_byte_order) == hashlib.sha256(text).hexdigest()[:16]


def test_cells_have_one_where_they_share_their_episodes(tmp_path: Path) -> None:
    dataset = load_dataset("glyphs", tmp_path)
    cells = small_grid(tmp_path).cells
    digests = {digest_of_test(cell.config, dataset) for cell in cells}
    for change in (
        ("episodes = 5", "episodes = 6"),
        ("episodes = 5", "episodes = 5\nstream = 1"),
        ("shots = 1", "shots = 2"),
        ("shots = 1", "shots = 1\ntest_queries = 4"),
        ("ways = 5", "ways = 4"),
    ):
        digests.add(digest_of_test(small_grid(tmp_path, SMALL_GRID.replace(*change)).cells[0].config, dataset))
    assert len(digests) == 6


@pytest.mark.parametrize("stream", [0, 7])
def test_they_are_those_of_the_samplers(tmp_path: Path, stream: int) -> None:
    dataset = load_dataset("glyphs", tmp_path)
    text = SMALL_GRID.replace("episodes = 5", f"episodes = 5\nstream = {stream}")
    config, spec = small_grid(tmp_path, text).cells[0].config, TaskSpec(5, 1, 5)
    closed = EpisodeSampler(dataset, "test", spec, Stream("test", stream))
    opened = OpenEpisodeSampler(dataset, "test", spec, Stream("test-open", stream))
    assert np.array_equal(frozen_test(config, dataset).image_ids(range(5)), closed.image_ids(range(5)))
    assert np.array_equal(frozen_open(config, dataset).image_ids(range(5)), opened.image_ids(range(5)))
    assert len(frozen_open(config, dataset)) == len(opened)
