"""A check that a module computes what its class says, so that other code may compute the same in its place."""

from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.parametrize import type_before_parametrizations

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_exactly(module: nn.Module, kind: type[nn.Module]) -> bool:
    """True for a module of this class, not of a subclass, that has no hook and no `forward` of its own.

    Its parameters may be parametrized.
    """
    hooked = bool(torch_module._has_any_global_hook()) or any(getattr(module, hooks) for hooks in _HOOKS)  # type: ignore[no-untyped-call]
    return type_before_parametrizations(module) is kind and "forward" not in vars(module) and not hooked
