"""A network is a backbone and a linear head; backbones are found by name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_km.errors import ConfigError
from fewshot_km.registry import Registry

BackboneFactory = Callable[..., nn.Module]
"""(image_shape, **options) -> module that maps images [M, C, H, W] to features [M, F]."""

NETWORKS: Registry[BackboneFactory] = Registry("network", "networks", given=1)


class Network(nn.Module):
    """A backbone [M, C, H, W] -> [M, F] and a linear head [M, F] -> logits [M, ways].

    Raises ConfigError for a backbone with running statistics: a task must not see what other tasks left behind.
    """

    def __init__(self, backbone: nn.Module, ways: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        for name, buffer in backbone.named_buffers():
            if "running" in name and buffer is not None:
                raise ConfigError(
                    f"the backbone keeps running statistics ('{name}'), which leak between tasks: build its norm "
                    "layers with track_running_stats=False, or use group norm"
                )
        self.backbone = backbone
        with torch.no_grad():
            features = backbone(torch.zeros(2, *image_shape))
        if features.ndim != 2:
            raise ConfigError(f"a backbone must return features [M, F]; this one returned {list(features.shape)}")
        self.head = nn.Linear(features.shape[1], ways)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [M, ways] of images [M, C, H, W]."""
        logits: Tensor = self.head(self.backbone(x))
        return logits


def build_network(name: str, options: Mapping[str, Any], image_shape: tuple[int, int, int], ways: int) -> Network:
    """The registered backbone `name` with its options and a head for `ways` classes.

    Raises UnknownNameError, or ConfigError for an option that the backbone does not take or a value it refuses.
    """
    backbone = NETWORKS.get(name)(image_shape, **NETWORKS.options(name, options))
    return Network(backbone, ways, image_shape)
