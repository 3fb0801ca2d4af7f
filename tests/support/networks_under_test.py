"""The papers' two networks, and smaller ones of the same make for checks that need many evaluations."""

from dataclasses import dataclass, field
from typing import Any

from fewshot_km.learners import TaskContext
from fewshot_km.models import Network, build_network


@dataclass(frozen=True)
class PaperNetwork:
    ways: int
    image_shape: tuple[int, int, int]
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Network:
        return build_network("conv4", self.options, self.image_shape, self.ways)

    def context(self, steps: int, shots: int = 2) -> TaskContext:
        return TaskContext(self.ways, shots, self.image_shape, steps)


OMNIGLOT_20_WAY = PaperNetwork(20, (1, 28, 28), {"filters": 64, "downsampling": "stride"})
MINI_IMAGENET_5_WAY = PaperNetwork(5, (3, 84, 84), {"filters": 32, "downsampling": "pool"})
SMALL_STRIDED = PaperNetwork(3, (1, 28, 28), {"filters": 8, "downsampling": "stride"})
SMALL_POOLED = PaperNetwork(3, (2, 16, 20), {"filters": 8, "downsampling": "pool"})
SMALL_GROUP = PaperNetwork(3, (1, 28, 28), {"filters": 8, "downsampling": "stride", "norm": "group"})
SMALL_NETWORKS = {"strided": SMALL_STRIDED, "pooled": SMALL_POOLED, "group": SMALL_GROUP}
