"""Values and derivatives of functions of tensors, to compare implementations by."""

from collections.abc import Callable

import torch
from torch import Tensor


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def derivatives(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Value, first and second derivatives along fixed directions, with respect to every input."""
    value = function(*inputs)
    g = numbers(*value.shape, seed=1).detach().to(value.dtype).requires_grad_()
    first = torch.autograd.grad(value, inputs, g, create_graph=True)
    along = [numbers(*f.shape, seed=2 + i).detach().to(value.dtype) for i, f in enumerate(first)]
    second = torch.autograd.grad(first, [*inputs, g], along, materialize_grads=True, allow_unused=True)
    return [value, *first, *second]


def names_in_graph(result: Tensor) -> str:
    """Names of all operations that a result was computed by."""
    seen, left = [], [result.grad_fn]
    while left:
        node = left.pop()
        if node is not None:
            seen.append(node.name())
            left += [f for f, _ in node.next_functions]
    return " ".join(seen)
