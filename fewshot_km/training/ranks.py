"""The processes that share the tasks of a meta-batch, and what they exchange: sums, and objects of rank 0."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from fewshot_km.learners.base import Params

PATIENCE = timedelta(hours=24)  # ranks wait while the first reads a data set; a dead one is noticed at once


CPU = torch.device("cpu")


class LostRankError(RuntimeError):
    """An exchange broke off: another process that shares the meta-batches has ended."""


@dataclass(frozen=True)
class Ranks:
    """One of `size` processes that run the same program; rank 0 alone speaks to the user and writes files.

    `device` is the process's own.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def share(self, items: range) -> range:
        """The items that this rank does: every size-th, so that shares differ by one at most."""
        return items[self.rank :: self.size]

    def sum(self, tensors: Params) -> Params:
        """Sums over all ranks of tensors of one device and precision, exchanged as one message.

        Raises LostRankError where another process has ended.
        """
        if self.size == 1:
            return tensors
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
        with _noticing_losses():
            dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors.values()])  # type: ignore[no-untyped-call]
        return {name: part.view_as(tensor) for (name, tensor), part in zip(tensors.items(), parts, strict=True)}

    def from_first(self, value: Any = None) -> Any:
        """Return rank 0's value on every rank; raises LostRankError where another process has ended."""
        if self.size == 1:
            return value
        box = [value]
        with _noticing_losses():
            dist.broadcast_object_list(box, src=0)
        return box[0]


ALONE = Ranks()


@contextmanager
def _noticing_losses() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what the transport library raises, in words of its own
        raise LostRankError("a process that shares the meta-batches was lost") from error


def join(rank: int, size: int, device: torch.device, meeting: str = "env://") -> Ranks:
    """Meet the other processes at `meeting`, an `init_method` of torch.distributed; `device` is this process's own."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=size, timeout=PATIENCE)
    return Ranks(rank, size, device)


def leave() -> None:
    """Leave the other processes, if this one has met any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def own_device(device: torch.device, rank: int) -> torch.device:
    """The GPU of a local rank where `device` is "cuda" without a number; any other device as it is."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", rank % torch.cuda.device_count())
    return device
