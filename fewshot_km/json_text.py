"""JSON of others, read within bounds."""

import json
from typing import Any

from pydantic_core import from_json


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds; raises ValueError, also for nesting and for integers that nothing we do could handle."""
    from_json(text)  # refuses 200 levels of nesting, at which Python's own parser, or who walks through it, overflows
    return json.loads(text)  # refuses integers of over 4,300 digits, which Python prints no more
