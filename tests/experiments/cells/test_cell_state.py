"""A cell that goes on from any of its stages ends with the bytes of one that was not left."""

from dataclasses import replace
from pathlib import Path

import torch

from fewshot_km.data import load_dataset
from fewshot_km.experiments.cells.cell_state import CellState
from fewshot_km.experiments.cells.cell_task import CellTask
from fewshot_km.experiments.cells.stages import DONE, STAGES, run_stages
from fewshot_km.experiments.events.event import to_nobody
from fewshot_km.experiments.settings.run_settings import RunSettings
from fewshot_km.training.checkpoint import load_checkpoint, save_checkpoint
from fewshot_km.training.history import Reached
from fewshot_km.training.ranks import ALONE
from tests.support.made_up_results import small_grid


def through_a_file(state: CellState, path: Path) -> CellState:
    save_checkpoint(path, *state.pack())
    return CellState.unpack(*load_checkpoint(path))


def test_what_is_packed_is_unpacked_through_a_file(tmp_path: Path) -> None:
    state = CellState(
        "test",
        {"a/b": torch.randn(2, 3)},
        {"best/a": torch.tensor(0.1, dtype=torch.float64)},
        {"history": [0.1 + 0.2]},
        {"train_seconds": 1 / 3},
        {"history.csv": bytes(range(256))},
        Reached(3, 1.5, 2 / 3),
    )
    back = through_a_file(state, tmp_path / "c")
    assert replace(back, weights={}, tensors={}) == replace(state, weights={}, tensors={})
    for got, expected in ((back.weights, state.weights), (back.tensors, state.tensors)):
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], value) for name, value in expected.items())


def test_a_cell_goes_on_from_the_end_of_every_stage(tmp_path: Path, session_cache: Path) -> None:
    glyphs = load_dataset("glyphs", session_cache)
    task = CellTask(small_grid(tmp_path).cells[0].config, RunSettings(backend="plain"))
    parts, state = task.begin(glyphs, ALONE, to_nobody)
    after = list(run_stages(state, parts, to_nobody))
    assert [state.stage for state in after] == [*list(STAGES)[1:], DONE]
    whole = after[-1]
    assert set(whole.files) == {"history.csv", "weights.safetensors", "test_episodes.csv", "analysis.json"}
    for number, state in enumerate(after):
        kept = through_a_file(state, tmp_path / str(number))
        assert replace(task, kept=kept).run(glyphs, ALONE).files == whole.files
