"""The outer gradient of several tasks as one compiled program: the operations of the vmap backend, fused.

The step is traced once, from the inner loop's forward pass to the outer gradient, and handed to torch's compiler, which
keeps its results in a cache on disk: minutes the first time, seconds after that. On a GPU the program is a CUDA graph
besides, so that the thousands of small operations of a step are launched as one.
"""

import math
import os
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fewshot_km.accel.agreement import agreeing
from fewshot_km.accel.replacing import ReplacedOperations, pair, replaced_forwards
from fewshot_km.data.episodes import Episode
from fewshot_km.data.storage import cache_root
from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import Learner, Params, TaskContext
from fewshot_km.models.modulation import KernelModulator
from fewshot_km.training.plain import OuterGradient

Step = Callable[[Learner, Params, Episode, TaskContext], OuterGradient]
Program = Callable[..., tuple[Params, Tensor, Tensor]]
"""(meta, support_x, support_y, query_x, query_y) -> summed gradient, losses [T], accuracies [T]."""

_aten = torch.ops.aten
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_USERS_CACHE = os.environ.get(_CACHE_VARIABLE)  # before torch names a temporary folder there, as it will

_PROGRAMS: WeakKeyDictionary[Learner, dict[tuple[Any, ...], Program]] = WeakKeyDictionary()


# Measured on two cores, second order, strided network: ANIL with one step, 239 operations, 175 s; MAML with one, 848,
# 316 s; KM-MAML with one, 1,179, 378 s; MAML with five, 3,744, 1,822 s beside other work.
COMPILE_SECONDS, SECONDS_PER_OPERATION = 80, 0.3


class _Counting(TorchDispatchMode):
    """Counts the operations of torch that run within it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


def expected_seconds(run_one: Callable[[], object]) -> float:
    """A rough estimate of the seconds to compile the outer gradient; `run_one` runs it plainly for one task."""
    counted = _Counting()
    with counted:
        run_one()
    return COMPILE_SECONDS + SECONDS_PER_OPERATION * counted.operations


def run_compiled(
    outer_gradient: Step, learner: Learner, meta: Params, episode: Episode, context: TaskContext
) -> OuterGradient:
    """The result of `outer_gradient`, by a program for these shapes; the first call compiles it.

    Raises ConfigError for a learner with a loss of its own, and whatever the compiler raises, as where it knows an
    operation too little or finds no C++ compiler.
    """
    if hasattr(learner, "task_loss"):  # its loss at one iteration would be compiled for all
        raise ConfigError("backend 'compiled' cannot run a learner with its own task_loss: choose 'vmap'")
    inputs = (meta, episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    shapes = [(tensor.shape, tensor.dtype, tensor.device) for tensor in (*meta.values(), *inputs[1:])]
    key = (context.steps, *shapes)
    programs = _PROGRAMS.setdefault(learner, {})
    if key not in programs:
        programs[key] = _compile(outer_gradient, learner, inputs, context)
    gradient, losses, accuracies = programs[key](*inputs)
    if losses.is_cuda:  # the next run of a CUDA graph writes to the same memory
        gradient = {name: value.clone() for name, value in gradient.items()}
        losses, accuracies = losses.clone(), accuracies.clone()
    return OuterGradient(gradient, losses, accuracies)


def _compile(outer_gradient: Step, learner: Learner, inputs: tuple[Any, ...], context: TaskContext) -> Program:
    os.environ[_CACHE_VARIABLE] = _USERS_CACHE or str(cache_root() / "compiled")
    on_gpu = inputs[1].is_cuda
    graph = trace(outer_gradient, learner, inputs, context)
    program: Program = torch.compile(graph, dynamic=False, mode="max-autotune" if on_gpu else None)
    return program


def trace(outer_gradient: Step, learner: Learner, inputs: tuple[Any, ...], context: TaskContext) -> GraphModule:
    """The program before it is compiled: plain operations, with derivatives and the task axis spelled out."""

    forwards = agreeing({KernelModulator: _modulate}, next(iter(inputs[0].values())).dtype)

    def step(meta: Params, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> tuple[Params, Tensor, Tensor]:
        operations = {torch.conv2d: _conv2d, F.conv2d: _conv2d}
        with ReplacedOperations(operations), replaced_forwards(learner, forwards):
            found = outer_gradient(learner, meta, Episode(sx, sy, qx, qy), context)
        return found.gradient, found.losses, found.accuracies

    table = None if inputs[1].is_cuda else _PRECISE
    # among tensors without values: with them, the memory of every step of every task would be held at once
    graph: GraphModule = make_fx(step, decomposition_table=table, tracing_mode="fake")(*inputs)
    return graph


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution as a matrix product, faster than a grouped convolution where kernels differ by task.

    Slices gather the windows: the compiler fuses their derivatives with what is around them.
    """
    if isinstance(padding, str) or x.ndim != 4 or groups != 1 or dilation not in (1, (1, 1), [1, 1]):
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    (s_h, s_w), (p_h, p_w) = pair(stride), pair(padding)
    filters, channels, k_h, k_w = weight.shape
    images, _, height, width = x.shape
    rows, cols = (height + 2 * p_h - k_h) // s_h + 1, (width + 2 * p_w - k_w) // s_w + 1
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, p_w, p_w, p_h, p_h))
    seen = [
        x[:, i : i + s_h * (rows - 1) + 1 : s_h, j : j + s_w * (cols - 1) + 1 : s_w]
        for i in range(k_h)
        for j in range(k_w)
    ]
    y = torch.cat(seen, -1).reshape(-1, k_h * k_w * channels) @ weight.permute(2, 3, 1, 0).reshape(-1, filters)
    y = y.view(images, rows, cols, filters)
    return (y if bias is None else y + bias).permute(0, 3, 1, 2)


