"""Tables as other programs read them: a LaTeX engine or parser, an HTML parser, a CSV reader, hostile text in all."""

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexWalker

from fewshot_km.reports.markup import escape_latex, to_csv, to_html, to_latex, to_markdown
from fewshot_km.reports.table import Entry, Table, TableSection
from tests.support.harmful_text import is_harmful

HOSTILE = "a&b_50%$x$#{y}~^\\z|<script>alert('1')</script>\"*[l](u)`é≥"
TABLE = Table(
    "A title & more",
    ("learner", "5-way 1-shot", "p"),
    (
        TableSection("", ((Entry("km_maml"), Entry("93.53 ± 0.52", True), Entry("< 0.0001")),)),
        TableSection("published, not ours", ((Entry(HOSTILE), Entry("−0.31 +0.22"), Entry("–")),)),
    ),
    ("± episodes: 95 % t interval", HOSTILE),
)
needs_engine = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX engine (pdflatex) on this machine")


def document() -> str:
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\n\\begin{document}\n"
    return head + to_latex([TABLE, TABLE]) + "\\end{document}\n"


@needs_engine
def test_latex_compiles(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(document(), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 5000
    assert "Missing character" not in done.stdout


def test_latex_parses_to_the_text_that_was_meant() -> None:
    nodes, _, length = LatexWalker(document(), tolerant_parsing=False).get_latex_nodes()
    assert length == len(document())
    text = LatexNodes2Text().nodelist_to_text(nodes)
    assert "km_maml" in text
    assert text.count("93.53 ± 0.52") == 2
    assert to_latex([TABLE]).count("&") == 2 * 3 + to_latex([TABLE]).count(r"\&")  # two between three columns


@pytest.mark.parametrize("text", [HOSTILE, "50 % of A_1 & B", "x < y > z", "{}\\~^"])
def test_latex_text_is_read_back_as_it_was(text: str) -> None:
    read = LatexNodes2Text(keep_comments=True, math_mode="text").latex_to_text(escape_latex(text))
    for printed, meant in (("”", '"'), ("’", "'"), ("ˆ", "^")):
        read = read.replace(printed, meant)
    assert re.sub(r"\s", "", read) == re.sub(r"\s", "", text)


class Cells(HTMLParser):
    """Collects the text of all cells, and the tags."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_html_holds_the_text_and_no_tag_of_it() -> None:
    cells = Cells()
    cells.feed(to_html([TABLE]))
    assert cells.rows[0] == list(TABLE.header)
    assert cells.rows[1] == ["km_maml", "93.53 ± 0.52", "< 0.0001"]
    assert cells.rows[3][0].startswith(HOSTILE)
    assert cells.tags == {"table", "caption", "thead", "tbody", "tr", "th", "td", "b", "ul", "li"}


def test_csv_holds_the_text() -> None:
    rows = list(csv.reader(io.StringIO(to_csv([TABLE]))))
    assert rows == [list(TABLE.header), *[[entry.text for entry in row] for row in TABLE.rows]]


def test_markdown_keeps_its_columns() -> None:
    lines = [line for line in to_markdown([TABLE]).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert "**93.53 ± 0.52**" in lines[2]
    assert "<script" not in to_markdown([TABLE]).replace("\\<", "")


def test_a_table_without_rows_is_its_notes() -> None:
    empty = Table("Ranks", ("method", "mean rank"), (), ("none: too few tasks.",))
    assert to_markdown([empty]) == "## Ranks\n\n- none: too few tasks.\n"


UNSEEN = "\x1b]0;x\x07 \u202edlrow \x9b31m"


@pytest.mark.parametrize("write", [to_markdown, to_latex, to_csv, to_html])
def test_no_character_reaches_a_file_that_a_terminal_would_act_on(write: Callable[[list[Table]], str]) -> None:
    hostile = Table(UNSEEN, ("a", "b"), (TableSection(UNSEEN, ((Entry(UNSEEN), Entry(UNSEEN, True)),)),), (UNSEEN,))
    written = write([hostile])
    assert not any(map(is_harmful, written.replace("\n", "")))
    shown = LatexNodes2Text().latex_to_text(written) if write is to_latex else written.replace("\\\\", "\\")
    assert shown.count("u202edlrow") == (2 if write is to_csv else 5)


def test_notes_too_long_for_a_footnote_are_comments_that_end_with_their_line() -> None:
    notes = ("first\n\\input{secret}\r\\bad", "second")
    table = replace(TABLE, notes=notes, name="accuracy", caption="What it shows.", footnote="Short.")
    written = to_latex([table], "grid-")
    assert "\n% first \\input{secret}" in written
    assert r"\label{tab:grid-accuracy}" in written
    assert r"\caption{What it shows.}" in written
    text = LatexNodes2Text().latex_to_text(written)
    assert "Short." in text
    assert not any(word in text for word in ("first", "secret", "second", "A title"))
