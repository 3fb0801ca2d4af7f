"""The gain of each fast path of the backend `fused`: `python benchmarks/speed/fast_paths.py --learners maml`.

One thread computes outer gradients as meta-training would, with all paths, and with each of them switched off; they
take turns in one process. Prints a Markdown table: milliseconds of CPU time per task with all paths, medians of the
rounds, and how many times as long a task takes without each path, and by the plain backend. A path that brings less
than 5 % in every case is not worth its code. results/speed/fast_paths.md keeps a table.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

import torch
from cases import TRAINING
from contestant import Case, training_cases
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F

from fewshot_km.accel import backends
from fewshot_km.accel.backends import BACKENDS
from fewshot_km.accel.fused import convolution, normalisation
from fewshot_km.training.memory import keep_freed_memory

CASES = ["omniglot-strided-*", "omniglot-pooled-5w1s-*", "mini-imagenet-5w1s-*"]
in_one_go = normalisation.batch_norm_relu


def by_torch(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, pool: bool = False) -> Tensor:
    """Batch norm, ReLU and pooling, each by torch."""
    x = F.relu(torch.batch_norm(x, weight, bias, None, None, True, 0.1, eps, False))
    return F.max_pool2d(x, 2) if pool else x


def relu_apart(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, pool: bool = False) -> Tensor:
    """Batch norm by itself, then ReLU and pooling by torch."""
    x = F.relu(normalisation.batch_norm(x, None, None, weight, bias, True, 0.1, eps))
    return F.max_pool2d(x, 2) if pool else x


def pooling_apart(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, pool: bool = False) -> Tensor:
    """Batch norm and ReLU in one go, then pooling by torch."""
    x = in_one_go(x, weight, bias, eps)
    return F.max_pool2d(x, 2) if pool else x


def without(owner: Any, **replaced: Any) -> list[AbstractContextManager[Any]]:
    """Attributes of a module, replaced."""
    return [patch.object(owner, name, value) for name, value in replaced.items()]


PATHS: dict[str, Callable[[], list[AbstractContextManager[Any]]]] = {
    "all": lambda: [],
    "window products": lambda: without(convolution, _as_products=lambda *_: False),
    "second derivatives of convolutions": lambda: without(convolution, conv2d=F.conv2d),
    "batch norm": lambda: without(normalisation, batch_norm_relu=by_torch),
    "ReLU with it": lambda: without(normalisation, batch_norm_relu=relu_apart),
    "pooling with it": lambda: without(normalisation, batch_norm_relu=pooling_apart),
    "channels last": lambda: without(
        backends, kernels_channels_last=lambda meta: meta, episode_channels_last=lambda episode: episode
    ),
}


def measure(case: Case, learner_name: str, tasks: int, rounds: int) -> list[str]:
    """A row of the table."""
    learner, meta = case.make_learner(learner_name)
    episode, context = case.draw(range(tasks)), case.context()
    runs = [("fused", path) for path in PATHS.values()] + [("plain", PATHS["all"])]
    took: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):  # the first warms up
        for (backend, path), seconds in zip(runs, took, strict=True):
            with ExitStack() as stack:
                for replaced in path():
                    stack.enter_context(replaced)
                began = time.process_time()
                BACKENDS[backend].outer_gradient(learner, meta, episode, context)
                seconds.append(time.process_time() - began)
    base, *others = (statistics.median(seconds[1:]) for seconds in took)
    return [f"{1e3 * base / tasks:.1f}", *(f"{other / base:.2f}x" for other in others)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="*", default=CASES, help=f"of {', '.join(TRAINING)}")
    parser.add_argument("--learners", nargs="*", default=["maml", "km-maml"], help="learners")
    parser.add_argument("--tasks", type=int, default=2, help="in a round")
    parser.add_argument("--rounds", type=int, default=9, help="medians are of as many")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = []
    for name, case in training_cases(given.cases):
        rows += [[name, learner, *measure(case, learner, given.tasks, given.rounds)] for learner in given.learners]
    columns = ["case", "learner", "ms per task", *(f"without {name}" for name in list(PATHS)[1:]), "plain"]
    print(tabulate(rows, columns, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
