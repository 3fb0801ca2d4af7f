"""Whether a module does what its class is known to do, so that what it does can be written out elsewhere."""

from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.parametrize import type_before_parametrizations

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_exactly(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether it is of that class and no subclass, and neither a hook nor a `forward` of its own changes what it does.

    Its parameters may be parametrized: they are what they are when they are asked for.
    """
    hooked = bool(torch_module._has_any_global_hook()) or any(getattr(module, hooks) for hooks in _HOOKS)  # type: ignore[no-untyped-call]
    return type_before_parametrizations(module) is kind and "forward" not in vars(module) and not hooked
