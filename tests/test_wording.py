"""One thing is no plural."""

import pytest

from fewshot_km.wording import counted, every


@pytest.mark.parametrize(("number", "text"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells"), (1000, "1,000 cells")])
def test_numbers_of_things(number: int, text: str) -> None:
    assert counted(number, "cell") == text
    assert every(number, "cell") == (text if number == 1 else f"all {text}")


def test_plurals_that_take_more_than_an_s() -> None:
    assert [counted(n, "process", "processes") for n in (1, 2)] == ["1 process", "2 processes"]
