"""TOML of a grid file or an option, within the bounds of what can be a setting."""

import re
import tomllib
from typing import Any

from fewshot_km.errors import ConfigError

MOST_LEVELS = 16  # of tables and lists in one another: the keys of a grid file have four, options of plug-ins some more

_KEY = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
# tomllib's work and memory grow with the square of a dotted key's parts; no text in quotes looks like so long a one
_DEEP_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_KEY}[ \t]*+\.[ \t]*+){{{MOST_LEVELS}}}")
_TOO_DEEP = f"tables or lists stand in one another more than {MOST_LEVELS} levels deep"
_TOO_LONG = "a whole number has more than 64 bits: write one from -2^63 to 2^63 - 1"


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text; raises TOMLDecodeError for another text.

    Raises ConfigError for whole numbers beyond 64 bits, which TOML (1.0.0, "Integer") has no more of, and for tables
    and lists too deep in one another, which neither records nor messages could hold.
    """
    if _DEEP_KEY.search(text):
        raise ConfigError(_TOO_DEEP)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ConfigError(_TOO_DEEP) from None
    except ValueError:  # Python's own bound on a number's digits
        raise ConfigError(_TOO_LONG) from None
    _check_values(tables)
    return tables


def _check_values(tables: dict[str, Any]) -> None:
    level: list[Any] = [tables]
    for _ in range(MOST_LEVELS):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ConfigError(_TOO_LONG)
        level = inner
    if level:
        raise ConfigError(_TOO_DEEP)
