"""TOML within bounds: what passes is what tomllib reads, and what is beyond is refused in time and memory."""

import json
import tomllib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.settings.toml_text import MOST_LEVELS, parse_toml


def nested(levels: int, text: str = "[]") -> str:
    """Lists in one another, or tables."""
    return f"a = {text[0] * levels}{text[1] * levels}" if text == "[]" else f"a = {'{b = ' * levels}1{'}' * levels}"


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(-(2**63), 2**63 - 1) | st.lists(st.booleans())))
def test_what_is_within_bounds_is_what_tomllib_reads(tables: dict[str, Any]) -> None:
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in tables.items())
    assert parse_toml(text) == tomllib.loads(text) == tables


@given(st.integers(2**63, 2**80), st.sampled_from(["", "-"]), st.sampled_from(["{}", "[1, {}]", "{{ b = {} }}"]))
def test_whole_numbers_beyond_64_bits_are_refused_wherever_they_stand(number: int, sign: str, shape: str) -> None:
    if sign and number == 2**63:
        number += 1
    with pytest.raises(ConfigError, match="64 bits: write one from -2"):
        parse_toml("a = " + shape.format(f"{sign}{number}"))


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 500_000, "0x" + "f" * 5000])
def test_thousands_of_digits_are_refused(digits: str) -> None:
    with pytest.raises(ConfigError, match="64 bits"):
        parse_toml(f"a = {digits}")


@pytest.mark.parametrize("levels", [MOST_LEVELS, 300, 3000, 100_000])
@pytest.mark.parametrize("text", ["[]", "{}"])
def test_what_is_too_deep_is_refused(levels: int, text: str) -> None:
    with pytest.raises(ConfigError, match=f"more than {MOST_LEVELS} levels deep"):
        parse_toml(nested(levels, text))


@pytest.mark.parametrize(
    "line", ["{} = 1", "[{}]", "[[{}]]", " {} = 1", '"b".{} = 1', "x = {{ {} = 1 }}", "x = [{{{} = 1}}]"]
)
def test_a_dotted_key_of_any_length_is_refused_at_once(line: str) -> None:
    """tomllib would take memory for the square of its parts."""
    with pytest.raises(ConfigError, match=f"more than {MOST_LEVELS} levels deep"):
        parse_toml(line.format(".".join(["a"] * 200_000)))


def test_as_deep_as_can_be_is_read() -> None:
    for text in (nested(MOST_LEVELS - 2), nested(MOST_LEVELS - 2, "{}"), ".".join("a" * (MOST_LEVELS - 1)) + " = 1"):
        assert parse_toml(text) == tomllib.loads(text)


def test_what_is_no_toml_is_said_in_time() -> None:
    """Whatever is looked for beforehand is looked for in one pass."""
    for part in ("-", '"', "'", " ", "a ", "a.", '"a"', '"".', "[", "{", "#", "\n", "\\", "a\t"):
        with suppress(tomllib.TOMLDecodeError, ConfigError):
            parse_toml("a" + part * 300_000)


def test_what_is_no_toml_is_said_as_tomllib_says_it() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        parse_toml("a = ")
