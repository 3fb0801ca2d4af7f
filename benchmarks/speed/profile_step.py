"""Where the time of a task goes: `python benchmarks/speed/profile_step.py --cases 'mini-*-1step' --learners maml`.

One thread runs an outer gradient as meta-training would; the time of each operation of torch is measured, the median of
several runs, and summed by kind, beside the time that its arithmetic would take at the rate of a large matrix product.
What is not within operations is the overhead of Python and autograd, measured as the whole less the operations. Prints
a Markdown table: percent of the whole, and in brackets how many times the arithmetic's time each kind takes.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from arithmetic import matrix_rate, operations_of
from cases import TRAINING
from contestant import Case, training_cases
from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.accel.fused import normalisation_loops, pooling_loops, window_loops
from fewshot_km.training.memory import keep_freed_memory

KINDS = {  # by part of the operation's name, the first that fits
    "convolution_backward": "convolution gradients",
    "convolution": "convolutions",
    "mm": "matrix products",
    "matmul": "matrix products",
    "batch_norm": "batch norm, pooling",
    "max_pool": "batch norm, pooling",
}
LOOPS = {  # of ours, which torch does not see
    "normalisation loops": (normalisation_loops, ["normalise", "normalise_gradient", "normalise_second"]),
    "pooling loops": (pooling_loops, ["pool", "pool_gradient", "pool_second"]),
    "window loops": (window_loops, ["gather", "scatter"]),
}
REST = "elementwise, sums, copies"
COLUMNS = [*dict.fromkeys(KINDS.values()), *LOOPS, REST]
RUNS = 9  # odd, so that the median is one of them


class TimeOperations(TorchDispatchMode):
    """Seconds and floating-point operations by kind."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds: dict[str, float] = defaultdict(float)
        self.operations: dict[str, int] = defaultdict(int)
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        began = time.perf_counter()
        out = func(*args, **kwargs)
        took = time.perf_counter() - began
        name = str(func.overloadpacket)
        kind = next((kind for part, kind in KINDS.items() if part in name), REST)
        self.seconds[kind] += took
        self.calls += 1
        self.operations[kind] += operations_of(func, args, kwargs, out)
        return out


@contextmanager
def timed_loops(timed: TimeOperations) -> Iterator[None]:
    """Within it, the time of our compiled loops is added to that of torch's operations."""
    originals = [
        (kind, module, name, getattr(module, name)) for kind, (module, names) in LOOPS.items() for name in names
    ]

    def wrap(kind: str, loop: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            began = time.perf_counter()
            out = loop(*args)
            timed.seconds[kind] += time.perf_counter() - began
            return out

        return run

    for kind, module, name, loop in originals:
        setattr(module, name, wrap(kind, loop))
    try:
        yield
    finally:
        for _, module, name, loop in originals:
            setattr(module, name, loop)


def profile(case: Case, learner_name: str, backend: str, tasks: int) -> dict[str, Any]:
    """Median seconds per task: of the whole, and by kind."""
    learner, meta = case.make_learner(learner_name)
    episode = case.draw(range(tasks))
    run = BACKENDS[backend].outer_gradient
    whole, parts = [], []
    for turn in range(RUNS + 1):
        began = time.perf_counter()
        run(learner, meta, episode, case.context())
        took = time.perf_counter() - began
        with TimeOperations() as timed, timed_loops(timed):
            run(learner, meta, episode, case.context())
        if turn:
            whole.append(took / tasks)
            parts.append(timed)
    kinds = {kind: statistics.median(p.seconds[kind] for p in parts) / tasks for kind in parts[0].seconds}
    operations = {kind: count / tasks for kind, count in parts[0].operations.items()}
    return {
        "whole": statistics.median(whole),
        "kinds": kinds,
        "operations": operations,
        "calls": parts[0].calls // tasks,
    }


def row(found: dict[str, Any], rate: float) -> list[str]:
    """Percent of the whole by kind."""
    whole = found["whole"]
    cells = []
    for kind in COLUMNS:
        seconds = found["kinds"].get(kind, 0.0)
        cell = f"{100 * seconds / whole:.0f} %" if seconds else ""
        if found["operations"].get(kind):
            cell += f" ({seconds / (found['operations'][kind] / rate):.1f}x)"
        cells.append(cell)
    overhead = max(0.0, whole - sum(found["kinds"].values()))
    floor = sum(found["operations"].values()) / rate
    return [
        f"{1e3 * whole:.1f}",
        f"{whole / floor:.1f}x",
        *cells,
        f"{100 * overhead / whole:.0f} %",
        str(found["calls"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="*", default=["omniglot-strided-5w1s-1step"], help=f"of {', '.join(TRAINING)}")
    parser.add_argument("--learners", nargs="*", default=["maml", "anil", "km-maml"], help="learners")
    parser.add_argument("--backends", nargs="*", default=["fused", "vmap"], help="backends that do not compile")
    parser.add_argument("--tasks", type=int, default=2, help="at once")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = []
    for name, case in training_cases(given.cases):
        for learner in given.learners:
            for backend in given.backends:
                found = profile(case, learner, backend, given.tasks)
                rows.append([name, learner, backend, *row(found, matrix_rate(1, "cpu"))])
    header = ["", "learner", "backend", "ms per task", "over its arithmetic", *COLUMNS, "between operations", "calls"]
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
