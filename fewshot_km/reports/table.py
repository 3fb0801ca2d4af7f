"""A table as it is meant, before Markdown, LaTeX, HTML or a terminal shows it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewshot_km.reports.intervals import Interval

NOTHING = "–"


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table."""

    text: str
    is_bold: bool = False


@dataclass(frozen=True)
class TableSection:
    """Rows that belong together, under a line of their own where they have a title."""

    title: str
    rows: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class Table:
    """A title, a header whose first `words` columns are words, sections of rows, and notes: one sentence each.

    name      what it is called on the command line and, after the grid's name, in a document's references
    caption   what it shows, as a paper says it; the title where it is empty
    footnote  what must stand below it in a paper, for which the notes are too long; these where it is empty
    """

    title: str
    header: tuple[str, ...]
    sections: tuple[TableSection, ...]
    notes: tuple[str, ...] = ()
    words: int = 1
    name: str = ""
    caption: str = ""
    footnote: str = ""

    @property
    def rows(self) -> list[tuple[Entry, ...]]:
        """The rows of all sections."""
        return [row for section in self.sections for row in section.rows]


def spread_text(interval: "Interval") -> str:
    """What stands behind the mean, in percent: "± 0.52", or "−0.31 +0.22" where the interval is not symmetric."""
    assert interval.low is not None
    assert interval.high is not None
    if interval.method == "t":
        return f"± {50 * (interval.high - interval.low):.2f}"
    return f"−{100 * (interval.mean - interval.low):.2f} +{100 * (interval.high - interval.mean):.2f}"


def signed_points(difference: float) -> str:
    """A difference of accuracies in points, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def difference_text(difference: "Interval") -> str:
    """A difference of accuracies in points with its sign, and what stands behind its ±."""
    assert difference.half_width is not None
    return f"{signed_points(difference.mean)} ± {100 * difference.half_width:.2f}"


def p_text(p: float) -> str:
    """A p value as papers print it."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def range_text(share: "Interval") -> str:
    """A share with the ends of its interval."""
    ends = "" if share.low is None else f" ({share.low:.2f} to {share.high:.2f})"
    return f"{share.mean:.2f}{ends}"


def p_equation(p: float) -> str:
    """A p value with its sign of relation: "= 0.0934" or "< 0.0001"."""
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"
