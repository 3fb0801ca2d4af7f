"""What people call their splits: the words in names of folders, files and columns that stand for one."""

import re
from functools import lru_cache

SPLIT_WORDS = {
    "train": ("train", "training", "trainval", "trn", "base", "seen", "metatrain", "metatraining", "metabase"),
    "val": ("val", "valid", "validation", "dev", "metaval", "metavalid", "metavalidation", "metadev"),
    "test": (
        *("test", "testing", "tst", "novel", "eval", "evaluation", "unseen", "holdout", "heldout"),
        *("metatest", "metatesting", "metanovel"),
    ),
}
"""Split -> what it is called, lower case and letters only; base and novel are Chen et al.'s (A Closer Look)."""

_OWNER = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_THINGS = "images?|imgs?|pictures?|photos?|dataset|set|classes|class|split|part|folder|files?|list|filelist"
_GLUED = re.compile(rf"(?:{_THINGS})?({'|'.join(_OWNER)})(?:{_THINGS}|data)?")  # but a database is no base
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def split_called(name: str) -> str | None:
    """The split that a whole name stands for, whatever its case: Train, meta-test, val2017, testImages; else None."""
    found = _GLUED.fullmatch("".join(letter for letter in name.casefold() if letter.isalpha()))
    return _OWNER[found[1]] if found else None


def split_and_rest(name: str) -> tuple[str, str] | None:
    """The one split that a name mentions, and what else is in it, as birds in birds_train; None without just one."""
    splits = splits_in(name)
    if len(splits) != 1:
        return None
    rest = "" if split_called(name) else " ".join(part for part in _PARTS.findall(name) if part.lower() not in _OWNER)
    return next(iter(splits)), rest


@lru_cache(maxsize=1 << 16)  # asked for each image, of which folders are few
def splits_in(name: str) -> frozenset[str]:
    """The splits that a name mentions: one where all of it stands for one, else those of its parts (birds_Train)."""
    whole = split_called(name)
    if whole:
        return frozenset([whole])
    return frozenset(_OWNER[part.lower()] for part in _PARTS.findall(name) if part.lower() in _OWNER)
