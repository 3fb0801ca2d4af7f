"""How far a checkpoint has come, read without its tensors, is what the whole of it says."""

from pathlib import Path

import pytest
import torch

from fewshot_km.training.checkpoint import load_checkpoint, save_checkpoint
from fewshot_km.training.checkpoint_header import DamagedCheckpointError, read_reached
from fewshot_km.training.outer_loop import Best, TrainingState

META = {"w": torch.ones(3)}


def other() -> dict[str, torch.Tensor]:
    return {"w": torch.zeros(3)}


@pytest.mark.parametrize("best", [None, Best(other(), 20, 0.0), Best(other(), 20, 0.75)])
def test_it_is_what_the_state_says(tmp_path: Path, best: Best | None) -> None:
    state = TrainingState(25, META, other(), other(), best=best, seconds=1.5)
    save_checkpoint(tmp_path / "c", state, {})
    reached, (loaded, _) = read_reached(tmp_path / "c"), load_checkpoint(tmp_path / "c")
    assert (reached.iteration, reached.seconds) == (loaded.iteration, loaded.seconds) == (25, 1.5)
    assert reached.best_val_accuracy == (loaded.best and loaded.best.val_accuracy)


def test_what_is_no_checkpoint_is_said_to_be_damaged_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(FileNotFoundError):
        read_reached(path)
    save_checkpoint(path, TrainingState.before(META), {})
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b'\\"iteration\\"', b'\\"iterations', 1), b"\0" * 64):
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(DamagedCheckpointError):
            read_reached(path)
