"""Texts of others: what a terminal or a spreadsheet would act on is gone, and what a person reads is still there."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.reports.results_frame import csv_text
from fewshot_km.text import MOST_LETTERS, counted, csv_field, every, one_line, visible
from tests.support.harmful_text import is_harmful

HARMFUL = st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]) | st.characters(codec=None), max_size=50)
FIELDS = st.builds(str.__add__, st.sampled_from(["", "=", "+", "-", "@", "\t", "\r", "-1", "+.5", "-1e3"]), HARMFUL)


@given(HARMFUL)
def test_nothing_that_a_terminal_acts_on_is_left(text: str) -> None:
    assert not any(map(is_harmful, one_line(text)))
    one_line(text).encode()  # no halves of pairs


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"])))
def test_letters_of_any_script_are_left_as_they_are(text: str) -> None:
    assert visible(text) == text


def test_what_is_written_out_can_be_read() -> None:
    assert visible("a\x00b\u2066\ud800\n\tc") == "a\\u0000b\\u2066\\ud800\n\tc"
    assert one_line("a\x1b[31mb\r\n\tc  d") == "a\\u001b[31mb c  d"
    assert visible("Aé漢\u05d0\u200d") == "Aé漢\u05d0\u200d"  # letters of any direction, joined


@pytest.mark.parametrize("letter", ["k", "\x1b", "\n"])
def test_a_long_text_is_cut_in_the_middle_and_says_how_much_is_gone(letter: str) -> None:
    text = one_line("where: " + letter * 10_000_000 + ": how to mend it")
    assert len(text) < 7 * MOST_LETTERS
    assert text.startswith("where: ")
    assert text.endswith(": how to mend it")
    assert f"{10_000_000 + 7 + 16 - MOST_LETTERS:,} characters" in text


@given(FIELDS)
def test_a_spreadsheet_takes_no_field_for_a_formula(text: str) -> None:
    field = csv_field(text)
    if field[:1] in set("=+-@\t\r"):
        float(field)  # it is a number
    assert field in (visible(text), "'" + visible(text))


@pytest.mark.parametrize(("text", "field"), [("-0.25", "-0.25"), ("+1.5 ± 0.25", "+1.5 ± 0.25"), ("-1+A1", "'-1+A1")])
def test_numbers_stay_numbers(text: str, field: str) -> None:
    assert csv_field(text) == field


@given(st.lists(st.tuples(FIELDS, st.floats() | st.none(), st.integers(-9, 9)), min_size=1, max_size=5))
def test_a_frame_keeps_its_numbers_and_its_texts_are_safe(rows: list[tuple[str, float | None, int]]) -> None:
    frame = pd.DataFrame(rows, columns=["text", "real", "whole"])
    for one in (frame, frame.convert_dtypes()):
        read = list(csv.reader(io.StringIO(csv_text(one), newline="")))
        assert read[0] == list(frame.columns)
        assert [row[0] for row in read[1:]] == [csv_field(text) for text, *_ in rows]
        assert [int(row[2]) for row in read[1:]] == [whole for *_, whole in rows]
        numbers = [float(row[1] or "nan") for row in read[1:]]
        assert np.array_equal(numbers, [np.nan if real is None else real for _, real, _ in rows], equal_nan=True)


@pytest.mark.parametrize(("number", "text"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells"), (1000, "1,000 cells")])
def test_numbers_of_things(number: int, text: str) -> None:
    assert counted(number, "cell") == text
    assert every(number, "cell") == (text if number == 1 else f"all {text}")


def test_plurals_that_take_more_than_an_s() -> None:
    assert [counted(n, "process", "processes") for n in (1, 2)] == ["1 process", "2 processes"]
