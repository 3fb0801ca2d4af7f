"""Made-up files, name -> content, as folders and archives."""

import io
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from fewshot_km.data.files.names import sort_key
from fewshot_km.data.files.trees import IMAGE_LIMIT, FileTree

Files = Mapping[str, bytes]


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


class MadeTree(FileTree):
    """Files in memory."""

    def __init__(self, files: Files) -> None:
        super().__init__(Path("/made"))
        self.files = files

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(sorted(self.files, key=sort_key))

    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        yield from ((name, self.files[name]) for name in names)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return io.BytesIO(self.files[name])

    def fingerprint(self) -> list[object]:
        return [sorted(self.files)]


def below(folder: str, files: Files) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def zipped(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: Files, mode: str = "gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def encoded(pixels: npt.NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """An image file of pixels [H, W, 3], or [H, W] for a grey one."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()
