"""Words for splits in the names of folders, files and columns."""

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
"""Split -> words for it, in lower case and letters only; base and novel are Chen et al.'s (A Closer Look)."""

_OWNER = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_THINGS = "images?|imgs?|pictures?|photos?|dataset|set|classes|class|split|part|folder|files?|list|filelist"
_GLUED = re.compile(rf"(?:{_THINGS})?({'|'.join(_OWNER)})(?:{_THINGS}|data)?")  # but a database is no base
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def split_called(name: str) -> str | None:
    """The split that a whole name stands for, in any case: Train, meta-test, val2017, testImages; else None."""
    found = _GLUED.fullmatch("".join(letter for letter in name.casefold() if letter.isalpha()))
    return _OWNER[found[1]] if found else None


def split_and_rest(name: str) -> tuple[str, str] | None:
    """The split that a name mentions and the rest of the name (train, birds in birds_train); None unless it is one."""
    splits = splits_in(name)
    if len(splits) != 1:
        return None
    rest = "" if split_called(name) else " ".join(part for part in _PARTS.findall(name) if part.lower() not in _OWNER)
    return next(iter(splits)), rest


@lru_cache(maxsize=1 << 16)  # asked for each image, of which folders are few
def splits_in(name: str) -> frozenset[str]:
    """The splits that a name mentions: the one that all of it stands for, else those of its parts (birds_Train)."""
    whole = split_called(name)
    if whole:
        return frozenset([whole])
    return frozenset(_OWNER[part.lower()] for part in _PARTS.findall(name) if part.lower() in _OWNER)
