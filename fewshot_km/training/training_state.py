"""The state of meta-training, as named tensors and facts that JSON has."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fewshot_km.learners.base import Params
from fewshot_km.training.history import HistoryRow


@dataclass(frozen=True)
class Best:
    """The meta-parameters that have validated best so far, the earliest among equals."""

    meta: Params
    iteration: int
    val_accuracy: float


@dataclass(frozen=True)
class TrainingState:
    """All that meta-training goes on from: a training that was stopped ends with the bytes of one that was not.

    Episodes and random numbers are functions of the iteration, and need no state. `optimiser` is the optimiser's own
    state, {} before the first iteration; `losses` and `accuracies` are those of the iterations since the last row of
    the history.
    """

    iteration: int
    meta: Params
    optimiser: Params = field(default_factory=dict)
    best: Best | None = None
    history: list[HistoryRow] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def before(cls, meta: Params) -> "TrainingState":
        """The state before the first iteration."""
        return cls(0, meta)

    def pack(self) -> tuple[Params, dict[str, Any]]:
        """All tensors under flat names, and the rest as JSON has it."""
        best = self.best
        tensors = join_groups({"meta": self.meta, "optimiser": self.optimiser, "best": best.meta if best else {}})
        return tensors, {
            "iteration": self.iteration,
            "best": best and [best.iteration, best.val_accuracy],
            "history": [asdict(row) for row in self.history],
            "losses": self.losses,
            "accuracies": self.accuracies,
            "seconds": self.seconds,
        }

    @classmethod
    def unpack(cls, tensors: Params, facts: Mapping[str, Any]) -> "TrainingState":
        """What `pack` was called on."""
        return cls(
            facts["iteration"],
            group_of(tensors, "meta"),
            group_of(tensors, "optimiser"),
            facts["best"] and Best(group_of(tensors, "best"), *facts["best"]),
            [HistoryRow(**row) for row in facts["history"]],
            facts["losses"],
            facts["accuracies"],
            facts["seconds"],
        )


def join_groups(groups: Mapping[str, Params]) -> Params:
    """Flat names "group/name"."""
    return {f"{group}/{name}": value for group, params in groups.items() for name, value in params.items()}


def group_of(tensors: Params, group: str) -> Params:
    """One of the groups that `join_groups` joined."""
    return {name.removeprefix(f"{group}/"): value for name, value in tensors.items() if name.startswith(f"{group}/")}
