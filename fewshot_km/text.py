"""Texts in messages and files: numbers of things in words, and foreign texts made safe to show, to open and to read.

Foreign texts are file names, class names, keys and messages of plug-ins: whatever comes from outside this package.
"""

import json
import re
from typing import Any

from pydantic_core import from_json

MOST_LETTERS = 2000  # of a line on a terminal: a page, and more than any message of ours has

# Control characters but tab and line feed, marks that turn the direction of writing, marks that are invisible and part
# of no script, and halves of UTF-16 pairs, which no file can hold. With them a name could command the terminal, hide,
# or change the order of the text beside it.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
# What spreadsheets take for a formula, which may read files and call programs. A number, with or without ±, is none.
_FORMULA = re.compile(r"(?![-+][0-9.]+(?:[eE][-+]?[0-9]+)?(?: ± [0-9.]+)?\Z)[=+\-@\t]")


def visible(text: str) -> str:
    r"""Write out the characters that cannot be seen, as "\u202e"; line ends and letters of any script stay."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str, most: int = MOST_LETTERS) -> str:
    """Make the text one visible line; of a text longer than `most` characters, leave out the middle and count it."""
    if len(text) > most:
        half = most // 2  # a message begins with the place and ends with the mend
        text = f"{text[:half]} ... ({len(text) - 2 * half:,} characters) ... {text[-half:]}"
    return visible(re.sub(r"[ \t]*[\t\r\n]\s*", " ", text).strip())


def csv_field(text: str) -> str:
    """Make the text a field of a CSV file: visible, and after a ' where a spreadsheet would take it for a formula."""
    seen = visible(text)
    return f"'{seen}" if _FORMULA.match(seen) else seen


def parse_json(text: str | bytes) -> Any:
    """Parse foreign JSON; raises ValueError, also for nesting and integers too large for anything else to handle."""
    from_json(
        text
    )  # refuses 200 levels of nesting, at which Python's own parser, or whoever walks the result, overflows
    return json.loads(text)  # refuses integers of over 4,300 digits, which Python cannot print


def counted(number: int, thing: str, things: str = "") -> str:
    """Return "1 cell", "2 cells" or "1,000 cells"; `things` is the plural where it takes more than an s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def every(number: int, thing: str) -> str:
    """Return "all 3 cells", but "1 cell"."""
    return f"all {counted(number, thing)}" if number != 1 else counted(1, thing)
