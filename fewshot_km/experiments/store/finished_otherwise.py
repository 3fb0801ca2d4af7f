"""Cells that are finished, but not with the settings that are asked for: a grid of them looks empty, and is not."""

from collections import Counter
from collections.abc import Iterable

from fewshot_km.experiments.settings.differences import other_settings
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.text import counted


def say_finished_otherwise(cells: Iterable[Cell], store: ResultStore) -> list[str]:
    """ "4 cells are finished with other settings: outer.iterations 16", a line for each set of settings."""
    found: Counter[str] = Counter()
    for cell in cells:
        before = None if store.state(cell) == "done" else store.settings_before(cell)
        if before is not None:
            found[", ".join(other_settings(before, cell.config.model_dump(mode="json")))] += 1
    return [
        f"{counted(number, 'cell')} {'is' if number == 1 else 'are'} finished with other settings: {settings}"
        for settings, number in found.items()
    ]
