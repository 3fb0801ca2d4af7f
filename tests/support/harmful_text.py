"""What a terminal acts on, by Unicode's tables."""

import unicodedata

TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # Unicode's classes of what turns directions


def is_harmful(letter: str) -> bool:
    """Whether a terminal acts on it, by Unicode's tables."""
    return unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(letter) in TURNING
