"""Seconds of each backend for the tasks of a meta-batch, measured in turns, which is fair on a busy machine."""

from collections.abc import Callable, Mapping
from statistics import median

import torch

from fewshot_km.training.devices import clock

WORTH_IT = 0.95  # a backend must take less than this part of the rule's time: below, it is noise


def measure_in_turns(
    runs: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    on_failure: Callable[[str, Exception], None],
) -> dict[str, float]:
    """Median seconds by name: after a warm-up, each runs once in every round, and each round begins with another one.

    A run that raises in its warm-up is left out; `on_failure` is called with its name and error.
    """
    able = {}
    for name, run in runs.items():
        try:
            run()
        except Exception as error:
            on_failure(name, error)
        else:
            able[name] = run
    seconds: dict[str, list[float]] = {name: [] for name in able}
    names = list(able)
    for turn in range(rounds):
        first = turn % max(1, len(names))
        for name in [*names[first:], *names[:first]]:
            began = clock(device)
            able[name]()
            seconds[name].append(clock(device) - began)
    return {name: float(f"{median(values):.4g}") for name, values in seconds.items()}


def fastest(seconds: Mapping[str, float], rule: str) -> str:
    """The fastest backend where it is faster than the rule's by more than noise, else the rule's."""
    best = min(seconds, key=lambda name: seconds[name])
    return best if rule not in seconds or seconds[best] < WORTH_IT * seconds[rule] else rule
