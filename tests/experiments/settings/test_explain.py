"""What a grid file can say, as it is explained, as editors check it, and as it is read: the same."""

import tomllib
from pathlib import Path

import jsonschema
import pytest

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.settings.explain import explain_keys, json_schema
from fewshot_km.experiments.settings.grid import load_grid, shipped_grids
from tests.support.made_up_results import SMALL_GRID, write_grid


def test_every_key_has_words_and_every_default_its_reason() -> None:
    keys = {key.name: key for key in explain_keys()}
    assert {"seeds", "tasks[].ways", "inner.lr", "outer.iterations", "validation.patience", "test.stream"} <= set(keys)
    for key in keys.values():
        assert key.description.endswith("."), key
        if key.default and not key.default.startswith("<"):
            shown = f"{int(key.default):,}" if key.default.isdecimal() else key.default
            assert f"{shown}:" in key.description, key  # "60,000: MAML's schedule."


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("inner", ["inner.lr", "inner.train_steps", "inner.test_steps", "inner.order"]),
        ("*.lr", ["inner.lr", "outer.lr"]),
        ("seeds", ["seeds"]),
    ],
)
def test_keys_are_found_by_section_and_pattern(pattern: str, names: list[str]) -> None:
    assert [key.name for key in explain_keys(pattern)] == names


def test_an_unknown_key_is_named_with_those_that_are_like_it() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'outer.iteration': did you mean 'outer.iterations'"):
        explain_keys("outer.iteration")


@pytest.mark.parametrize("name", shipped_grids())
def test_shipped_grids_are_valid_in_an_editor(name: str) -> None:
    jsonschema.validate(tomllib.loads(shipped_grids()[name].read_text(encoding="utf-8")), json_schema())


@pytest.mark.parametrize(
    ("old", "new"), [("ways = 5", "ways = [5, 20]"), ("shots = 1", "shots = [1, 5]"), ("seeds = [0, 1]", "")]
)
def test_editor_and_reader_take_the_same(tmp_path: Path, old: str, new: str) -> None:
    text = SMALL_GRID.replace(old, new)
    jsonschema.validate(tomllib.loads(text), json_schema())
    assert load_grid(write_grid(tmp_path, text)).cells


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lr = 0.4", "lr = -1"),
        ("lr = 0.4", 'lr = "fast"'),
        ("lr = 0.4", "lr = 0.4\nrate = 1"),
        ("ways = 5", "ways = 1"),
        ("ways = 5", "ways = [5, 1]"),
        ("ways = 5", "ways = []"),
        ("shots = 1", "shots = [1, 1]"),
        ("seeds = [0, 1]", "seeds = []"),
        ("seeds = [0, 1]", "seeds = [0, 0]"),
        ("shots = 1", "shots = 1\nlearner = 3"),
        ('["maml"', '[{ label = "x" }'),
        ('["maml"', '[{ name = "maml", test = { episodes = 3 } }'),
        ("[outer]", '[outer]\nclip_value = "off"'),
        ("shots = 1", 'shots = 1\nprotocol = "maml"'),
    ],
)
def test_editor_and_reader_refuse_the_same_mistakes(tmp_path: Path, old: str, new: str) -> None:
    jsonschema.validate(tomllib.loads(SMALL_GRID), json_schema())
    assert old in SMALL_GRID
    text = SMALL_GRID.replace(old, new)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), json_schema())
    with pytest.raises(ConfigError):
        load_grid(write_grid(tmp_path, text))
