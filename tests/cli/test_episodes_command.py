"""Episodes that are written down: read back, they are those that the samplers draw."""

import io
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from fewshot_km.cli.app import app
from fewshot_km.data import DATASETS, Dataset, load_dataset
from fewshot_km.data.episodes import EpisodeSampler, Presented, Stream, TaskSpec
from fewshot_km.data.open_episodes import OpenEpisodeSampler
from fewshot_km.data.splits import Split
from fewshot_km.experiments.store.frozen_episodes import digest_of_test, episodes_digest
from tests.data.test_episodes import numbered_dataset
from tests.support.harmful_text import is_harmful
from tests.support.made_up_results import SMALL_GRID, small_grid, write_grid

SPEC = TaskSpec(5, 1, 5)
TWO_TASKS = SMALL_GRID.replace('"glyphs"', '"turned"').replace(
    "[network]", '[[tasks]]\nlabel = "other"\ndataset = "turned"\nways = 3\nshots = 2\ntest_queries = 1\n\n[network]'
)


@pytest.fixture
def turned() -> Iterator[Dataset]:
    """Classes of different sizes in three views."""
    numbered = numbered_dataset([9, 9, 9, 7, 7, 7] * 7, views=3)
    dataset = Dataset(
        "turned", numbered.bank, {s: Split(s, numbered.splits["train"].classes, s) for s in ("train", "val", "test")}
    )
    with DATASETS.temporarily({"turned": lambda data_root: dataset}):
        yield dataset


@pytest.fixture
def dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["episodes", "dump", *map(str, arguments)])


def shown_in(path: Path, dataset: Dataset, spec: TaskSpec) -> tuple[Presented, str]:
    """The episodes and their digest from nothing but the file, the class names and where each class starts."""
    frame = pd.read_csv(path)
    assert list(frame) == ["episodes", "episode", "label", "role", "class_name", "image"]
    assert frame["image"].min() >= 0
    start = dict(zip(dataset.bank.class_names, dataset.bank.starts.tolist(), strict=False))
    counts = dict(zip(dataset.bank.class_names, dataset.bank.counts.tolist(), strict=True))
    assert (frame["image"] < frame["class_name"].map(counts)).all()
    supports, images = spec.ways * spec.shots, spec.ways * (spec.shots + spec.queries)
    ids = (frame["class_name"].map(start) + frame["image"]).to_numpy().reshape(-1, images)
    labels = frame["label"].to_numpy().reshape(ids.shape)
    roles = (frame["role"] == "support").to_numpy().reshape(ids.shape)
    assert roles[:, :supports].all()
    assert not roles[:, supports:].any()
    assert (frame["episode"].to_numpy().reshape(ids.shape) == np.arange(len(ids))[:, None]).all()
    (digest,) = frame["episodes"].unique()
    return Presented(ids[:, :supports], labels[:, :supports], ids[:, supports:], labels[:, supports:]), digest


def assert_same(first: Presented, second: Presented) -> None:
    for field in fields(Presented):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name


def test_the_file_holds_the_episodes_of_the_test(turned: Dataset, dump: Callable[..., Any], tmp_path: Path) -> None:
    write_grid(tmp_path, TWO_TASKS)
    cells = {cell.task: cell for cell in small_grid(tmp_path, TWO_TASKS).cells}
    for task, spec in (("turned-5w1s", SPEC), ("other", TaskSpec(3, 2, 1))):
        done = dump("small.toml", "--task", task, "--out", "episodes.csv")
        assert (done.exit_code, done.output) == (0, "episodes.csv\n")
        shown, digest = shown_in(tmp_path / "episodes.csv", turned, spec)
        assert_same(shown, EpisodeSampler(turned, "test", spec, Stream("test", 0)).present(range(5)))
        assert digest == digest_of_test(cells[task].config, turned)
    assert dump("small.toml", "--task", "other").output == (tmp_path / "episodes.csv").read_text()
    dump("small.toml", "--task", "other", "--set", "test.stream=2", "--out", "episodes.csv")
    shown, _ = shown_in(tmp_path / "episodes.csv", turned, spec)
    assert_same(shown, EpisodeSampler(turned, "test", spec, Stream("test", 2)).present(range(5)))


