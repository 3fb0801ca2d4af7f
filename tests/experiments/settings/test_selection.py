"""Parts of a grid: which cells `--only` and `--shard` take, what `--set` changes, how a time is written."""

from pathlib import Path
from typing import Any

import pytest

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.settings.differences import differences
from fewshot_km.experiments.settings.grid import Grid, load_grid
from fewshot_km.experiments.settings.selection import parse_duration, parse_settings, select
from tests.support.made_up_results import SMALL_GRID, write_grid


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    second = "\n[[tasks]]\ndataset = 'glyphs'\nways = 3\nshots = 5\n\n[network]"
    return load_grid(write_grid(tmp_path, SMALL_GRID.replace("\n[network]", second)))


@pytest.mark.parametrize(
    ("only", "count"),
    [
        ([], 8),
        (["learner=maml"], 4),
        (["learner=*maml"], 8),
        (["learner=km-*", "seed=0"], 2),
        (["seed=0", "seed=1", "ways=3"], 4),
        (["shots=5", "task=glyphs-3w5s", "dataset=glyphs"], 4),
    ],
)
def test_filters_of_one_key_add_up_and_keys_restrict(grid: Grid, only: list[str], count: int) -> None:
    chosen = select(grid.cells, only, None)
    assert len(chosen) == count
    assert [str(cell) for cell in chosen] == [str(cell) for cell in grid.cells if cell in chosen]  # the grid's order


@pytest.mark.parametrize("shares", [1, 3, 8, 11])
def test_shares_are_disjoint_and_whole(grid: Grid, shares: int) -> None:
    parts = [select(grid.cells, [], f"{i}/{shares}") for i in range(1, shares + 1)]
    taken = [str(cell) for part in parts for cell in part]
    assert sorted(taken) == sorted(map(str, grid.cells))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("only", "shard", "message"),
    [
        (["lerner=maml"], None, "--only lerner=maml: write KEY=PATTERN with a key of task, learner, seed"),
        (["maml"], None, "--only maml: write KEY=PATTERN"),
        (["seed=7"], None, "no cell of the grid matches --only seed=7"),
        ([], "0/2", "--shard 0/2: write i/n with i from 1 to n"),
        ([], "3/2", "--shard 3/2"),
        ([], "half", "--shard half"),
        ([], "１/2", "--shard １/2"),
        ([], "1/" + "9" * 5000, "--shard 1/9"),
    ],
)
def test_what_selects_nothing_is_an_error(grid: Grid, only: list[str], shard: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select(grid.cells, only, shard)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1h1s", 3601)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "1d", "m", "-5m", "1.5h", "９s", "²h", "9" * 5000 + "h"])
def test_other_times_are_errors(text: str) -> None:
    with pytest.raises(ConfigError, match="write a time such as 90s"):
        parse_duration(text)


def overridden(folder: Path, *settings: str) -> list[dict[str, Any]]:
    grid = load_grid(folder / "small.toml", parse_settings(settings))
    return [cell.config.model_dump(mode="json") for cell in grid.cells]


def test_set_replaces_a_setting_of_every_cell_whoever_made_it(tmp_path: Path) -> None:
    learner = '{ name = "km-maml", inner = { lr = 9.0 } }'
    write_grid(tmp_path, SMALL_GRID.replace('{ name = "km-maml", norm_affine = "bias" }', learner))
    before, after = overridden(tmp_path), overridden(tmp_path, "inner.lr=0.25", "network.norm=group", "test.episodes=7")
    for old, new in zip(before, after, strict=True):
        was = old["inner"]["lr"]
        expected = {f"inner.lr {was} -> 0.25", "network.norm batch -> group", "test.episodes 5 -> 7"}
        assert set(differences(old, new)) == expected
    assert {old["inner"]["lr"] for old in before} == {0.4, 9.0}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("inner.lr", "--set inner.lr: write KEY=VALUE"),
        ("lr=1", "--set lr: write SECTION.KEY=VALUE"),
        ("innr.lr=1", "--set innr: unknown key; did you mean 'inner'.*allowed: network, inner"),
        ("inner.lr=fast", "small.toml: --set inner.lr: "),
        ("inner.rate=1", "--set inner.rate: unknown key"),
        ("inner.train_steps=" + "9" * 5000, "--set inner.train_steps: a whole number has more than 64 bits"),
        ("inner.train_steps=１", "--set inner.train_steps: '１': input should be a valid integer"),
        ("inner.train_steps=" + "[" * 900 + "]" * 900, "--set inner.train_steps: tables or lists stand in one another"),
        ("inner.train_steps=1\nx=2", "--set inner.train_steps: .*valid integer"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, setting: str, message: str) -> None:
    write_grid(tmp_path)
    with pytest.raises(ConfigError, match=message):
        overridden(tmp_path, setting)


def test_differences_are_in_the_words_of_a_grid_file() -> None:
    old = {"inner": {"lr": 0.4, "gone": 1}, "seed": 3, "plugin_sources": {"learner": "a" * 64}}
    new = {"inner": {"lr": 0.2}, "seed": 3, "new": True, "plugin_sources": {"learner": "b" * 64}}
    assert differences(old, new) == [
        "inner.lr 0.4 -> 0.2",
        "new - -> True",
        "plugin_sources.learner aaaaaaaa... -> bbbbbbbb...",
        "inner.gone 1 -> -",
    ]
