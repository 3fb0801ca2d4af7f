"""Numbers that cannot work are refused before anything is built with them; those of real grids are not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fewshot_km.data import load_dataset
from fewshot_km.errors import ConfigError
from fewshot_km.experiments.cells.parts import make_learner
from fewshot_km.experiments.cells.sizes import MOST_MEMORY, Memory, check_sizes, memory_here
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.settings.grid import load_grid, shipped_grids
from fewshot_km.experiments.settings.selection import parse_settings
from fewshot_km.models import NETWORKS
from tests.support.made_up_results import write_grid

LAPTOP = Memory(8 << 30, 8 << 30)


def config(folder: Path, *settings: str) -> CellConfig:
    """Of km-maml in the small grid."""
    return load_grid(write_grid(folder), parse_settings(settings)).cells[-1].config


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("outer.meta_batch=1_000_000_000", "outer.meta_batch: the images of 1,000,000,000 tasks"),
        (f"test.episodes={2**62}", "test.episodes: drawing"),
        (f"validation.episodes={2**62}", "validation.episodes: the accuracies of"),
        (f"outer.iterations={2**62}", "outer.iterations: the history of"),
        ("network.filters=100_000", "network.filters: its parameters"),
        ("network.filters=1_000_000_000", "network.filters: its parameters would take more than 9 EB"),
        (f"network.filters={2**62}", "network.filters: its parameters would take more than 9 EB"),
        (f"inner.train_steps={2**62}", "images would pass through the network"),
        (f"inner.test_steps={2**62}", "images would pass through the network"),
    ],
)
def test_numbers_that_cannot_work_are_refused_with_the_key_to_lower(tmp_path: Path, setting: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^([0-9e+]+ )?{key}.*: lower "):
        check_sizes(config(tmp_path, setting), load_dataset("glyphs", tmp_path), LAPTOP)


def test_long_waits_between_validations_are_refused_too(tmp_path: Path) -> None:
    settings = (f"outer.iterations={10**11}", f"validation.every={10**11}")
    with pytest.raises(ConfigError, match=r"^validation.every: losses and accuracies of 100,000,000,000 iterations"):
        check_sizes(config(tmp_path, *settings), load_dataset("glyphs", tmp_path), LAPTOP)


@pytest.mark.parametrize("filters", [8, 64, 200])
def test_parameters_are_counted_as_they_are_built(tmp_path: Path, filters: int) -> None:
    """Four float32 of each: itself, gradient, two moments. One byte less is refused, without memory for any."""
    glyphs, cell = load_dataset("glyphs", tmp_path), config(tmp_path, f"network.filters={filters}")
    built = make_learner(cell, glyphs).init(0)
    size = 4 * sum(value.nbytes for value in built.values())
    check_sizes(cell, glyphs, Memory(device=max(size, 10**6)))
    if size > 10**6:  # else the images of a meta-batch are larger
        with pytest.raises(ConfigError, match=r"^network.filters: its parameters"):
            check_sizes(cell, glyphs, Memory(device=size - 1))


def test_the_generator_is_where_it_was(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_sizes(config(tmp_path), load_dataset("glyphs", tmp_path), LAPTOP)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_needs_numbers_to_be_built_is_left_to_the_building(tmp_path: Path) -> None:
    def asks(image_shape: tuple[int, int, int]) -> nn.Module:
        layer = nn.Linear(image_shape[1] * image_shape[2], 3)
        assert layer.weight.abs().max().item() < 1
        return nn.Sequential(nn.Flatten(), layer)

    write_grid(tmp_path)
    text = (tmp_path / "small.toml").read_text().replace("filters = 8", 'name = "asks"')
    (tmp_path / "small.toml").write_text(text)
    with NETWORKS.temporarily({"asks": asks}):
        cell = load_grid(tmp_path / "small.toml").cells[0].config
        check_sizes(cell, load_dataset("glyphs", tmp_path), LAPTOP)


@pytest.mark.parametrize("name", shipped_grids())
def test_shipped_grids_fit_a_laptop(name: str, tmp_path: Path) -> None:
    """On the glyphs, as their own data sets are not at hand."""
    for cell in load_grid(shipped_grids()[name]).cells[::3]:
        check_sizes(cell.config, load_dataset("glyphs", tmp_path), LAPTOP)


def test_this_machine_has_memory() -> None:
    memory = memory_here(torch.device("cpu"))
    assert 1 << 28 < memory.machine == memory.device <= MOST_MEMORY


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["maml", "anil", "km-maml"])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_building_without_memory_imports_no_compiler(learner: str, norm: str) -> None:
    """It would take most of a second of every run."""
    build = f"build_learner('{learner}', {{}}, lambda: build_network('conv4', {{'norm': '{norm}'}}, (1, 28, 28), 5), 0)"
    code = (
        "import sys, torch\n"
        "from fewshot_km import build_learner, build_network\n"
        f"with torch.device('meta'):\n    {build}.init(0)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