@pytest.mark.parametrize(("episodes", "expected"), [(5, 2), (2, 2)])
def test_open_episodes_are_those_of_the_analysis(
    turned: Dataset, dump: Callable[..., Any], tmp_path: Path, episodes: int, expected: int
) -> None:
    """14 classes of 7 or 9 images hold a group of 6 each."""
    write_grid(tmp_path, SMALL_GRID.replace('"glyphs"', '"turned"').replace("episodes = 5", f"episodes = {episodes}"))
    assert dump("small.toml", "--open", "--out", "open.csv").exit_code == 0
    shown, digest = shown_in(tmp_path / "open.csv", turned, SPEC)
    sampler = OpenEpisodeSampler(turned, "test", SPEC, Stream("test-open", 0))
    assert_same(shown, sampler.present(range(expected)))
    assert digest == episodes_digest(turned.digest, SPEC, shown)


def test_class_names_command_neither_a_terminal_nor_a_spreadsheet(
    turned: Dataset, dump: Callable[..., Any], tmp_path: Path
) -> None:
    bank = turned.bank
    names = [f"{start}{name}" for start, name in zip("=+-@\t\x1b\u202e" * 99, bank.class_names, strict=False)]
    hostile = replace(turned, bank=replace(bank, class_names=tuple(names)))
    write_grid(tmp_path, SMALL_GRID.replace('"glyphs"', '"turned"'))
    with DATASETS.temporarily({"turned": lambda data_root: hostile}):
        text = dump("small.toml").output
    assert not any(map(is_harmful, text.replace("\n", "").replace("\t", "")))
    found = pd.read_csv(io.StringIO(text))["class_name"].unique()
    assert {name[:2] for name in found} == {"'=", "'+", "'-", "'@", "'\t", "\\u"}


def test_a_task_must_be_told_where_there_are_several(turned: Dataset, dump: Callable[..., Any], tmp_path: Path) -> None:
    write_grid(tmp_path, TWO_TASKS)
    for arguments, message in (
        ((), "error: name one with --task: turned-5w1s, other"),
        (("--task", "glyphs"), "error: --task glyphs: the grid has none of that name: turned-5w1s, other"),
    ):
        done = dump("small.toml", *arguments)
        assert done.exit_code == 2
        assert message in done.output


def test_images_that_came_as_files_are_named_by_them(
    dump: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line's file holds the pixels that the bank has there; also where the bank comes from the cache."""
    root = tmp_path / "data"
    noise = np.random.default_rng(0)
    for n in range(15):
        folder = root / "zoo" / ("train", "val", "test")[n % 3] / f"animal {n}"
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(noise.integers(0, 256, (9, 9), dtype=np.uint8)).save(folder / f"a{i * 7 % 11}.png")
    zoo = '{ name = "folder", path = "zoo", size = 9, colour = "grey" }'
    write_grid(tmp_path, SMALL_GRID.replace('"glyphs"', f'{zoo}\nlabel = "zoo"'))
    options = {"path": "zoo", "size": 9, "colour": "grey"}
    dataset = load_dataset("folder", root, options)
    for _ in ("built", "from the cache"):
        assert dump("small.toml", "--data-root", root, "--out", "zoo.csv").exit_code == 0
        frame = pd.read_csv(tmp_path / "zoo.csv")
        start = dict(zip(dataset.bank.class_names, dataset.bank.starts.tolist(), strict=False))
        for row in frame.drop_duplicates("file").itertuples():
            with Image.open(root / "zoo" / row.file) as image:
                shown = dataset.bank.images[start[row.class_name] + row.image, 0]
                assert np.array_equal(np.asarray(image), shown), row.file
    assert dataset.bank.file_list is not None
    for damage in ("[]", "no list"):
        dataset.bank.file_list.write_text(damage)  # then it is not known
        dump("small.toml", "--data-root", root, "--out", "zoo.csv")
        assert "file" not in pd.read_csv(tmp_path / "zoo.csv")
