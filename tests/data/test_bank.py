"""The image bank: what goes in comes out, on disk as in memory, and its digest knows every change."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data import Dataset
from fewshot_km.data.bank import ImageBank
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec, bank_tensor
from fewshot_km.data.splits import Split
from fewshot_km.errors import DataError

Images = npt.NDArray[np.uint8]
NAMES = ("α/один", "b", "c")
COUNTS = (3, 1, 5)


def classes(counts: Sequence[int] = COUNTS, shape: tuple[int, int, int] = (3, 6, 4), seed: int = 0) -> list[Images]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (n, *shape), dtype=np.uint8) for n in counts]


@pytest.fixture
def bank() -> ImageBank:
    return ImageBank.from_classes(NAMES, classes())


def test_images_are_grouped_by_class(bank: ImageBank) -> None:
    assert bank.images.shape == (9, 3, 6, 4)
    assert bank.starts.tolist() == [0, 3, 4, 9]
    assert bank.counts.tolist() == [3, 1, 5]
    assert bank.image_shape == (3, 6, 4)
    for c, images in enumerate(classes()):
        np.testing.assert_array_equal(bank.images[bank.starts[c] : bank.starts[c + 1]], images)


def test_class_index_finds_names_and_lists_those_it_lacks(bank: ImageBank) -> None:
    assert bank.class_index(["c", "α/один"]).tolist() == [2, 0]
    with pytest.raises(DataError, match="2 classes are missing from the images: x, y"):
        bank.class_index(["x", "b", "y"])


@pytest.mark.parametrize(
    ("names", "images", "complaint"),
    [
        (("a", "b"), classes(), "2 names, 3 arrays"),
        ((), [], "0 names, 0 arrays"),
        (("a", "b", "a"), classes(), "must be unique; these occur more than once: a"),
        (("a", "b"), [*classes((1,)), *classes((1,), (3, 4, 6))], "class 'b' holds uint8 images of shape"),
        (("a",), [np.zeros((1, 1, 4, 4), np.float32)], "class 'a' holds float32 images"),
        (("a",), [np.zeros((1, 4, 4), np.uint8)], "class 'a'"),
    ],
    ids=["too few names", "nothing", "name twice", "two shapes", "floats", "no channel axis"],
)
def test_what_is_no_bank_is_refused(names: Sequence[str], images: list[Images], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        ImageBank.from_classes(names, images)


def test_the_same_content_has_the_same_digest(bank: ImageBank) -> None:
    again = ImageBank.from_classes(list(NAMES), [np.asfortranarray(a) for a in classes()])
    assert again.digest == bank.digest
    assert len(bank.digest) == 64


@given(st.integers(0, 9 * 3 * 6 * 4 - 1), st.integers(1, 255))
def test_one_changed_pixel_changes_the_digest(position: int, change: int) -> None:
    stacked = np.concatenate(classes())
    digest = ImageBank.from_classes(NAMES, np.split(stacked, [3, 4])).digest
    stacked.reshape(-1)[position] ^= change
    assert ImageBank.from_classes(NAMES, np.split(stacked, [3, 4])).digest != digest


def test_names_order_counts_and_shape_change_the_digest(bank: ImageBank) -> None:
    stacked = np.concatenate(classes())
    others = [
        ImageBank.from_classes(("α/один", "b", "d"), classes()),
        ImageBank.from_classes(("α/один", "c", "b"), classes()),
        ImageBank.from_classes(NAMES, np.split(stacked, [4, 5])),
        ImageBank.from_classes(NAMES, np.split(stacked.reshape(9, 3, 4, 6), [3, 4])),
    ]
    assert len({b.digest for b in (bank, *others)}) == 5


def test_a_saved_bank_is_mapped_into_memory_unchanged(bank: ImageBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npy")
    opened = ImageBank.open(tmp_path / "bank.npy")
    assert opened is not None
    assert isinstance(opened.images, np.memmap)
    np.testing.assert_array_equal(opened.images, bank.images)
    assert opened.class_names == NAMES
    assert opened.starts.tolist() == bank.starts.tolist()
    assert opened.digest == bank.digest
    assert opened.is_intact()


def test_a_mapped_bank_cannot_be_written_into(bank: ImageBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank.npy")
    before = (tmp_path / "bank.npy").read_bytes()
    opened = ImageBank.open(tmp_path / "bank.npy")
    assert opened is not None
    with pytest.raises(ValueError, match="read-only"):
        opened.images[:] = 0
    assert (tmp_path / "bank.npy").read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="needs POSIX to know the memory's size")
def test_a_bank_larger_than_memory_can_be_opened_and_read(tmp_path: Path) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = 2 * memory // (1 << 20)
    path = tmp_path / "bank.npy"
    with path.open("wb") as file:  # sparse: it takes no room
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, 1, 1024, 1024)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        try:
            file.truncate(start + count * (1 << 20))
        except OSError:
            pytest.skip("this file system has no sparse files of that size")
        file.seek(-1, 2)
        file.write(b"\x33")
    path.with_suffix(".json").write_text(json.dumps({"digest": "", "class_names": ["a"], "counts": [count]}))
    opened = ImageBank.open(path)
    assert opened is not None
    dataset = Dataset("large", opened, {"test": Split("test", np.array([[0]]), "")})
    sampler = EpisodeSampler(dataset, "test", TaskSpec(1, 1, 1), Stream("test", 0))
    assert sampler.draw([0]).support_x.shape == (1, 1, 1, 1024, 1024)
    assert bank_tensor(opened)[-1, 0, -1, -1] == 0x33


def test_one_flipped_bit_on_disk_is_noticed(bank: ImageBank, tmp_path: Path) -> None:
    path = tmp_path / "bank.npy"
    bank.save(path)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    opened = ImageBank.open(path)
    assert opened is not None
    assert not opened.is_intact()


@pytest.mark.parametrize("harm", ["array gone", "index gone", "array cut", "index cut", "index of another", "floats"])
def test_a_part_of_a_bank_is_no_bank(bank: ImageBank, tmp_path: Path, harm: str) -> None:
    path, index = tmp_path / "bank.npy", tmp_path / "bank.json"
    bank.save(path)
    if harm == "array gone":
        path.unlink()
    elif harm == "index gone":
        index.unlink()
    elif harm == "array cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "index cut":
        index.write_text(index.read_text(encoding="utf-8")[:-10], encoding="utf-8")
    elif harm == "index of another":
        index.write_text(json.dumps({"digest": bank.digest, "class_names": ["a", "b"], "counts": [3, 4]}))
    else:
        np.save(path, bank.images.astype(np.float32))
    assert ImageBank.open(path) is None


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from fewshot_km.data import Dataset
from fewshot_km.data.bank import ImageBank
from fewshot_km.data.splits import Split
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec, bank_tensor
images = [np.full((400, 1, 28, 28), c, np.uint8) for c in range(20)]
bank = ImageBank.from_classes([str(c) for c in range(20)], images)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    bank.save(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_processes_that_build_the_same_bank_at_once_leave_one_whole_bank(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "bank.npy"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        for _ in range(2)
    ]
    assert [w.stdout.readline() for w in writers if w.stdout] == ["ready\n"] * 2
    for writer in writers:
        if writer.stdin:
            writer.stdin.write("go\n")
            writer.stdin.flush()
    while any(w.poll() is None for w in writers):
        seen = ImageBank.open(path)  # a reader among them sees a whole bank or none
        assert seen is None or seen.is_intact()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    bank = ImageBank.open(path)
    assert bank is not None
    assert bank.is_intact()
    assert sorted(p.name for p in path.parent.iterdir()) == ["bank.json", "bank.npy"]
