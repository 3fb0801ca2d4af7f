"""What the checks of a learner found."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from fewshot_km.errors import FewshotError
from fewshot_km.text import one_line

Status = Literal["passed", "failed", "warned", "skipped"]


class Finding(FewshotError):  # noqa: N818 - a doubt is no error
    """What a check raises where it does not simply pass."""

    status: Status = "failed"

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        super().__init__("; ".join(part for part in (what, where, mend) if part))
        self.what, self.where, self.mend = what, where, mend


class Fault(Finding):
    """The learner breaks a promise: what, where in its source, and how to mend it."""


class Doubt(Finding):
    """Something that may be meant, but is often a mistake."""

    status = "warned"


class Skip(Finding):
    """The check does not apply to this learner, or cannot be made here."""

    status = "skipped"


@dataclass(frozen=True)
class Result:
    """The outcome of one check.

    check   its name
    what    what was found: the defect, the reason for skipping, or a note on what passed
    where   "my_idea.py:12 (MyIdea.adapt)"
    mend    how to mend it
    """

    check: str
    status: Status
    what: str = ""
    where: str = ""
    mend: str = ""

    def __str__(self) -> str:
        text = "; ".join(part for part in (self.what, self.where, self.mend) if part)
        return one_line(f"{self.status:8}{self.check}{': ' if text else ''}{text}")


@dataclass(frozen=True)
class CheckReport:
    """The outcomes of all checks of one learner, in the order in which they ran."""

    learner: str
    results: tuple[Result, ...]

    def with_status(self, status: Status) -> list[Result]:
        """The outcomes of one kind."""
        return [result for result in self.results if result.status == status]

    @property
    def summary(self) -> str:
        """ "learner 'maml': 28 checks passed, 1 warned"."""
        counts = Counter(result.status for result in self.results)
        told = [f"{counts[status]} {status}" for status in ("failed", "warned", "skipped") if counts[status]]
        return ", ".join([f"learner '{self.learner}': {counts['passed']} checks passed", *told])

    def __str__(self) -> str:
        return "\n".join([*map(str, self.results), self.summary])


class LearnerCheckError(FewshotError):
    """A learner breaks its contract; the message has a line for each failed check, `report` has all outcomes."""

    def __init__(self, report: CheckReport) -> None:
        super().__init__("\n".join([report.summary, *(f"  {result}" for result in report.with_status("failed"))]))
        self.report = report
