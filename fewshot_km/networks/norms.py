"""Normalisation layers by mode. The mode is part of the protocol: tables print it."""

from typing import Literal, get_args

from torch import nn

from fewshot_km.errors import ConfigError

NormMode = Literal["batch", "group"]

CHANNELS_PER_GROUP = 8
"""Channels that share statistics in mode `group`: 8 of 64 is the proportion of Wu & He 2018 (32 groups of 256)."""


def make_norm(mode: str, channels: int) -> nn.Module:
    """A norm layer with scale and shift for [M, channels, H, W].

    batch  each batch's own statistics, at training and at test: transductive at test, as in MAML and its followers
    group  statistics of each image over groups of channels: no image sees another

    Raises ConfigError for another mode, or channels that do not fill whole groups.
    """
    if mode == "batch":
        return nn.BatchNorm2d(channels, track_running_stats=False)
    if mode == "group":
        if channels % CHANNELS_PER_GROUP:
            raise ConfigError(f"norm 'group' needs a multiple of {CHANNELS_PER_GROUP} channels, not {channels}")
        return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)
    raise ConfigError(f"unknown norm '{mode}'; known norms: {', '.join(get_args(NormMode))}")


AffineChoice = Literal["full", "bias", "none"]
"""Which norm parameters an inner loop adapts: scale and shift, shift only, or neither."""

_NORM_LAYERS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def norm_parameter_names(network: nn.Module, choice: str = "full") -> list[str]:
    """Names of the norm layers' (gamma, beta) among `network.named_parameters()`: full, bias, or none of them.

    Raises ConfigError for another choice.
    """
    if choice not in get_args(AffineChoice):
        raise ConfigError(f"unknown norm_affine '{choice}'; known: {', '.join(get_args(AffineChoice))}")
    return [
        f"{name}.{parameter}" if name else parameter
        for name, module in network.named_modules()
        if isinstance(module, _NORM_LAYERS)
        for parameter, _ in module.named_parameters(recurse=False)
        if choice == "full" or (choice == "bias" and parameter == "bias")
    ]
