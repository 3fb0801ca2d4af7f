"""Each broken learner is caught by the check that is made for it, and by no other."""

import re
from pathlib import Path
from typing import Any

import pytest

from fewshot_km.learner_checks.catalogue import CHECKS
from fewshot_km.testing import LearnerCheckError, check_learner
from tests.support import broken_learners
from tests.support.broken_learners import BROKEN

SOURCE = Path(broken_learners.__file__)


@pytest.mark.slow
@pytest.mark.parametrize(("check", "learner"), BROKEN, ids=[f"{check}-{entry.__name__}" for check, entry in BROKEN])
def test_exactly_the_right_check_tells(check: str, learner: Any) -> None:
    with pytest.raises(LearnerCheckError) as caught:
        check_learner(learner)
    failed = caught.value.report.with_status("failed")
    assert [result.check for result in failed] == [check], str(caught.value)
    (result,) = failed
    assert result.mend
    place = re.match(r"(.*\.py):(\d+) \(", result.where)
    assert place, result.where
    assert Path(place[1]).name in (SOURCE.name, "sound_learners.py")


def test_every_check_has_a_learner_that_breaks_it() -> None:
    assert {check.name for check in CHECKS} == {check for check, _ in BROKEN}
