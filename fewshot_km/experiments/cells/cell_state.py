"""All that a cell goes on from, and its form in a checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from fewshot_km.learners import Params
from fewshot_km.training.history import NOT_BEGUN, Reached
from fewshot_km.training.training_state import group_of, join_groups


@dataclass(frozen=True)
class CellState:
    """What the finished stages of a cell have found, and the state of the one amid which it was kept.

    stage    the stage to run next
    weights  the meta-parameters that the finished stages have come to
    tensors  the stage's own tensors, with its own facts; both are empty where it begins
    facts    what JSON has
    results  numbers that sum up the finished stages, for the record
    files    what the finished stages write beside the record, by name
    reached  how far training has come
    """

    stage: str
    weights: Params
    tensors: Params = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    reached: Reached = NOT_BEGUN

    def amid(self, tensors: Params, facts: Mapping[str, Any], reached: Reached) -> "CellState":
        """The state while its stage runs."""
        return replace(self, tensors=tensors, facts=facts, reached=reached)

    def found(
        self, results: Mapping[str, Any], files: Mapping[str, bytes], weights: Params | None = None
    ) -> "CellState":
        """The state once its stage has found this; `weights` are new ones, if it made any."""
        return replace(
            self,
            weights=self.weights if weights is None else weights,
            results={**self.results, **results},
            files={**self.files, **files},
        )

    def to(self, device: torch.device) -> "CellState":
        """The state with its tensors on a device."""
        weights, own = ({n: v.to(device) for n, v in group.items()} for group in (self.weights, self.tensors))
        return replace(self, weights=weights, tensors=own)

    def pack(self) -> tuple[Params, dict[str, Any]]:
        """Named tensors and facts, as a checkpoint holds them."""
        files = {name: torch.frombuffer(bytearray(content), dtype=torch.uint8) for name, content in self.files.items()}
        facts = {"stage": self.stage, "own": self.facts, "results": self.results, "reached": asdict(self.reached)}
        return join_groups({"weights": self.weights, "own": self.tensors, "files": files}), facts

    @classmethod
    def unpack(cls, tensors: Params, facts: Mapping[str, Any]) -> "CellState":
        """What `pack` was called on."""
        files = {name: value.numpy().tobytes() for name, value in group_of(tensors, "files").items()}
        return cls(
            facts["stage"],
            group_of(tensors, "weights"),
            group_of(tensors, "own"),
            facts["own"],
            facts["results"],
            files,
            Reached(**facts["reached"]),
        )
