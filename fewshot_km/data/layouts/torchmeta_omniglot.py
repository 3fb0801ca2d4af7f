"""torchmeta's HDF5 file of Omniglot, read as if it were a folder of drawings."""

import io
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import IO

from PIL import Image

from fewshot_km.data.files.trees import IMAGE_LIMIT, FileTree
from fewshot_km.data.layouts.torchmeta_files import count_arrays, read_arrays

SHAPE = (105, 105)  # of a drawing


class Hdf5Tree(FileTree):
    """The drawings of both halves as PNG files <half>/<Alphabet>/characterNN/0_MM.png.

    MM is a drawing's position in the file, which is the order in which torchmeta's machine listed a folder: which of
    the twenty was published under which number, the file does not tell.
    """

    def __init__(self, tree: FileTree, name: str) -> None:
        super().__init__(tree.path / name)
        self._tree, self._name = tree, name

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every drawing; raises DataError where the file is damaged or something else."""
        counts = count_arrays(self._tree, self._name, SHAPE, top="")
        return tuple(_file(path, position) for path, count in counts.items() for position in range(count))

    def read(
        self,
        names: Collection[str],
        limit: int = IMAGE_LIMIT,  # noqa: ARG002 - a drawing of known size comes near no limit
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the wanted drawings, dark ink on white as they were published."""
        wanted = frozenset(names)
        for path, position, drawing in read_arrays(self._tree, self._name, SHAPE, top=""):
            file = _file(path, position)
            if file in wanted:
                out = io.BytesIO()
                Image.fromarray(255 - drawing).save(out, "PNG")
                yield file, out.getvalue()

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """One drawing."""
        return io.BytesIO(self.read_one(name))

    def fingerprint(self) -> list[object]:
        """That of the folder or archive in which the file lies."""
        return [self._name, *self._tree.fingerprint()]


def _file(path: str, position: int) -> str:
    return f"{path}/0_{position + 1:02d}.png"
