"""Normalisation layers by mode, and the names of their scales and shifts. Tables print the mode: it is protocol."""

import math
from typing import get_args

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from fewshot_km.errors import ConfigError
from fewshot_km.models.backbone_registry import AffineChoice, NormMode

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


def uses_batch_statistics(network: nn.Module) -> bool:
    """Whether a norm layer of torch's normalises by the batch at test too, where images then see one another."""
    return any(isinstance(module, _BatchNorm) and module.running_mean is None for module in network.modules())


_NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)  # the first: instance norm, too
_SCALES, _SHIFTS = ("weight", "gamma", "scale"), ("bias", "beta", "shift")
_CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def norm_parameter_names(network: nn.Module, choice: str = "full") -> list[str]:
    """Names of the norm layers' (gamma, beta) among `network.named_parameters()`: full, bias, or none of them.

    Norm layers are torch's own, and modules of other classes whose own parameters are one number per channel, or a
    scale and a shift of one shape; the attribute `affine` of such a module decides, where it has one. Raises
    ConfigError for another choice, and for a parameter that may be a scale or a shift but has no such name.
    """
    if choice not in get_args(AffineChoice):
        raise ConfigError(f"unknown norm_affine '{choice}'; known: {', '.join(get_args(AffineChoice))}")
    known = {name for name, _ in network.named_parameters()}  # one of them that two layers share has one name
    found = [
        (f"{name}.{parameter}" if name else parameter, parameter in _SHIFTS)
        for name, module in network.named_modules()
        for parameter in _scale_and_shift(name, module)
    ]
    wanted = {"full": (True, False), "bias": (True,), "none": ()}[choice]
    return [name for name, is_shift in found if is_shift in wanted and name in known]


def _scale_and_shift(name: str, module: nn.Module) -> list[str]:
    """The names of a norm layer's own parameters; [] for another module."""
    own = {parameter: value.shape for parameter, value in module.named_parameters(recurse=False)}
    by_torch = next(k for k in type_before_parametrizations(module).__mro__ if k.__module__.split(".")[0] == "torch")
    if isinstance(module, _NORM_LAYERS) and is_parametrized(module):
        raise ConfigError(
            f"'{name}': the scale or shift of a norm layer is parametrized, which norm_affine cannot adapt"
        )
    if by_torch not in _CONTAINERS:
        return list(own) if isinstance(module, _NORM_LAYERS) else []
    affine = getattr(module, "affine", None)
    per_channel = {parameter for parameter, shape in own.items() if _is_per_channel(shape)}
    called = {parameter for parameter in own if parameter in (*_SCALES, *_SHIFTS)}
    is_pair = called == set(own) and len(own) == 2 and len(set(own.values())) == 1
    if affine is False or not own:
        return []
    if affine is True or is_pair or per_channel == set(own):
        in_doubt = set(own) - called
    else:  # with a matrix among them, a bias is a layer's, and what is called like a norm's may be one
        in_doubt = {parameter for parameter in per_channel if parameter in ("gamma", "beta", "scale", "shift")}
        called = set()
    if in_doubt:
        raise ConfigError(
            f"'{name}' ({type(module).__name__}): its '{min(in_doubt)}' may be a norm's scale or shift: if it is, call "
            "it weight or bias, in a module of its own; if not, set `affine = False` on the module"
        )
    return [parameter for parameter in own if parameter in called]


def _is_per_channel(shape: torch.Size) -> bool:
    """True for [C], [C, 1, 1] and [1, C, 1, 1]."""
    if len(shape) == 1:
        return True
    if len(shape) == 3:
        return math.prod(shape[1:]) == 1
    return len(shape) > 3 and shape[0] == 1 and math.prod(shape[2:]) == 1
