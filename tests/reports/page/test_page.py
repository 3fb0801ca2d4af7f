"""The page as a text: what is in it, what is not, and that nothing in it runs but its own script."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import Result
from matplotlib.figure import Figure
from typer.testing import CliRunner

from fewshot_km.cli.app import app
from fewshot_km.errors import DataError
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.figures import draw_figures
from fewshot_km.reports.figures.report_figure import ReportFigure
from fewshot_km.reports.page import report_page
from fewshot_km.reports.report import make_report
from tests.support.made_up_pages import HOSTILE, SCRIPT, made_up_report, made_up_store, write_images

VOID = {"meta", "img", "input", "br", "link"}


class Outline(HTMLParser):
    """Tags with attributes, texts, and scripts, of a page whose tags must all be closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self._open[-1:] == ["script"] else self.texts).append(data)

    @property
    def text(self) -> str:
        """All that is shown, spaces as one."""
        return " ".join(" ".join(self.texts).split())


PICTURE = ReportFigure("accuracy", f"Curve {SCRIPT}", 'of "loss"', Figure(figsize=(1, 1)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report_page(made_up_report(tmp_path_factory.mktemp("page")), [PICTURE])


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_no_name_becomes_markup(outline: Outline, page: str) -> None:
    """Every hostile text is there to be read, and made no element and no attribute."""
    for name in (*HOSTILE[:3], HOSTILE[4]):
        assert name in outline.text
    assert f"{SCRIPT} & \"quotes\" 'too'" in outline.text
    assert {tag for tag, _ in outline.tags} & {"b", "img", "script"} == {"b", "img", "script"}
    assert [a["alt"] for tag, a in outline.tags if tag == "img"] == [PICTURE.title]
    assert sum(tag == "script" for tag, _ in outline.tags) == 2
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]


def test_what_cannot_be_seen_is_written_out(page: str) -> None:
    assert "abc\\u202edef" in page
    assert "\u202e" not in page


def test_the_policy_allows_the_pages_own_script_alone(outline: Outline) -> None:
    (policy,) = [a["content"] for tag, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    data, script = outline.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert "<" not in data
    assert HOSTILE[0] in json.loads(data)["glyphs-5w1s"]["names"][0][0]


def test_nothing_is_asked_for_from_elsewhere(page: str, outline: Outline) -> None:
    for _, attributes in outline.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), value
    assert set(re.findall(r"url\(.{6}", page)) == {'url("data:'}
    assert not re.findall(r"https?:|@import", page)
    assert not re.findall(r"fetch|XMLHttpRequest|WebSocket|sendBeacon|import|eval|innerHTML", outline.scripts[1])


def test_the_headline_comes_first_and_what_explains_it_is_folded(page: str, outline: Outline) -> None:
    """Verdict, table, figure; notes and what cannot be tested are a line each until they are opened."""
    body = page[page.index("<main>") :]
    first = body[: body.index("</section>")]
    assert first.index('class="verdict"') < first.index("<table") < first.index("<img")
    tables = len(re.findall("<table data-sortable", page)) - 1  # that of the cells has no notes
    folded = r'</table>\n</div>\n<details class="notes">\n<summary>\d+ notes?</summary>'
    assert len(re.findall(folded, page)) == tables
    assert not re.search(r'<details class="notes"[^>]* open', page)
    (untested,) = re.findall(r"<summary>(\d+) claims that this grid cannot test</summary>(.*?)</details>", page, re.S)
    assert len(re.findall("not tested, because", untested[1])) == int(untested[0]) == page.count("not tested, because")


def test_every_cell_has_a_place(outline: Outline, tmp_path: Path) -> None:
    grid, _ = made_up_store(tmp_path)
    anchors = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(anchors) == len(set(anchors))
    links = {a["href"] for tag, a in outline.tags if tag == "a"}
    for cell in grid.cells:
        assert f"cell/{cell}" in anchors
        assert f"#cell/{cell}" in links
        assert f"--only task={cell.task} --only learner={cell.learner} --only seed={cell.seed}" in outline.text
    assert "10 of 12 cells done, 1 failed, 1 to do." in outline.text


def test_links_lead_somewhere(outline: Outline) -> None:
    anchors = {a["id"] for _, a in outline.tags if "id" in a}
    assert {a["href"] for tag, a in outline.tags if tag == "a"} <= {f"#{anchor}" for anchor in anchors}


def test_all_that_a_record_holds_is_shown(outline: Outline) -> None:
    for said in ("task.ways 5", "outer.iterations 60000", "git_commit –", "libraries.torch 2", f"note {SCRIPT}"):
        assert said in outline.text


def test_the_same_results_are_the_same_bytes(tmp_path: Path) -> None:
    grid, store = made_up_store(tmp_path)

    def page(results: Path) -> str:
        report = make_report(grid, ResultStore(results, grid.name))
        return report_page(report, draw_figures(report))

    once = page(store.folder.parent)
    assert page(store.folder.parent) == once
    moved = store.folder.parent.rename(tmp_path / "elsewhere")
    assert page(moved) == once
    assert str(tmp_path) not in once


def test_without_analyses_it_says_what_makes_them(tmp_path: Path) -> None:
    outline = Outline(report_page(made_up_report(tmp_path, analysed=False)))
    assert outline.text.count("fewshot-km evaluate small.toml makes what is missing") == 2
    assert not [a for _, a in outline.tags if "data-viewer" in a]
    assert "Accuracy" in outline.text


def test_images_of_other_episodes_are_not_shown(tmp_path: Path) -> None:
    grid, store = made_up_store(tmp_path)
    write_images(store, grid.cells[0], digest="other")
    outline = Outline(report_page(make_report(grid, store)))
    assert "its images are of other test episodes" in outline.text
    assert [a["data-viewer"] for _, a in outline.tags if "data-viewer" in a] == ["glyphs-5w5s"]


@pytest.mark.parametrize(
    "damage",
    [
        {"sheet": "../../small.toml"},
        {"sheet": "test_examples.jpg"},
        {"ways": 4},
        {"width": 9},
        {"queries_shown": 6},
        {"episodes": []},
        {"shots": -1},
    ],
)
def test_damaged_images_are_one_clear_error(tmp_path: Path, damage: dict[str, object]) -> None:
    grid, store = made_up_store(tmp_path)
    path = store.task_folder(grid.cells[0]) / "test_examples.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(DataError, match=r"test_examples.*damaged.*evaluate") as error:
        report_page(make_report(grid, store))
    assert "\n" not in str(error.value)


def test_damaged_answers_are_as_good_as_none(tmp_path: Path) -> None:
    grid, store = made_up_store(tmp_path)
    stored = store.read(grid.cells[0])
    assert stored.analysis is not None
    first, *others = stored.analysis.examples
    wrong = replace(stored.analysis, examples=((99, *first[1:]), *others))
    store.amend(grid.cells[0], stored.record, {"analysis.json": wrong.to_json().encode()})
    outline = Outline(report_page(make_report(grid, store)))
    assert "No answers of maml seed 0" in outline.text


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_store(tmp_path)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["report", "small.toml", *arguments])

    done = command("--html")
    assert (done.exit_code, done.stdout) == (0, "results/small/report.html\n")
    page = Path("results/small/report.html").read_bytes()
    assert command("--html", "--out", "mine.html").exit_code == 0
    assert Path("mine.html").read_bytes() == page
    for arguments, said in (
        (["--figures", "--out", "x.html"], "--out names one file"),
        (["--html", "--out", "small.toml/x"], "small.toml/x"),
        (["--html", "--out", "pages/mine.html"], "there is no folder pages: make it"),
        (["--html", "--out", "results"], "that is a folder"),
    ):
        failed = command(*arguments)
        assert failed.exit_code == 2
        assert said in failed.stderr
        assert failed.stderr.count("\n") == 1
    assert not Path("pages").exists()
