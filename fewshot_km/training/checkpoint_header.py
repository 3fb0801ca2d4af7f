"""What a checkpoint says beside its tensors, read without them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

VERSION = "2"  # raise it with any change of what is written; files of another version are not read


class DamagedCheckpointError(Exception):
    """A file is not a whole checkpoint of this version."""


@dataclass(frozen=True)
class Header:
    """The metadata of a checkpoint: the state but for its tensors, as JSON, and the digest of everything."""

    state: str
    digest: str


@dataclass(frozen=True)
class Reached:
    """How far meta-training has come: seconds of work, and the best validation accuracy so far (None: none yet)."""

    iteration: int
    seconds: float
    best_val_accuracy: float | None


def read_header(path: Path) -> Header:
    """Raises DamagedCheckpointError, or FileNotFoundError where there is none. The tensors are not looked at."""
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedCheckpointError(" ".join(str(error).split())) from error
    if metadata.get("version") != VERSION:
        raise DamagedCheckpointError("it was written by another version")
    return Header(metadata.get("state", ""), metadata.get("digest", ""))


def read_reached(path: Path) -> Reached:
    """Raises DamagedCheckpointError and FileNotFoundError as `read_header` does."""
    header = read_header(path)
    try:
        state: dict[str, Any] = json.loads(header.state)
        return Reached(state["iteration"], state["seconds"], state["best"] and state["best"][1])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DamagedCheckpointError("its content is not what was written") from error
