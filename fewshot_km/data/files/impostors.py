"""What a file holds instead of the data that its name promises."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from fewshot_km.data.files.trees import FileTree
from fewshot_km.errors import DataError

HEAD = 1024  # bytes of a file that are looked at
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def name_impostor(head: bytes) -> str | None:
    """What a file is by its first bytes, if these are such as hosts send instead of data; None otherwise."""
    start = head[:HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<") and (b"<!doctype html" in start or b"<html" in start):
        return "a web page"
    return "a Git LFS pointer" if start.startswith(_LFS_POINTER) else None


def describe_impostor(head: bytes) -> str | None:
    """The same as the end of a sentence about the file, with what to do; None for anything else."""
    name = name_impostor(head)
    if name == "a web page":
        return (
            "is a web page, not the data: hosts send one instead of a file when a quota is used up or a login is "
            "needed. Open it to see what the host says, and put the file itself in its place"
        )
    return name and f"is {name}, not the data: run `git lfs pull` where it was cloned, or fetch the file itself"


@contextmanager
def open_data(tree: FileTree, name: str) -> Iterator[IO[bytes]]:
    """A file of a tree, open at its beginning; raises DataError where it is what hosts send instead of data."""
    with tree.open(name) as file:
        impostor = describe_impostor(file.read(HEAD))
        if impostor:
            raise DataError(f"{tree}: '{name}' {impostor}")
        file.seek(0)
        yield file
