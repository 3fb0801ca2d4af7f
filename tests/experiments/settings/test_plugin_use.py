"""Cells of a plug-in whose helper is edited, before a run and during it, or is loaded only while it runs."""

from pathlib import Path

import pytest

from fewshot_km.errors import PluginError
from fewshot_km.experiments.settings.differences import differences
from fewshot_km.experiments.settings.plugin_use import check_sources, source_digests
from fewshot_km.learners import ANIL, LEARNERS
from tests.support.command_line import fewshot_km
from tests.support.made_up_results import SMALL_GRID, small_grid, write_grid

PLUGIN = """
import importlib
from fewshot_km.learners import ANIL, register

@register("helped")
class Helped(ANIL):
    def adapt(self, meta, x, y, *, steps):
        from package.helper import TIMES
        importlib.import_module("late")
        return super().adapt(meta, x, y, steps=TIMES * steps)
"""
TEXT = SMALL_GRID.replace('["maml", { name = "km-maml", norm_affine = "bias" }]', '["helped", "anil"]')


def test_an_edited_helper_makes_other_cells_and_its_plugin_is_named(tmp_path: Path) -> None:
    (tmp_path / "helped.py").write_text(PLUGIN)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "helper.py").write_text("TIMES = 1\n")
    (tmp_path / "package" / "unrelated.py").write_text("")
    (tmp_path / "late.py").write_text("")
    write_grid(tmp_path, TEXT.replace("seeds = [0, 1]", "seeds = [0]").replace("iterations = 4", "iterations = 1"))
    command = ("small.toml", "--plugin", "helped.py")
    first = fewshot_km("run", *command, "--backend", "plain", "--devices", 1, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("the plug-in of learner 'helped' loaded late.py only while it ran: an edit of that") == 1

    def states() -> list[str]:
        listed = fewshot_km("list", *command, folder=tmp_path)
        return [line.split()[3] for line in listed.stdout.splitlines()[1:3]]

    (tmp_path / "package" / "unrelated.py").write_text("A = 1")
    assert states() == ["done", "done"]
    (tmp_path / "package" / "helper.py").write_text("TIMES = 2\n")
    assert states() == ["to", "done"]
    again = fewshot_km("run", *command, "--budget", "1s", folder=tmp_path)
    assert "glyphs-5w1s/helped, seed 0: settings changed: the plug-in of learner 'helped' " in again.stderr


def test_a_process_that_read_other_files_runs_nothing(tmp_path: Path) -> None:
    class Helped(ANIL): ...

    with LEARNERS.temporarily({"helped": Helped}):
        config = small_grid(tmp_path, TEXT).cells[0].config
        assert config.plugin_sources == source_digests(config)
        assert list(config.plugin_sources) == ["learner"]
        check_sources(config)
        other = config.model_copy(update={"plugin_sources": {"learner": "0" * 64}})
        with pytest.raises(PluginError, match="plug-in of learner 'helped' was edited after the run began: start it"):
            check_sources(other)


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        ("learner", {"learner": {"name": "mine"}}, "the plug-in of learner 'mine'"),
        ("network", {"network": {"name": "mine", "filters": 3}}, "the plug-in of network 'mine'"),
        ("dataset", {"task": {"dataset": "mine"}}, "the plug-in of dataset 'mine'"),
        ("dataset", {"task": {"dataset": {"name": "mine", "size": 3}}}, "the plug-in of dataset 'mine'"),
    ],
)
def test_changes_name_the_plugin(kind: str, settings: dict[str, object], name: str) -> None:
    old, new = ({**settings, "plugin_sources": {kind: digit * 64}} for digit in "ab")
    assert differences(old, new) == [f"{name} aaaaaaaa... -> bbbbbbbb..."]
