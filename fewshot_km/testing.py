"""Checks that a learner keeps its contract, for authors of plug-ins: `check_learner("my-idea")` in a test."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from fewshot_km.learner_checks.catalogue import run_checks
from fewshot_km.learner_checks.check_report import CheckReport, LearnerCheckError, Result
from fewshot_km.learner_checks.subject import Subject, small_options
from fewshot_km.learners import LEARNERS, InnerLoop, Learner

__all__ = ["CheckReport", "LearnerCheckError", "Result", "check_learner"]


def check_learner(
    learner: str | Callable[..., Learner],
    options: Mapping[str, Any] | None = None,
    *,
    network: str = "conv4",  # in most papers; small enough for seconds
    network_options: Mapping[str, Any] | None = None,
    inner_lr: float = 0.4,  # MAML's on 5-way Omniglot
    on_result: Callable[[Result], None] = lambda _: None,
) -> CheckReport:
    """Run every check of the learner contract on a learner, in well under a minute.

    learner          a registered name, or a factory (make_network, inner, **options) -> learner, such as its class
    options          of the learner
    network          a registered network, with `network_options`; both norms are tried unless they name one
    inner_lr         the inner learning rate that the learner is given
    on_result        called with the outcome of each check as it is known

    Raises LearnerCheckError where a check fails; warnings and skipped checks stand in the report. Raises
    UnknownNameError or ConfigError for a name or option that is not there.
    """
    if isinstance(learner, str):
        name, entry, chosen = learner, LEARNERS.get(learner), LEARNERS.options(learner, options)
    else:
        name, entry, chosen = getattr(learner, "__qualname__", repr(learner)), learner, dict(options or {})
    subject = Subject(
        name,
        lambda make_network, inner: entry(make_network, inner, **chosen),
        network,
        small_options(network, network_options or {}),
        InnerLoop(inner_lr, "second"),
    )
    results = []
    with _one_thread(), torch.random.fork_rng(devices=[]):
        for result in run_checks(subject):
            on_result(result)
            results.append(result)
    report = CheckReport(name, tuple(results))
    if report.with_status("failed"):
        raise LearnerCheckError(report)
    return report


@contextmanager
def _one_thread() -> Iterator[None]:
    """The tensors are tiny: threads would only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
