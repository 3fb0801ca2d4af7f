"""A network is a backbone and a linear head; backbones are found by name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_km.errors import ConfigError
from fewshot_km.models.backbone_registry import NETWORKS


class Network(nn.Module):
    """A backbone [M, C, H, W] -> [M, F] and a linear head [M, F] -> logits [M, ways].

    A backbone that states F in an attribute `features` is believed; another one is called to find it out. Raises
    ConfigError for one that then shows running statistics under any name: a task must not see what others left behind.
    """

    def __init__(self, backbone: nn.Module, ways: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.backbone = backbone
        known = getattr(backbone, "features", None)
        self.head = nn.Linear(known if isinstance(known, int) else _count_features(backbone, image_shape), ways)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [M, ways] of images [M, C, H, W]."""
        logits: Tensor = self.head(self.backbone(x))
        return logits


def _count_features(backbone: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """F, as two images show."""
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))  # leaves the global one alone
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    with torch.no_grad():
        features = backbone(images)
    _check_keeps_nothing(backbone, before)
    if features.ndim != 2:
        raise ConfigError(f"a backbone must return features [M, F]; this one returned {list(features.shape)}")
    return int(features.shape[1])


def _check_keeps_nothing(backbone: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Raise ConfigError where a backbone has changed its buffers since `before`, or is built to keep statistics."""
    after = dict(backbone.named_buffers())
    changed = [name for name in {**before, **after} if name not in before or not _same(before[name], after.get(name))]
    named = [name for name in after if "running" in name.rpartition(".")[2]]
    tracking = [name for name, module in backbone.named_modules() if getattr(module, "track_running_stats", False)]
    if found := [*named, *changed, *tracking]:
        raise ConfigError(
            f"the backbone keeps running statistics ('{found[0]}'), which leak between tasks: build its norm layers "
            "with track_running_stats=False, or use group norm; a buffer must not change when the network is called"
        )


def _same(a: Tensor, b: Tensor | None) -> bool:
    return b is not None and a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def build_network(name: str, options: Mapping[str, Any], image_shape: tuple[int, int, int], ways: int) -> Network:
    """The registered backbone `name` with its options and a head for `ways` classes.

    Raises UnknownNameError, or ConfigError for an option that the backbone does not take or a value it refuses.
    """
    backbone = NETWORKS.get(name)(image_shape, **NETWORKS.options(name, options))
    return Network(backbone, ways, image_shape)