def _modulate(modulator: KernelModulator, weight: Tensor) -> Tensor:
    """The modulator's formula transposed: products of nine rows are faster than of nine columns.

    The result lies in memory as `_conv2d` reads it. Saves 7 % of a step of KM-MAML (results/speed/fast_paths.md).
    """
    filters, channels, k_h, k_w = weight.shape
    kernels = weight.permute(2, 3, 1, 0).reshape(k_h * k_w, channels * filters)
    modulated = modulator.u2.T @ torch.tanh(modulator.u1.T @ kernels)
    return modulated.view(k_h, k_w, channels, filters).permute(3, 2, 0, 1)


def _sum(x: Tensor, dim: list[int] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """One dimension after the other, images before pixels."""
    dims = sorted(d % x.ndim for d in (dim or range(x.ndim)))
    if len(dims) < 2 or dtype is not None:
        return NotImplemented
    for d in dims:
        x = _aten.sum.dim_IntList(x, [d], True)
    return x if keepdim else _aten.squeeze.dims(x, dims)


def _var_mean(
    x: Tensor, dim: list[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Any:
    """Mean, then the mean square of what deviates from it."""
    if not dim or correction != 0:
        return NotImplemented
    count = math.prod(x.shape[d] for d in dim)
    mean = _aten.sum.dim_IntList(x, dim, True) / count
    var = _aten.sum.dim_IntList((x - mean).square(), dim, True) / count
    return (var, mean) if keepdim else (var.squeeze(dim), mean.squeeze(dim))


# The compiler's loops on a CPU add up thousands of numbers one after the other; in float32 that costs a digit, and more
# inputs of a ReLU end up on its other side. A sum of sums does not, and is no slower. A GPU sums up in trees anyway.
_PRECISE: dict[Any, Callable[..., Any]] = {
    **get_decompositions([_aten.native_batch_norm, _aten.native_batch_norm_backward]),
    _aten.sum.dim_IntList: _sum,
    _aten.var_mean.correction: _var_mean,
}
