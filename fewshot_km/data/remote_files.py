"""The files of published data sets that can be fetched: addresses, checksums and places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    url       its address
    md5       its checksum as published
    folder    the folder of the data root in which it belongs
    elsewhere other folders of the data root in which people have it
    """

    url: str
    md5: str
    folder: str
    elsewhere: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its address."""
        return urlsplit(self.url).path.rpartition("/")[2]

    def target(self, data_root: Path) -> Path:
        """The path to which the file is fetched."""
        return data_root / self.folder / self.name

    def places(self, data_root: Path) -> tuple[Path, ...]:
        """All paths at which the file may lie: in the data root itself, in its folder, or elsewhere."""
        others = (data_root / folder / self.name for folder in self.elsewhere)
        return data_root / self.name, self.target(data_root), *others


_OMNIGLOT_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
_OMNIGLOT_ELSEWHERE = ("omniglot-py", "omniglot/omniglot-py", "python", "omniglot/python")  # torchvision's; a clone's
OMNIGLOT_FILES = tuple(
    RemoteFile(f"{_OMNIGLOT_URL}/{name}", md5, "omniglot", _OMNIGLOT_ELSEWHERE)
    for name, md5 in (
        ("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
        ("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
    )
)
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
CIFAR100_FILES = (RemoteFile(_CIFAR_URL, "eb9058c3a382ffc7106e4002c42a8d85", "cifar-100"),)
_CUB_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
CUB_FILES = (RemoteFile(_CUB_URL, "97eceeb196236b17998738112f37df78", "cub"),)

FETCHABLE: Mapping[str, Sequence[RemoteFile]] = {
    "omniglot": OMNIGLOT_FILES,
    "omniglot-vinyals": OMNIGLOT_FILES,
    "cifar-fs": CIFAR100_FILES,
    "fc100": CIFAR100_FILES,
    "cub": CUB_FILES,
}
