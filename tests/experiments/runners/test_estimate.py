"""What a dry run says beforehand: counts that can be computed by hand, and nothing is left; what TensorBoard shows."""

import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support.command_line import run, said
from tests.support.made_up_results import SMALL_GRID, write_grid

RUN = ("run", "small.toml", "--backend", "plain", "--devices", 1)

pytestmark = pytest.mark.slow


def test_a_dry_run_estimates_and_leaves_nothing(tmp_path: Path) -> None:
    write_grid(tmp_path, SMALL_GRID.replace("iterations = 4", "iterations = 30_000"))
    assert run(tmp_path, *RUN, "--dry-run") == 0, said(tmp_path)
    text = said(tmp_path)
    rows = [line.split() for line in text.splitlines() if line.startswith("glyphs-5w1s/")]
    assert len(rows) == 4
    for row in rows:
        assert row[1] == "30,000"
        # conv4 with 8 filters: 4 kernels, 4 conv biases, 4 scales and shifts, a head of 8 x 5 + 5
        network = 72 + 3 * 576 + 4 * 8 + 8 * 8 + 45
        modulators = 4 * 162
        is_km = "km-maml" in row[0]
        counts = [part for part in row[2:] if re.fullmatch(r"\d+(,\d{3})?", part) and int(part.replace(",", "")) > 99]
        assert counts == [f"{network + is_km * modulators:,}", f"{(modulators + 4 * 8 + 45 if is_km else 1877):,}"]
    assert re.search(r"^4 cells, about \d+ (h|min)", text, re.M)
    assert not (tmp_path / "results").exists()


def test_tensorboard_shows_every_iteration_once(tmp_path: Path) -> None:
    write_grid(tmp_path, SMALL_GRID.replace("seeds = [0, 1]", "seeds = [0]"))
    assert run(tmp_path, *RUN, "--tensorboard") == 0, said(tmp_path)
    events = EventAccumulator(str(tmp_path / "results/small/tensorboard/glyphs-5w1s/maml/seed0"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
    history = (tmp_path / "results/small/glyphs-5w1s/maml/seed0/history.csv").read_text().splitlines()[1:]
    validated = {int(line.split(",")[0]): float(line.split(",")[3]) for line in history}
    shown = {event.step: event.value for event in events.Scalars("validation/accuracy")}
    assert shown == pytest.approx(validated)
