"""A checkpoint: named tensors and facts in a file that is whole or not there, and whose damage is noticed.

It is a safetensors file with the facts, as JSON, and a digest of everything in its metadata. torch is imported only
where tensors are read or written: whoever lists cells does without.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from fewshot_km.data.storage import write_bytes

if TYPE_CHECKING:
    from fewshot_km.learners.base import Params

VERSION = "2"  # raise it with any change of what is written; files of another version are not read


class DamagedCheckpointError(Exception):
    """A file is not a whole checkpoint of this version."""


def save_checkpoint(path: Path, tensors: "Params", facts: Mapping[str, Any]) -> None:
    """Write tensors and facts; raises OSError where the disk is full or cannot be written."""
    from safetensors.torch import save

    tensors = {name: value.contiguous() for name, value in tensors.items()}
    text = json.dumps(facts)  # a float's text gives back the same float
    content = save(tensors, {"version": VERSION, "facts": text, "digest": _digest(tensors, text)})
    write_bytes(path, content, durable=True)


def load_checkpoint(path: Path) -> "tuple[Params, dict[str, Any]]":
    """Tensors and facts; raises DamagedCheckpointError, or FileNotFoundError where there is no file."""
    metadata = _metadata(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedCheckpointError(" ".join(str(error).split())) from error
    if metadata.get("digest") != _digest(tensors, metadata.get("facts", "")):
        raise DamagedCheckpointError("its content is not what was written")
    facts: dict[str, Any] = json.loads(metadata["facts"])
    return tensors, facts


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, whose damage may go unnoticed; raises as `load_checkpoint` does."""
    try:
        facts = json.loads(_metadata(path).get("facts", ""))
    except ValueError as error:
        raise DamagedCheckpointError("its content is not what was written") from error
    return facts if isinstance(facts, dict) else {}


def _metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, "np") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedCheckpointError(" ".join(str(error).split())) from error
    if metadata.get("version") != VERSION:
        raise DamagedCheckpointError("it was written by another version")
    return metadata


def _digest(tensors: "Params", text: str) -> str:
    from safetensors.torch import save

    return hashlib.sha256(text.encode() + save(tensors)).hexdigest()
