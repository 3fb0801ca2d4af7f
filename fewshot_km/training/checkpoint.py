"""The state of meta-training in a file, whole or not there, whose damage is noticed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fewshot_km.data.storage import write_bytes
from fewshot_km.learners.base import Params
from fewshot_km.training.checkpoint_header import VERSION, DamagedCheckpointError, read_header
from fewshot_km.training.history import HistoryRow
from fewshot_km.training.outer_loop import Best, TrainingState


def save_checkpoint(path: Path, state: TrainingState, how: Mapping[str, Any]) -> None:
    """Write a state, and `how` it came about, in values that JSON has.

    The file is a safetensors file: parameters, Adam's moments and the best parameters so far, with the rest in its
    metadata, and a digest of everything. Raises OSError where the disk is full or cannot be written.
    """
    groups = {"meta": state.meta, "first": state.first_moments, "second": state.second_moments}
    if state.best is not None:
        groups["best"] = state.best.meta
    tensors = {
        f"{group}/{name}": value.contiguous() for group, params in groups.items() for name, value in params.items()
    }
    rest = {
        "iteration": state.iteration,
        "best": None if state.best is None else [state.best.iteration, state.best.val_accuracy],
        "history": [asdict(row) for row in state.history],
        "losses": state.losses,
        "accuracies": state.accuracies,
        "seconds": state.seconds,
        "how": dict(how),
    }
    text = json.dumps(rest)  # a float's text gives back the same float
    content = save(tensors, {"version": VERSION, "state": text, "digest": _digest(tensors, text)})
    write_bytes(path, content, durable=True)


def load_checkpoint(path: Path) -> tuple[TrainingState, dict[str, Any]]:
    """The state and how it came about; raises DamagedCheckpointError, or FileNotFoundError where there is none."""
    header = read_header(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedCheckpointError(" ".join(str(error).split())) from error
    if header.digest != _digest(tensors, header.state):
        raise DamagedCheckpointError("its content is not what was written")
    rest = json.loads(header.state)

    def group(name: str) -> Params:
        return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}

    state = TrainingState(
        rest["iteration"],
        group("meta"),
        group("first"),
        group("second"),
        best=None if rest["best"] is None else Best(group("best"), *rest["best"]),
        history=[HistoryRow(**row) for row in rest["history"]],
        losses=rest["losses"],
        accuracies=rest["accuracies"],
        seconds=rest["seconds"],
    )
    return state, rest["how"]


def _digest(tensors: Params, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{value.dtype}{list(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
