"""What several tests of grids compare with, computed once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import run, said
from tests.support.made_up_results import LONG_GRID, results, write_grid


@pytest.fixture(scope="session")
def long_results(once: Callable[[str, Callable[[Path], object]], Path]) -> dict[str, bytes]:
    """The results of LONG_GRID, one cell after the other, undisturbed."""

    def fill(folder: Path) -> None:
        write_grid(folder, LONG_GRID)
        assert run(folder, "run", "small.toml", "--backend", "plain", "--devices", 1) == 0, said(folder)

    return results(once("long", fill) / "results")
