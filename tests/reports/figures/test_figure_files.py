"""Figures as files: the same bytes anywhere, small, whole, and with any text from data."""

import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fewshot_km.reports.figures import draw_figures, draw_narrow, save_figures, svg_text
from fewshot_km.reports.figures.layout import label, text_width
from fewshot_km.reports.figures.report_figure import ReportFigure
from fewshot_km.reports.report import Report
from tests.support.harmful_text import is_harmful
from tests.support.made_up_report import grid_text, made_up_report

HOSTILE = (
    "cost $x_1$ and $\\frac{1}{",
    "$",
    "under_score^hat & <b> % #",
    "W" * 120,
    "a very long name of a method " * 6,
    "方法 naïve αβγ \u202eabc\x00\x1b[31m",
    "two\nlines\tand tabs",
    "",
)

ROOT = Path(__file__).resolve().parents[3]
AGAIN = """
import sys
from pathlib import Path
from tests.support.made_up_report import grid_text, made_up_report
from fewshot_km.reports.figures import draw_figures, save_figures
save_figures(draw_figures(made_up_report(Path(sys.argv[1]), grid_text(5))), Path(sys.argv[1]) / "figures")
"""


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    figures = draw_figures(made_up_report(tmp_path, grid_text(5)))
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None, "figure.dpi": 31, "savefig.dpi": 50}):
        written = save_figures(figures, tmp_path / "figures")
    assert {path.suffix for path in written} == {".svg", ".pdf", ".png", ".md"}
    assert all(path.is_file() for path in written)
    assert len(written) == 3 * len(figures) + 1
    other = tmp_path / "other"
    other.mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Pacific/Auckland"}
    subprocess.run([sys.executable, "-c", AGAIN, str(other)], check=True, env=environment, cwd=ROOT)
    assert digests(other / "figures") == digests(tmp_path / "figures")
    for figure in figures:
        assert svg_text(figure) == (tmp_path / "figures" / f"{figure.name}.svg").read_text(encoding="utf-8")
    captions = (tmp_path / "figures" / "captions.md").read_text(encoding="utf-8")
    assert all(figure.caption in captions for figure in figures)


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    long = "t" * 100  # as long as a label may be
    text = grid_text(5).replace('"task-0"', f'"{long}"')
    return made_up_report(tmp_path_factory.mktemp("hostile"), text, list(filter(None, HOSTILE)))


@pytest.fixture(scope="module")
def hostile(hostile_report: Report) -> list[ReportFigure]:
    return draw_figures(hostile_report)


@pytest.fixture(scope="module")
def of_both_widths(hostile: list[ReportFigure], hostile_report: Report) -> list[ReportFigure]:
    return [*hostile, *draw_narrow(hostile_report)]


def test_no_text_is_clipped(of_both_widths: list[ReportFigure]) -> None:
    for figure in of_both_widths:
        drawing = figure.drawing
        box = drawing.get_tightbbox(drawing.canvas.get_renderer())  # type: ignore[attr-defined]
        width, height = drawing.get_size_inches()
        assert box.x0 >= -0.01, figure.name
        assert box.y0 >= -0.01, figure.name
        assert box.x1 <= width + 0.01, figure.name
        assert box.y1 <= height + 0.01, figure.name


def test_titles_do_not_run_into_one_another(of_both_widths: list[ReportFigure]) -> None:
    for figure in of_both_widths:
        drawing = figure.drawing
        renderer = drawing.canvas.get_renderer()  # type: ignore[attr-defined]
        titles = [one.title for one in drawing.axes] + [one._left_title for one in drawing.axes]  # type: ignore[attr-defined]
        boxes = [title.get_window_extent(renderer) for title in titles if title.get_text()]
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n]), figure.name


def test_texts_of_ranks_and_kernels_do_not_run_into_one_another(of_both_widths: list[ReportFigure]) -> None:
    found = [figure for figure in of_both_widths if figure.name.startswith(("ranks", "kernels"))]
    assert len({figure.name for figure in found}) == len(found) / 2 > 1
    for figure in found:
        (axes,) = figure.drawing.axes
        renderer = figure.drawing.canvas.get_renderer()  # type: ignore[attr-defined]
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n]), figure.name


def test_nothing_is_mathematics(hostile: list[ReportFigure]) -> None:
    names = [text.get_text() for text in hostile[0].drawing.axes[0].get_yticklabels()]
    assert "cost $x_1$ and $\\frac{1}{" in names
    for figure in hostile:
        assert svg_text(figure)  # a mistake in mathematics would be raised here


def test_text_is_drawn_letter_by_letter_in_lines_that_fit() -> None:
    assert label("maml", 2) == "maml"
    assert label("  two\nlines\tand  tabs ", 5) == "two lines and tabs"
    assert label("方 \u202e\x00", 5) == "\\u65b9 \\u202e\\u0000"
    for text in HOSTILE:
        lines = label(text, 1.2)
        assert text_width(lines) <= 1.2
        if text.isascii() and text.isprintable():
            assert lines.replace("\n", "").replace(" ", "") == text.replace(" ", "")


def test_an_em_is_as_wide_as_the_font_says() -> None:
    """DejaVu Sans: the advance of W is 2025, of i 569, of 2048 units; the ink is a little less or more."""
    assert text_width("W" * 50, 10) == pytest.approx(50 * 10 / 72 * 2025 / 2048, rel=0.05)
    assert text_width("i" * 50, 10) == pytest.approx(50 * 10 / 72 * 569 / 2048, rel=0.05)


def test_svg_is_well_formed_small_and_its_ids_are_its_own(hostile: list[ReportFigure]) -> None:
    seen: set[str] = set()
    for figure in hostile:
        text = svg_text(figure)
        root = ET.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        ids = re.findall(r'\bid="([^"]*)"', text)
        assert all(name.startswith(f"{figure.name}-") for name in ids)
        assert not seen & set(ids)
        seen |= set(ids)
        references = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)
        assert {a or b for a, b in references} <= set(ids)
        assert "<text" not in text  # outlines: the same without the font
        assert "dc:date" not in text


def test_svg_of_an_ordinary_report_is_small(tmp_path: Path) -> None:
    for figure in draw_figures(made_up_report(tmp_path)):
        assert len(svg_text(figure)) < 200_000, figure.name


def test_png_is_as_wide_as_a_page(tmp_path: Path) -> None:
    (figure, *_) = draw_figures(made_up_report(tmp_path, grid_text(2)))
    save_figures([figure], tmp_path / "figures")
    with Image.open(tmp_path / "figures" / "accuracy.png") as image:
        assert image.width == 7 * 200
        assert image.info["Title"] == "Accuracy by task"
    assert b"/Subtype /Type3" not in (tmp_path / "figures" / "accuracy.pdf").read_bytes()


def test_titles_and_captions_command_no_terminal(tmp_path: Path) -> None:
    text = "\x1b]0;owned\x07 \u202eneddih"
    save_figures([ReportFigure("a", text, text, Figure())], tmp_path)
    seen = "\\u001b]0;owned\\u0007 \\u202eneddih"
    assert (tmp_path / "captions.md").read_text(encoding="utf-8") == f"**{seen}** (`a`). {seen}\n"
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert seen in svg
    assert not any(map(is_harmful, svg.replace("\n", "")))
    with Image.open(tmp_path / "a.png") as image:
        assert (image.info["Title"], image.info["Description"]) == (seen, seen)


def test_no_figure_no_file(tmp_path: Path) -> None:
    assert save_figures([], tmp_path / "figures") == []
    assert not (tmp_path / "figures").exists()
