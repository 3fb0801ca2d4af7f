"""Texts of others, made safe to look at."""

import re

from markupsafe import Markup

# control characters but tab and line feed, what turns the direction of writing, and halves of UTF-16 pairs, which no
# file can hold: a name could hide behind them, or change the order of what stands beside it
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(value: object) -> object:
    r"""A text with what cannot be seen written out, such as "\u202e"; markup and anything but texts as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
