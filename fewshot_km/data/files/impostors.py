"""Files that hold something else than the data that their names promise: a web page, a Git LFS pointer."""

HEAD = 1024  # bytes of a file that are looked at
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def name_impostor(head: bytes) -> str | None:
    """What a host has sent instead of a file, by the first bytes of it; None for anything else."""
    start = head[:HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<") and (b"<!doctype html" in start or b"<html" in start):
        return "a web page"
    return "a Git LFS pointer" if start.startswith(_LFS_POINTER) else None


def describe_impostor(head: bytes) -> str | None:
    """What name_impostor finds, as the end of a sentence about the file, with what to do; None for anything else."""
    name = name_impostor(head)
    if name == "a web page":
        return (
            "is a web page, not the data: hosts send one instead of a file when a quota is used up or a login is "
            "needed. Open it to see what the host says, and put the file itself in its place"
        )
    return name and f"is {name}, not the data: run `git lfs pull` where it was cloned, or fetch the file itself"
