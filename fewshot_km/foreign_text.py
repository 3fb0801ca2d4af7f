"""Texts of others (file names, class names, keys, errors of plug-ins), made safe to look at and to open."""

import re

MOST_LETTERS = 2000  # of a line on a terminal: a page of it, and more than any message of ours has

# control characters but tab and line feed, what turns the direction of writing, what is invisible and no part of any
# script, and halves of UTF-16 pairs, which no file can hold: a name could command the terminal, hide behind them, or
# change the order of what stands beside it
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
# what spreadsheets take for a formula, which may read files and call programs; but a number, alone or with its ±
_FORMULA = re.compile(r"(?![-+][0-9.]+(?:[eE][-+]?[0-9]+)?(?: ± [0-9.]+)?\Z)[=+\-@\t]")


def visible(text: str) -> str:
    r"""The text with what cannot be seen written out, such as "\u202e"; lines and letters of any script stay."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str, most: int = MOST_LETTERS) -> str:
    """The text as one line that can be seen; of more than `most` characters the middle is left out, and counted."""
    if len(text) > most:
        half = most // 2  # where it is stands at a message's beginning, how to mend it at its end
        text = f"{text[:half]} ... ({len(text) - 2 * half:,} characters) ... {text[-half:]}"
    return visible(re.sub(r"[ \t]*[\t\r\n]\s*", " ", text).strip())


def csv_field(text: str) -> str:
    """The text as a field of a CSV file: visible, and behind a ' where a spreadsheet would take it for a formula."""
    seen = visible(text)
    return f"'{seen}" if _FORMULA.match(seen) else seen
