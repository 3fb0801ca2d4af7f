"""Named protocols: the published values, and what a grid makes of them."""

from pathlib import Path
from typing import Any

import pytest

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.protocols import find_protocol, protocols
from fewshot_km.experiments.settings.grid import Grid, load_grid, shipped_grids
from tests.support.made_up_results import write_grid

# Finn, Abbeel, Levine 2017, Sections 5.2 and A.1, and the commands and defaults of the code published with it: ways,
# shots, train and test queries, filters, downsampling, rate for a summed loss, steps at training and test, tasks, clip
PUBLISHED: dict[str, tuple[Any, ...]] = {
    "maml-omniglot-20w1s": ("omniglot", 20, 1, 1, 1, 64, "stride", 0.1, 5, 5, 16, "none"),
    "maml-omniglot-20w5s": ("omniglot", 20, 5, 5, 5, 64, "stride", 0.1, 5, 5, 16, "none"),
    "maml-omniglot-5w1s": ("omniglot", 5, 1, 1, 1, 64, "stride", 0.4, 1, 3, 32, "none"),
    "maml-omniglot-5w5s": ("omniglot", 5, 5, 5, 5, 64, "stride", 0.4, 1, 3, 32, "none"),
    "maml-mini-imagenet-5w1s": ("mini-imagenet", 5, 1, 15, 1, 32, "pool", 0.01, 5, 10, 4, 10.0),
    "maml-mini-imagenet-5w5s": ("mini-imagenet", 5, 5, 15, 5, 32, "pool", 0.01, 5, 10, 2, 10.0),
}


TABLE_3 = set(PUBLISHED) - {"maml-omniglot-5w1s", "maml-omniglot-5w5s"}  # Hu & Liu 2022: Omniglot 20-way only


def grid_of(folder: Path, name: str, task: str = "", more: str = "") -> Grid:
    return load_grid(
        write_grid(folder, f'seeds = [0]\nlearners = ["maml"]\n[[tasks]]\nprotocol = "{name}"\n{task}\n{more}')
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_protocol_is_what_was_published(tmp_path: Path, name: str) -> None:
    (cell,) = grid_of(tmp_path, name).cells
    task, network, inner, outer = cell.config.task, cell.config.network, cell.config.inner, cell.config.outer
    dataset, ways, shots, train_queries, test_queries, filters, downsampling, rate, *rest = PUBLISHED[name]
    assert (task.dataset.name, task.ways, task.shots) == (dataset, ways, shots)
    assert (task.train_queries, task.test_queries) == (train_queries, test_queries)
    assert network.options == {"filters": filters, "downsampling": downsampling, "norm": "batch"}
    assert inner.lr == pytest.approx(rate * ways)  # on the mean over the ways instead of their sum
    assert [inner.train_steps, inner.test_steps, outer.meta_batch, outer.clip_value] == rest
    assert (outer.iterations, outer.lr, inner.order, cell.config.test.episodes) == (60_000, 1e-3, "second", 600)
    assert (cell.protocol, cell.deviations) == (name, ())


def test_every_protocol_is_known_here() -> None:
    assert set(protocols()) == set(PUBLISHED)
    for protocol in protocols().values():
        for line in protocol.text.splitlines()[1:]:
            if "=" in line and not line.startswith(("name", "ways", "shots")):
                assert "[F]" in line or "[C]" in line, line  # where each value comes from


def test_what_the_file_says_stands_over_the_protocol_and_is_told(tmp_path: Path) -> None:
    (cell,) = grid_of(
        tmp_path, "maml-omniglot-20w1s", "ways = 5\ninner = { lr = 0.4 }", "[outer]\niterations = 300"
    ).cells
    assert (cell.task, cell.config.inner.lr, cell.config.inner.train_steps) == ("omniglot-5w1s", 0.4, 5)
    assert cell.config.outer.meta_batch == 16
    assert cell.deviations == ("task.ways 20 -> 5", "inner.lr 2.0 -> 0.4", "outer.iterations 60000 -> 300")


def test_a_part_of_the_data_is_a_deviation(tmp_path: Path) -> None:
    dataset = 'dataset = { name = "mini-imagenet", allow_partial = true }'
    (cell,) = grid_of(tmp_path, "maml-mini-imagenet-5w1s", dataset).cells
    assert cell.deviations == ("task.dataset.allow_partial True",)


def test_the_same_settings_are_the_same_cell_by_whatever_way(tmp_path: Path) -> None:
    (by_name,) = grid_of(tmp_path, "maml-omniglot-20w1s").cells
    tables = find_protocol("maml-omniglot-20w1s").text.split("\n", 2)[2].replace("[task]", "[[tasks]]")
    (in_full,) = load_grid(write_grid(tmp_path, f'seeds = [0]\nlearners = ["maml"]\n{tables}', "full")).cells
    assert in_full.config.digest() == by_name.config.digest()
    assert in_full.protocol is None


def test_an_unknown_protocol_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"tasks\[0\].protocol: unknown protocol 'maml-omniglot': did you mean 'maml-omn"
    ):
        grid_of(tmp_path, "maml-omniglot")


def test_table3_is_the_papers_table() -> None:
    grid = load_grid(shipped_grids()["table3"])
    assert len(grid.cells) == 60
    assert {cell.protocol for cell in grid.cells} == TABLE_3
    assert {cell.learner for cell in grid.cells} == {"maml", "anil", "km-maml"}
    assert all(cell.deviations == () for cell in grid.cells)
    short = load_grid(shipped_grids()["table3-cpu"])
    assert {cell.protocol for cell in short.cells} == TABLE_3
    assert all("outer.iterations 60000 -> 300" in cell.deviations for cell in short.cells)
