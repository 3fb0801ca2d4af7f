"""`fewshot-km tune`: what it writes, and that `run` follows it and says so."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fewshot_km.cli.app import app
from fewshot_km.errors import ConfigError
from fewshot_km.experiments.runners.tuning import FILE, Tuning, read_tuning
from tests.support.made_up_results import SMALL_GRID, small_grid, write_grid

ONE_SEED = SMALL_GRID.replace("seeds = [0, 1]", "seeds = [0]")


def test_run_follows_what_tune_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_grid(tmp_path, ONE_SEED)
    done = CliRunner().invoke(app, ["tune", "small.toml", "--only", "learner=maml", "--rounds", "1", "--devices", "1"])
    assert done.exit_code == 0, done.output
    path = tmp_path / "results/small" / FILE
    tuning = read_tuning(path.parent)
    (measured,) = tuning.cells.values()
    assert list(tuning.cells) == ["glyphs-5w1s/maml"]
    assert set(measured.training_seconds) == set(measured.testing_seconds) == {"plain", "fused", "vmap"}
    assert "results/small/tuning.json; `run` follows it until it is deleted" in done.stdout

    changed = json.loads(path.read_text())
    changed["cells"]["glyphs-5w1s/maml"] |= {"training": "vmap", "testing": "plain"}
    path.write_text(json.dumps(changed))
    done = CliRunner().invoke(app, ["run", "small.toml", "--devices", "1"])
    assert done.exit_code == 0, done.output
    assert "maml/seed0: training by 'vmap': as `fewshot-km tune` found" in done.stderr
    used = {
        learner: json.loads((path.parent / f"glyphs-5w1s/{learner}/seed0/record.json").read_text())
        for learner in ("maml", "km-maml")
    }
    backends = {name: record["environment"]["backends"] for name, record in used.items()}
    assert (backends["maml"]["training"], backends["maml"]["testing"]) == ("vmap", "plain")
    assert (backends["km-maml"]["training"], backends["km-maml"]["testing"]) == ("fused", "fused")


def test_another_device_is_not_followed(tmp_path: Path) -> None:
    cell = small_grid(tmp_path).cells[0]
    tuned = {"training": "vmap", "testing": "vmap", "training_seconds": {}, "testing_seconds": {}}
    tuning = Tuning.model_validate({"device": "cuda", "cells": {"glyphs-5w1s/maml": tuned}})
    assert tuning.backends(cell, torch.device("cuda:1")) == ("vmap", "vmap")
    assert tuning.backends(cell, torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged"),
        ("[" * 10_000, "damaged"),
        ('{"cells": {"a/b": {"training": "fast"}}}', "unknown backend 'fast'"),
        ('{"speed": 1}', "damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ConfigError, match=message) as raised:
        read_tuning(tmp_path)
    assert str(tmp_path / FILE) in str(raised.value)
    assert "delete it, or run `fewshot-km tune` again" in str(raised.value)
    assert "\n" not in str(raised.value)
