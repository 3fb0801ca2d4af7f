"""Group norm of channels-last maps: its backward crashes in torch 2.13 on a CPU where the maps need no gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_group_norm = F.group_norm


def group_norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Normalise as torch does; where maps [M, C, H, W] need no gradient but others may, copy them to torch's layout."""
    if x.ndim == 4 and torch.is_grad_enabled() and not x.requires_grad:
        x = x.contiguous()
    return _group_norm(x, *args, **kwargs)
