"""Whether this process is one of several that share meta-batches, as its environment says."""

import os

RANK, WORLD_SIZE, LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"  # of a process's environment, as torchrun sets them


def launched() -> bool:
    """Whether this process was started as one of several, by torchrun or by ourselves."""
    return RANK in os.environ and WORLD_SIZE in os.environ


def follows() -> bool:
    """Whether this process was started to follow rank 0."""
    return launched() and int(os.environ[RANK]) > 0
