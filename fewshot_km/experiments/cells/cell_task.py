"""What all ranks of a process group need to run the same cell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewshot_km.data import Dataset
from fewshot_km.experiments.cells.cell_state import CellState
from fewshot_km.experiments.cells.parts import Parts, make_parts
from fewshot_km.experiments.cells.stages import FIRST, run_stages
from fewshot_km.experiments.events.event import Emit, to_nobody
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.settings.run_settings import RunSettings
from fewshot_km.training.ranks import Ranks


@dataclass(frozen=True)
class CellTask:
    """A cell to run, and what it goes on from.

    tuned     backends for training and testing that `tune` found, if any
    backends  that the cell was begun with, if it was
    kept      its state then
    """

    config: CellConfig
    settings: RunSettings
    tuned: tuple[str, str] | None = None
    backends: Mapping[str, Any] | None = None
    kept: CellState | None = None

    def begin(self, dataset: Dataset, ranks: Ranks, emit: Emit) -> tuple[Parts, CellState]:
        """Build the cell's parts, and the state that it goes on from."""
        parts = make_parts(self.config, dataset, self.settings, ranks, emit, self.tuned, self.backends)
        return parts, (self.kept or CellState(FIRST, parts.weights)).to(ranks.device)

    def run(self, dataset: Dataset, ranks: Ranks) -> CellState:
        """Run all stages without a word or a trace on disk, as ranks above 0 do."""
        parts, state = self.begin(dataset, ranks, to_nobody)
        for after in run_stages(state, parts, to_nobody):
            state = after
        return state
