"""The arithmetic floor: floating-point operations of an iteration, and the rate of a large matrix product."""

import time
from typing import Any

import torch
from contestant import Case
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fewshot_km.accel.backends import BACKENDS

MATRIX = 2048  # rows and columns: large enough for a processor's full rate


class _CountOperations(TorchDispatchMode):
    """By torch's own formulas; its counter cannot follow modules through torch.func.functional_call."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.total += operations_of(func, args, kwargs or {}, out)
        return out


def operations_of(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Floating-point operations of a call of torch's, where it is a convolution or a product; else 0."""
    known = func.overloadpacket in flop_registry
    return int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)) if known else 0


def count_operations(case: Case) -> dict[str, int]:
    """Floating-point operations of the convolutions and matrix products of one iteration, by learner."""
    counts = {}
    for name in ("maml", "anil", "km-maml"):
        learner, meta = case.make_learner(name)
        with _CountOperations() as counter:
            BACKENDS["fused"].outer_gradient(learner, meta, case.draw(range(1)), case.context())
        counts[name] = case.tasks * counter.total
    return counts


def matrix_rate(threads: int, device: str) -> float:
    """Floating-point operations a second of a large matrix product."""
    torch.set_num_threads(threads)
    matrix = torch.rand(MATRIX, MATRIX, device=device)
    float((matrix @ matrix)[0, 0])
    began = time.perf_counter()
    for _ in range(4):
        product = matrix @ matrix
    float(product[0, 0])  # waits for a GPU
    return 4 * 2 * MATRIX**3 / (time.perf_counter() - began)
