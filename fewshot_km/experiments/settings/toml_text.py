"""Parse the TOML of a grid file or an option, within the bounds of what can be a setting."""

import re
import tomllib
from typing import Any

from fewshot_km.errors import ConfigError

MOST_LEVELS = 16  # of nested tables and lists: the keys of a grid file have four, options of plug-ins some more

_KEY = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
# tomllib's time and memory grow with the square of the number of parts of a dotted key
_DEEP_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_KEY}[ \t]*+\.[ \t]*+){{{MOST_LEVELS}}}")
_TOO_DEEP = f"tables or lists stand in one another more than {MOST_LEVELS} levels deep"
_TOO_LONG = "a whole number has more than 64 bits: write one from -2^63 to 2^63 - 1"


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text; raises TOMLDecodeError if it is no TOML.

    Raises ConfigError for whole numbers beyond 64 bits, the bound of TOML (1.0.0, "Integer"), and for tables and lists
    nested so deeply that records and messages could not hold them.
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
