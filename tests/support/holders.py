"""One set of files in everything that can hold files, and what is to be said of a tree that cannot be read."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fewshot_km.data.files.archives import open_tree
from fewshot_km.errors import DataError
from tests.support.made_files import tarred, write, zipped

FILES = {
    "list.csv": b"file,class\n",
    "n01/a.png": b"alpha" * 300,
    "n01/b.png": b"",
    "n02/deep/down/c.jpg": bytes(range(256)) * 5,
    "n02/\u00fcn\u00ef.jpg": b"\0" * 2000,
}
Write = Callable[[Path, Mapping[str, bytes]], Path]


def stored(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def into(suffix: str, pack: Callable[[Mapping[str, bytes]], bytes]) -> Write:
    def written(folder: Path, files: Mapping[str, bytes]) -> Path:
        path = folder / f"made{suffix}"
        path.write_bytes(pack(files))
        return path

    return written


def as_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    write(folder / "made", files)
    return folder / "made"


HOLDERS: dict[str, Write] = {
    "folder": as_folder,
    "zip": into(".zip", zipped),
    "zip, stored": into(".ZIP", stored),
    "tar": into(".tar", lambda files: tarred(files, "")),
    "tar.gz": into(".tar.gz", tarred),
    "tgz": into(".tgz", tarred),
    "tar.bz2": into(".tar.bz2", lambda files: tarred(files, "bz2")),
    "tar.xz": into(".tar.xz", lambda files: tarred(files, "xz")),
}
ARCHIVES = {kind: held for kind, held in HOLDERS.items() if kind != "folder"}


def contents(path: Path) -> dict[str, bytes]:
    """All that is in a tree, in the order of its names; and read() must not lose or make up any."""
    tree = open_tree(path)
    read = dict(tree.read(tree.names))
    assert sorted(read) == sorted(tree.names)
    return {name: read[name] for name in tree.names}


def refusal(path: Path) -> str:
    """What is said about a tree whose names, or else contents, cannot be had."""
    with pytest.raises(DataError) as caught:
        contents(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)
