"""Learners that keep the contract pass every check; a report says what, where, and how to mend it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fewshot_km.errors import ConfigError, UnknownNameError
from fewshot_km.learner_checks.catalogue import CHECKS
from fewshot_km.learners import LEARNERS
from fewshot_km.plugins.loading import load_plugin
from fewshot_km.testing import CheckReport, LearnerCheckError, Result, check_learner
from tests.support.sound_learners import Centroids


def found(report: CheckReport) -> dict[str, list[str]]:
    return {kind: [result.check for result in report.with_status(kind)] for kind in ("failed", "warned", "skipped")}


SLOW_TO_LEARN = {"bn-maml": 10.0, "cavia": 10.0}  # inner rates: what adapts there is small, and starts at no effect
SKIPPED = {  # no inner loop, a first order that is declared, or answers that are meant to differ
    name: ["second order"]
    for name in (
        "feat",
        "fomaml",
        "matching",
        "metaoptnet",
        "protonet",
        "r2d2",
        "relation",
        "soft-kmeans",
        "tadam-film",
    )
}
CASES = [(name, {}) for name in LEARNERS.names() if name != "nil"]
CASES += [("maml", {"norm_affine": "full"}), ("km-maml", {"norm_affine": "none"}), ("metaoptnet", {"head": "ridge"})]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_our_learners_pass_every_check(name: str, options: dict[str, Any]) -> None:
    heard: list[Result] = []
    report = check_learner(name, options, inner_lr=SLOW_TO_LEARN.get(name, 0.4), on_result=heard.append)
    assert found(report) == {"failed": [], "warned": [], "skipped": SKIPPED.get(name, [])}
    assert [result.check for result in report.results] == [check.name for check in CHECKS]
    assert tuple(heard) == report.results


@pytest.mark.slow
def test_nil_alone_answers_otherwise_at_test_than_in_training() -> None:
    """As its paper has it: without the inner loop and the head that it is trained with."""
    with pytest.raises(LearnerCheckError) as caught:
        check_learner("nil")
    assert found(caught.value.report)["failed"] == ["same at test"]


class UnusedRows(Centroids):
    def init(self, seed: int) -> dict[str, torch.Tensor]:
        return {**super().init(seed), "rows": torch.zeros(3)}

    def features(self, meta: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return super().features({n: v for n, v in meta.items() if n != "rows"}, x)


class SaysMoreThanItDoes(Centroids):
    @property
    def transductive(self) -> bool:
        return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "check", "what"), [(UnusedRows, "gradients", "'rows'"), (SaysMoreThanItDoes, "queries alone", "group")]
)
def test_what_may_be_meant_is_a_warning(learner: Any, check: str, what: str) -> None:
    (warned,) = [result for result in check_learner(learner).with_status("warned") if result.check == check]
    assert what in warned.what
    assert warned.mend


@pytest.mark.slow
def test_a_declared_transductive_learner_passes() -> None:
    class Declared(Centroids):
        transductive = True  # type: ignore[assignment]

        def features(self, meta: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            features = super().features(meta, x)
            return features - features.mean(0)

    (result,) = [r for r in check_learner(Declared).results if r.check == "queries alone"]
    assert (result.status, result.what) == ("passed", "transductive, as declared")


ALL_BY_POSITION = """
import torch
from fewshot_km.learners import ANIL, register


@register("by-position")
class ByPosition(ANIL):
    def predict(self, meta, delta, x):
        places = torch.arange(len(x), device=x.device) * 5 // len(x)
        return 0 * super().predict(meta, delta, x) + torch.nn.functional.one_hot(places, 5)
"""


@pytest.fixture
def own_learners() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    with LEARNERS.temporarily():
        yield


def test_a_failure_says_what_and_where_and_how_to_mend_it(tmp_path: Path, own_learners: None) -> None:
    path = tmp_path / "by_position.py"
    path.write_text(ALL_BY_POSITION)
    load_plugin(path)
    with pytest.raises(LearnerCheckError) as caught:
        check_learner("by-position")
    (result,) = [r for r in caught.value.report.with_status("failed") if r.check == "query order"]
    assert result.what.startswith("a query is answered by its place among the queries")
    assert result.where == f"{path}:8 (ByPosition.predict)"
    assert "compute the answer to an image from the image" in result.mend
    assert all(str(failure) in str(caught.value) for failure in caught.value.report.with_status("failed"))


def test_an_error_is_placed_where_it_was_raised(tmp_path: Path, own_learners: None) -> None:
    path = tmp_path / "raises.py"
    path.write_text(
        "from fewshot_km.learners import ANIL, register\n\ndef help_it(x):\n    raise SystemExit('enough')\n\n"
        "@register('raises')\nclass Raises(ANIL):\n    def adapt(self, meta, x, y, *, steps):\n        help_it(x)\n"
    )
    load_plugin(path)
    with pytest.raises(LearnerCheckError) as caught:
        check_learner("raises")
    (result,) = caught.value.report.with_status("failed")
    assert (result.check, result.where) == ("training", f"{path}:4 (help_it)")
    assert result.what == "adapt() raised SystemExit: enough"
    assert {result.what for result in caught.value.report.with_status("skipped")} == {
        "says nothing before 'training' is mended"
    }


@pytest.mark.slow
def test_the_callers_state_is_left_alone() -> None:
    """Threads and random numbers are the caller's, whatever the checks do with them."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled()
    with pytest.raises(LearnerCheckError):
        check_learner(lambda make_network, inner: None)
    check_learner("anil")
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before[1:]


def test_a_skipped_check_names_what_it_waits_for() -> None:
    """Not the first thing that failed, which may be another one."""

    class OnTheCPUAndNoisy(Centroids):
        def predict(self, meta: dict[str, torch.Tensor], delta: dict[str, torch.Tensor], x: torch.Tensor) -> Any:
            logits = super().predict(meta, delta, x)
            return logits + torch.rand(logits.shape, dtype=logits.dtype)

    with pytest.raises(LearnerCheckError) as caught:
        check_learner(OnTheCPUAndNoisy)
    assert found(caught.value.report)["failed"] == ["device", "repeats"]
    waits = {result.check: result.what for result in caught.value.report.with_status("skipped")}
    assert waits["query order"] == "says nothing before 'repeats' is mended"
    assert waits["learns"] == "says nothing before 'device' is mended"


def test_unknown_names_and_options_are_errors_of_their_own() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'maml'"):
        check_learner("malm")
    with pytest.raises(ConfigError, match="learner 'anil' has no option 'steps'"):
        check_learner("anil", {"steps": 1})
    with pytest.raises(UnknownNameError, match="unknown network"):
        check_learner("anil", network="conv44")
