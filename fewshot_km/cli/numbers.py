"""Numbers on the command line: in the digits 0 to 9, finite, and within bounds."""

import math
import re
from collections.abc import Callable

import typer


def whole_number(least: int, most: int) -> Callable[[str | int], int]:
    """A parser of whole numbers in these bounds; what it raises names the bounds."""

    def parse(value: str | int) -> int:
        text = str(value)
        number = int(text) if re.fullmatch("[0-9]{1,20}", text) else -1  # not Python's own: it takes any alphabet's
        if not least <= number <= most:
            raise typer.BadParameter(f"{text!r} is no whole number from {least:,} to {most:,}")
        return number

    return parse


def real_number(least: float, most: float) -> Callable[[str | float], float]:
    """A parser of numbers in these bounds; what it raises names the bounds."""

    def parse(value: str | float) -> float:
        text = str(value)
        number = float(text) if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?", text) else math.nan
        if not least <= number <= most:
            raise typer.BadParameter(f"{text!r} is no number from {least:,g} to {most:,g}")
        return number

    return parse
