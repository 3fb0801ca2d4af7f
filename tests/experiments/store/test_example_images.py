"""The sheet of a task's first test episodes: pixel for pixel what the learners were shown, made once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot_km.data import Dataset, ImageBank
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.splits import make_splits
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.store.example_images import write_examples

GREY, COLOUR = (1, 12, 10), (3, 12, 10)


def patterns(shape: tuple[int, int, int], partial: str | None = None) -> Dataset:
    """12 drawings of each of 15 classes: smooth, so that a JPEG keeps them, and all different."""
    random = np.random.default_rng(len(partial or ""))
    levels = random.integers(0, 256, (15, 12, shape[0], 1, 1), dtype=np.uint8)
    names = [f"class {c}" for c in range(15)]
    bank = ImageBank.from_classes(names, list(np.broadcast_to(levels, (15, 12, *shape)).copy()))
    rows = {s: [[n] for n in names[5 * i : 5 * i + 5]] for i, s in enumerate(("train", "val", "test"))}
    return Dataset("patterns", bank, make_splits(bank, rows), partial=partial)


def config(shots: int = 2, queries: int = 7, episodes: int = 50, ways: int = 3) -> CellConfig:
    task = {"dataset": "patterns", "ways": ways, "shots": shots, "test_queries": queries}
    settings: dict[str, Any] = {"task": task, "learner": {"name": "maml"}, "inner": {"lr": 0.1}, "seed": 0}
    return CellConfig.model_validate(settings | {"test": {"episodes": episodes, "stream": 3}})


@pytest.mark.parametrize(("shape", "name"), [(GREY, "test_examples.png"), (COLOUR, "test_examples.jpg")])
@pytest.mark.parametrize(("shots", "queries", "shown"), [(2, 7, 5), (1, 3, 3)])
def test_a_row_is_a_label_and_a_column_an_image(
    tmp_path: Path, shape: tuple[int, int, int], name: str, shots: int, queries: int, shown: int
) -> None:
    dataset = patterns(shape)
    write_examples(tmp_path, config(shots, queries), dataset, "0123456789abcdef")
    facts = json.loads((tmp_path / "test_examples.json").read_text())
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "test_examples.json"])
    assert facts["sheet"] == name
    assert facts["test_episodes_digest"] == "0123456789abcdef"
    assert (facts["dataset"], facts["dataset_digest"], facts["dataset_partial"]) == ("patterns", dataset.digest, None)
    assert (facts["ways"], facts["shots"], facts["queries"], facts["queries_shown"]) == (3, shots, queries, shown)
    assert (facts["height"], facts["width"]) == (12, 10)
    assert facts["episodes"] == [0, 1, 2, 3, 4, 5]
    sheet = np.asarray(Image.open(tmp_path / name)).reshape(6 * 3 * 12, (shots + shown) * 10, shape[0])
    sampler = EpisodeSampler(dataset, "test", TaskSpec(3, shots, queries), Stream("test", 3))
    drawn, orders = sampler.draw(range(6)), [torch.from_numpy(of.argsort(axis=1)) for of in sampler.orders(range(6))]
    for e in range(6):
        by_label = [x[e][of[e]] for x, of in zip((drawn.support_x, drawn.query_x), orders, strict=True)]
        for label in range(3):
            support, query = (x.unflatten(0, (3, -1))[label] for x in by_label)
            query = query[:shown]
            for column, image in enumerate([*support, *query]):
                top, left = (e * 3 + label) * 12, column * 10
                found = sheet[top : top + 12, left : left + 10].transpose(2, 0, 1) / 255
                # a JPEG keeps colour for 2x2 pixels and rings at edges
                assert np.abs(found - image.numpy())[:, 4:8, 4:6].max() < (1e-6 if shape == GREY else 0.25)
            level = support[0][:, 0, 0].mul(255).round().byte().numpy()
            named = facts["class_names"][e][label]
            assert level.tolist() in dataset.bank.images[int(named.split()[1]) * 12 :][:12, :, 0, 0].tolist()


def test_it_is_made_once_and_anew_for_other_data_or_episodes(tmp_path: Path) -> None:
    def contents() -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_ino, path.read_bytes()) for path in tmp_path.iterdir()}

    write_examples(tmp_path, config(), patterns(GREY), "d")
    first = contents()
    write_examples(tmp_path, config(), patterns(GREY), "d")
    assert contents() == first
    for settings, dataset in ((config(), patterns(GREY, "5 of 6 classes")), (config(queries=4), patterns(GREY))):
        write_examples(tmp_path, settings, dataset, "d")
        assert all(content != first[name][1] for name, (_, content) in contents().items())
        (tmp_path / "test_examples.png").unlink()
        write_examples(tmp_path, config(), patterns(GREY), "d")
        assert {name: content for name, (_, content) in contents().items()} == {n: c for n, (_, c) in first.items()}


def test_no_more_episodes_than_the_test_has_or_a_picture_can_hold(tmp_path: Path) -> None:
    for settings, shape, episodes in (
        (config(episodes=2), GREY, 2),
        (config(ways=5), (3, 4000, 2), 3),  # 20,000 pixels an episode, 65,500 at most
    ):
        write_examples(tmp_path, settings, patterns(shape), "d")
        assert json.loads((tmp_path / "test_examples.json").read_text())["episodes"] == list(range(episodes))
    empty = tmp_path / "empty"
    empty.mkdir()
    write_examples(empty, config(), patterns((2, 12, 10)), "d")
    assert not list(empty.iterdir())
