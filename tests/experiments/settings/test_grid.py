"""Grid files: how they resolve into cells, and what is said about mistakes in them."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.errors import ConfigError, ProblemsError, UnknownNameError
from fewshot_km.experiments.settings.grid import find_grid, load_grid, shipped_grids
from fewshot_km.models import NETWORKS
from tests.support.made_up_results import SMALL_GRID, small_grid, write_grid


def test_cells_are_the_product_in_order(tmp_path: Path) -> None:
    assert [str(cell) for cell in small_grid(tmp_path).cells] == [
        "glyphs-5w1s/maml/seed0",
        "glyphs-5w1s/maml/seed1",
        "glyphs-5w1s/km-maml/seed0",
        "glyphs-5w1s/km-maml/seed1",
    ]


def test_the_learners_tables_win_over_the_tasks_and_these_over_the_files(tmp_path: Path) -> None:
    text = """
    seeds = [3]
    learners = ["anil", { name = "km-maml", label = "km", inner = { train_steps = 9 }, outer = { lr = 0.5 } }]
    tasks = [{ dataset = "glyphs", ways = 5, shots = 1, label = "t", inner = { lr = 0.2, train_steps = 7 } }]
    inner = { lr = 0.1, train_steps = 5, test_steps = 6 }
    """
    anil, km = (cell.config for cell in small_grid(tmp_path, text).cells)
    assert (anil.inner.lr, anil.inner.train_steps, anil.inner.test_steps, anil.outer.lr) == (0.2, 7, 6, 1e-3)
    assert (km.inner.lr, km.inner.train_steps, km.inner.test_steps, km.outer.lr) == (0.2, 9, 6, 0.5)
    assert [str(cell) for cell in small_grid(tmp_path, text).cells] == ["t/anil/seed3", "t/km/seed3"]


def test_another_network_does_not_inherit_options(tmp_path: Path) -> None:
    def tiny_network(image_shape: object, width: int = 3) -> Any:
        """A network that is never built."""

    text = SMALL_GRID.replace('"maml"', '{ name = "maml", network = { name = "tiny" } }')
    with NETWORKS.temporarily({"tiny": tiny_network}):
        tiny, _, conv4, _ = (cell.config.network for cell in small_grid(tmp_path, text).cells)
    assert (tiny.name, tiny.options) == ("tiny", {"width": 3})
    assert (conv4.name, conv4.options["filters"]) == ("conv4", 8)


def test_clipping_can_be_switched_off_for_one_learner(tmp_path: Path) -> None:
    text = SMALL_GRID.replace("iterations = 4", "iterations = 4\nclip_value = 10.0")
    text = text.replace('"maml"', '{ name = "maml", outer = { clip_value = "none" } }')
    assert [c.config.outer.clip_value for c in small_grid(tmp_path, text).cells] == ["none", "none", 10.0, 10.0]


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert len(small_grid(tmp_path, "\ufeff" + SMALL_GRID).cells) == 4


def test_every_option_is_written_out(tmp_path: Path) -> None:
    config = small_grid(tmp_path).cells[2].config
    assert config.network.options == {"filters": 8, "downsampling": "stride", "norm": "batch"}
    assert config.learner.options == {"norm_affine": "bias"}


def test_a_cell_is_known_by_its_settings_not_by_their_formatting(tmp_path: Path) -> None:
    plain = [cell.config.digest() for cell in small_grid(tmp_path).cells]
    assert len(set(plain)) == 4
    same = "# a comment\n" + SMALL_GRID.replace("filters = 8", "filters   =   8\nnorm = 'batch'")  # the default, said
    same = same.replace("lr = 0.4", "lr = 4e-1").replace('"maml"', '{ name = "maml", norm_affine = "none" }')
    assert [cell.config.digest() for cell in small_grid(tmp_path, same).cells] == plain
    for old, new in (("lr = 0.4", "lr = 0.5"), ("iterations = 4", "iterations = 5"), ("filters = 8", "filters = 16")):
        assert not set(plain) & {c.config.digest() for c in small_grid(tmp_path, SMALL_GRID.replace(old, new)).cells}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "lr = 0.4",
            "lr = 0.4\nstep = 3",
            r"small.toml: inner.step: unknown key; did you mean 'test_steps'.*allowed: lr",
        ),
        ("lr = 0.4", "", r"small.toml: inner.lr: is missing: Inner learning rate on the mean cross-entropy"),
        ("lr = 0.4", "lr = 0", r"small.toml: inner.lr: 0: input should be greater than 0"),
        ("lr = 0.4", 'lr = "0.4"', r"small.toml: inner.lr: '0.4': input should be a valid number"),
        ("lr = 0.4", "lr = nan", r"small.toml: inner.lr: nan: input should be a finite number"),
        ("lr = 0.4", 'lr = 1\norder = "third"', r"inner.order: 'third' is not allowed; allowed: 'first' or 'second'"),
        ("iterations = 4", "iterations = 4.5", r"small.toml: outer.iterations: 4.5: input should be a valid integer"),
        ("iterations = 4", "iterations = true", r"small.toml: outer.iterations: True: input should be a valid integer"),
        ("ways = 5", "ways = 0", r"small.toml: tasks\[0\].ways: 0: input should be greater than or equal to 2"),
        ("ways = 5", "", r"small.toml: tasks\[0\].ways: is missing: Classes per task"),
        ("ways = 5", "ways = 5\nway = 5", r"small.toml: tasks\[0\].way: unknown key; did you mean 'ways'"),
        (
            "shots = 1",
            "shots = 1\ninner.lr = -1",
            r"small.toml: tasks\[0\].inner.lr: -1: input should be greater than 0",
        ),
        ("shots = 1", "shots = 1\ninner = 3", r"small.toml: tasks\[0\].inner: must be a table of keys, not 3"),
        ('"glyphs"', '"glyph"', r"small.toml: tasks\[0\].dataset: unknown data set 'glyph': did you mean 'glyphs'"),
        ('"maml"', '"malm"', r"small.toml: learners\[0\]: unknown learner 'malm': did you mean 'maml'"),
        (
            "norm_affine",
            "norm_afine",
            r"small.toml: learners\[1\]: learner 'km-maml' has no option 'norm_afine': did you",
        ),
        (
            "filters",
            "filter",
            r"network.name: network 'conv4' has no option 'filter': did you mean 'filters'",
        ),
        ("seeds", "seed", r"small.toml: seed: unknown key; did you mean 'seeds'"),
        ("ways = 5", "ways = []", r"small.toml: tasks\[0\].ways: \[\]: list should have at least 1 item"),
        ("ways = 5", "ways = [5, 5]", r"small.toml: tasks\[0\].ways: \[5, 5\]: each number once"),
        (
            "ways = 5",
            "ways = [5, 1]",
            r"small.toml: tasks\[0\].ways\[1\]: 1: input should be greater than or equal",
        ),
        ("ways = 5", "ways = [[5]]", r"small.toml: tasks\[0\].ways\[0\]: \[5\]: input should be a valid integer"),
        ("shots = 1", 'shots = [1, 5]\nlabel = "x-{ways}"', r"are both 'x-5/maml': give one a label"),
        ("seeds = [0, 1]", "seeds = [0, 0]", r"small.toml: seeds: \[0, 0\]: each number once"),
        (
            "seeds = [0, 1]",
            "seeds = [0, -1]",
            r"small.toml: seeds\[1\]: -1: input should be greater than or equal to 0",
        ),
        ("seeds = [0, 1]", "seeds = []", r"small.toml: seeds: \[\]: list should have at least 1 item"),
        ("seeds = [0, 1]", "seeds = [0, 1", r"small.toml: cannot be read as TOML: "),
        (
            '"maml"',
            '"maml", "maml"',
            r"learners\[0\] and tasks\[0\] and learners\[1\] are both 'glyphs-5w1s/maml': give one",
        ),
        ('"maml"', '"maml", "MAML"', r"learners\[1\]: unknown learner 'MAML'"),
        ('"maml"', '"maml", { name = "anil", label = "Maml" }', r"are both 'glyphs-5w1s/maml': give one"),
        ('"maml"', '{ name = "maml", label = "../x" }', r"learners\[0\].label: '../x' becomes a folder"),
        (
            '"maml"',
            f'{{ name = "maml", label = "{"x" * 101}" }}',
            r"learners\[0\].label: 'x*' becomes a folder: use at most",
        ),
        ("shots = 1", 'shots = 1\nlabel = "table.md"', r"tasks\[0\].label: 'table.md' becomes a folder"),
        ('"maml"', '{ name = "maml", label = "test_examples.json" }', r"label: 'test_examples.json' becomes a folder"),
        (
            '"maml"',
            '{ name = "maml", test = { stream = 1 } }',
            r"learners\[0\].test: {'stream': 1}: all learners share",
        ),
        ('"maml"', "3", r"small.toml: learners\[0\]: 3: must be a name, or a table"),
        (
            '"bias"',
            '"most"',
            r"learners\[1\]: .*option 'norm_affine': 'most' is not allowed; allowed: 'full'",
        ),
        (
            "filters = 8",
            "filters = 8.5",
            r"network 'conv4', option 'filters': 8.5: input should be a valid int",
        ),
        ("iterations = 4", "iterations = 4\nclip_value = -1", r"outer.clip_value: -1: input should be greater than 0$"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL_GRID
    with pytest.raises(ConfigError, match=message) as caught:
        small_grid(tmp_path, SMALL_GRID.replace(old, new, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", ["figures", "Jobs", "tensorboard", "tuning.json", "Table.csv", "report.html"])
def test_labels_are_no_names_of_what_lies_beside_them(tmp_path: Path, label: str) -> None:
    text = SMALL_GRID.replace("shots = 1", f'shots = 1\nlabel = "{label}"')
    with pytest.raises(ConfigError, match=rf"tasks\[0\].label: '{label}' becomes a folder"):
        small_grid(tmp_path, text)
    assert small_grid(tmp_path, text.replace(label, f"{label.partition('.')[0]}2")).cells


MISTAKES = {
    ("lr = 0.4", ""): "inner.lr: is missing",
    ('"maml"', '"malm"'): "learners[0]: unknown learner 'malm'",
    ('norm_affine = "bias"', "norm_afine = 1, other = 2"): "learners[1]: learner 'km-maml' has no option 'norm_afine'",
    ('"glyphs"', '"glyph"'): "tasks[0].dataset: unknown data set 'glyph'",
    ("ways = 5", 'ways = 1\nlabel = "a/b"'): "tasks[0].ways: 1",
    ("filters = 8", "filter = 8"): "network.name: network 'conv4' has no option 'filter'",
    ("seeds", "seed"): "seed: unknown key",
    ("[outer]", "[outer]\nclip = 1\nlr = 0"): "outer.clip: unknown key",
    ("every = 2", "every = 0"): "validation.every: 0",
}
TOLD_BESIDE = {
    "other": "learners[1]: learner 'km-maml' has no option 'other'",
    "a/b": "tasks[0].label: 'a/b' becomes a folder",
    "lr = 0\n": "outer.lr: 0",
}


@given(st.sets(st.sampled_from(list(MISTAKES)), min_size=2), st.integers(1, 3))
def test_all_mistakes_are_told_at_once_the_shortest_first(chosen: set[tuple[str, str]], tasks: int) -> None:
    """Each once, whatever number of tasks and learners has it."""
    text = SMALL_GRID.replace("shots = 1", f"shots = {list(range(1, tasks + 1))}")
    for old, new in chosen:
        assert old in text
        text = text.replace(old, new, 1)
    expected = {MISTAKES[change] for change in chosen} | {said for key, said in TOLD_BESIDE.items() if key in text}
    with tempfile.TemporaryDirectory() as folder, pytest.raises(ProblemsError) as caught:
        small_grid(Path(folder), text)
    told = caught.value.problems
    assert caught.value.heading == f"small.toml: {len(expected)} mistakes"
    assert len(told) == len(expected)
    assert all(sum(line.startswith(start) for line in told) == 1 for start in expected)
    assert [len(line) for line in told] == sorted(len(line) for line in told)


def test_very_many_mistakes_are_counted(tmp_path: Path) -> None:
    keys = "".join(f"wrong_{n} = {n}\n" for n in range(100))
    with pytest.raises(ProblemsError) as caught:
        small_grid(tmp_path, keys + SMALL_GRID)
    assert caught.value.heading == "small.toml: 100 mistakes"
    assert caught.value.problems[-1] == "and 80 more"
    assert len(caught.value.problems) == 21


def test_lists_of_ways_and_shots_are_a_grid_of_tasks(tmp_path: Path) -> None:
    """The same cells, to their digests, as of tasks that are written one by one."""
    head, rest = SMALL_GRID.split("ways = 5\nshots = 1\n")
    listed = small_grid(tmp_path, f"{head}ways = [5, 20]\nshots = [1, 5]\n{rest}")
    pairs = [(ways, shots) for ways in (5, 20) for shots in (1, 5)]
    one_by_one = '\n[[tasks]]\ndataset = "glyphs"\n'.join(f"ways = {ways}\nshots = {shots}\n" for ways, shots in pairs)
    assert small_grid(tmp_path, head + one_by_one + rest).cells == listed.cells
    assert list(dict.fromkeys(cell.task for cell in listed.cells)) == [f"glyphs-{w}w{s}s" for w, s in pairs]


@pytest.mark.parametrize(
    ("label", "ways", "labels"),
    [
        ("letters", "[5, 20]", ["letters-5w1s", "letters-20w1s"]),
        ("{ways}-letters-{shots}", "[5, 20]", ["5-letters-1", "20-letters-1"]),
        ("letters", "[5]", ["letters"]),
        ("letters-{ways}", "5", ["letters-5"]),
    ],
)
def test_labels_of_listed_tasks_tell_them_apart(tmp_path: Path, label: str, ways: str, labels: list[str]) -> None:
    text = SMALL_GRID.replace("ways = 5", f'label = "{label}"\nways = {ways}')
    assert list(dict.fromkeys(cell.task for cell in small_grid(tmp_path, text).cells)) == labels


def test_lists_too_long_for_any_grid_are_refused_before_they_are_multiplied(tmp_path: Path) -> None:
    many = list(range(2, 50_000))
    with pytest.raises(ConfigError, match="cells are more than 10,000"):
        small_grid(tmp_path, SMALL_GRID.replace("ways = 5", f"ways = {many}").replace("shots = 1", f"shots = {many}"))


def test_without_seeds_there_is_one(tmp_path: Path) -> None:
    assert [cell.seed for cell in small_grid(tmp_path, SMALL_GRID.replace("seeds = [0, 1]", "")).cells] == [0, 0]


def test_a_grid_must_be_readable(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary.toml: is no text in UTF-8"):
        load_grid(binary)
    with pytest.raises(UnknownNameError, match=r"there is no grid file .*nowhere.toml: check the path"):
        find_grid(str(tmp_path / "nowhere.toml"))
    with pytest.raises(UnknownNameError, match="unknown grid 'quickstat': did you mean 'quickstart'"):
        find_grid("quickstat")
    with pytest.raises(ConfigError, match="the file's name becomes a folder"):
        load_grid(write_grid(tmp_path, name="my grid"))


@pytest.mark.parametrize("name", shipped_grids())
def test_shipped_grids_are_valid_and_say_what_they_are(name: str) -> None:
    grid = load_grid(find_grid(name))
    assert grid.cells
    assert grid.description
