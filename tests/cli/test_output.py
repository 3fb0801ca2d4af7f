"""Tables at every width: each number and word whole, no line too long, and nothing missing."""

import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from fewshot_km.cli.output import print_rows, print_table
from fewshot_km.reports.table import Entry, Table, TableSection

NUMBERS = st.one_of(
    st.floats(-100, 100).map("{:+.2f}".format),
    st.integers(0, 10**9).map("{:,}".format),
    st.tuples(st.floats(0, 100), st.floats(0, 9), st.integers(1, 9999)).map("{0[0]:.2f} ± {0[1]:.2f} ({0[2]})".format),
)
WORDS = st.lists(st.sampled_from(["maml", "km-maml", "Hu & Liu", "2022", "画像", "of_trained_models", "0.0934"]))
TEXTS = WORDS.map(" ".join)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    count, words = draw(st.integers(2, 9)), draw(st.integers(1, 2))
    header = draw(st.lists(st.sampled_from(["p (Holm)", "adapted parameters", "n", "± seeds (n)"]), min_size=count - 1))
    header = ["task" if draw(st.booleans()) else "method", *header[: count - 1]]
    entries = st.tuples(*(TEXTS if place < words else NUMBERS for place in range(len(header))))
    rows = draw(st.lists(entries.map(lambda texts: tuple(map(Entry, texts))), min_size=1, max_size=4))
    title = draw(st.sampled_from(["", "published, not ours"]))
    return Table("A title", tuple(header), (TableSection(title, tuple(rows)),), (draw(TEXTS),), words)


def shown(table: Table, width: int | None) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr("sys.stdout", out)
        patch.setenv("COLUMNS", str(width or 0))
        print_table(table)
    return out.getvalue().splitlines()


@settings(max_examples=60)
@given(tables(), st.integers(40, 200))
def test_no_width_breaks_a_number_or_loses_a_word(table: Table, width: int) -> None:
    lines = shown(table, width)
    assert "…" not in "".join(lines)
    found = Counter(word.strip(",") for line in lines for word in line.split())
    for row in table.rows:
        for word in " ".join(entry.text for entry in row).split():
            assert found[word.strip(",")], word
    assert max(cell_len(line) for line in lines) <= width


@settings(max_examples=30)
@given(tables())
def test_a_pipe_has_a_line_for_each_row(table: Table) -> None:
    """All of its numbers are in it, however many columns there are."""
    lines = shown(table, None)
    assert not any(line.startswith("(") for line in lines)
    if table.header[0] != "task":  # else what all rows of a task share stands above them
        for row in table.rows:
            assert any(all(entry.text in line for entry in row) for line in lines)


def test_numbers_that_do_not_fit_side_by_side_come_in_several_tables_that_name_their_rows() -> None:
    numbers = tuple(f"{n}.{n}{n} ± 0.1{n}" for n in range(1, 8))
    table = Table(
        "T", ("method", *(f"task-{n}" for n in range(7))), (TableSection("", (tuple(map(Entry, ("m", *numbers))),)),)
    )
    lines = shown(table, 40)
    assert lines[1] == "(4 tables, as the columns do not fit"
    assert " ".join(next(line for line in lines if line.startswith("m ")).split()) == "m 1.11 ± 0.11 2.22 ± 0.12"
    assert sum(line.startswith("method ") for line in lines) == 4


def test_texts_stand_one_under_the_other_where_they_do_not_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("outer.iterations", "whole number from 1", "60000", "Outer steps. 60,000: MAML's schedule.")]
    header = ("key", "value", "default", "what it is, and why the default")
    monkeypatch.setenv("COLUMNS", "60")
    print_rows(header, rows)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "outer.iterations",
        "  value: whole number from 1",
        "  default: 60000",
        "  what it is, and why the default:",
        "    Outer steps. 60,000: MAML's schedule.",
    ]
    monkeypatch.delenv("COLUMNS")
    print_rows(header, rows)
    _, line = capsys.readouterr().out.splitlines()
    assert all(text in line for text in rows[0])
