"""Everything that a report says of a grid, computed once from its results."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot_km.experiments.settings.grid import Grid
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.comparisons import Contrasts, contrast_all
from fewshot_km.reports.grid_results import GridResults, read_results
from fewshot_km.reports.intervals import Kind
from fewshot_km.reports.mean_ranks import Ranking, rank_methods
from fewshot_km.reports.papers import CheckedClaim, check_claims
from fewshot_km.reports.score_intervals import ScoreIntervals
from fewshot_km.reports.table import Table
from fewshot_km.reports.tables import (
    accuracy_table,
    claims_table,
    cost_table,
    interval_table,
    pairwise_table,
    ranking_table,
)

if TYPE_CHECKING:
    import pandas as pd


class TableName(StrEnum):
    """What tables are called on the command line."""

    ACCURACY = "accuracy"
    INTERVALS = "intervals"
    COSTS = "costs"
    PAIRWISE = "pairwise"
    RANKS = "ranks"
    CLAIMS = "claims"


@dataclass(frozen=True)
class Report:
    """Results and what follows from them; `kind` is the interval of the headline table."""

    results: GridResults
    intervals: ScoreIntervals
    contrasts: Contrasts
    claims: Sequence[CheckedClaim]
    kind: Kind

    @cached_property
    def ranking(self) -> Ranking | str:
        """See `rank_methods`; computed where it is asked for, as few tables do."""
        return rank_methods(self.results)

    def tables(self) -> list[Table]:
        """Accuracies, intervals, costs."""
        return [self.table(name) for name in (TableName.ACCURACY, TableName.INTERVALS, TableName.COSTS)]

    def table(self, name: TableName) -> Table:
        """The table of that name."""
        make = {
            TableName.ACCURACY: lambda: accuracy_table(self.results, self.intervals, self.contrasts, self.kind),
            TableName.INTERVALS: lambda: interval_table(self.results, self.intervals),
            TableName.COSTS: lambda: cost_table(self.results),
            TableName.PAIRWISE: lambda: pairwise_table(self.contrasts.all),
            TableName.RANKS: lambda: ranking_table(self.ranking),
            TableName.CLAIMS: lambda: claims_table(self.claims),
        }
        return make[name]()

    def frame(self) -> "pd.DataFrame":
        """Every number of the tables accuracy, intervals and costs, unrounded."""
        from fewshot_km.reports.results_frame import results_frame  # pandas, which tables and pages do without

        return results_frame(self.results, self.intervals, self.contrasts)

    def csv(self) -> str:
        """The frame as CSV."""
        from fewshot_km.reports.results_frame import csv_text

        return csv_text(self.frame())

    def pairwise_csv(self) -> str:
        """All comparisons as CSV, unrounded."""
        from fewshot_km.reports.results_frame import csv_text, pairwise_frame

        return csv_text(pairwise_frame(self.contrasts))


def make_report(grid: Grid, store: ResultStore, baselines: Sequence[Path] = (), kind: Kind | None = None) -> Report:
    """Read the results of a grid and compare them; raises DataError where nothing is done, or a result is damaged."""
    return report_results(read_results(grid, store, baselines), kind)


def report_results(results: GridResults, kind: Kind | None = None) -> Report:
    """Compare results that were read; `kind` None: over seeds where there are five of them, else over episodes."""
    intervals = ScoreIntervals(results)
    contrasts = contrast_all(results)
    return Report(
        results,
        intervals,
        contrasts,
        check_claims(results, contrasts),
        kind or intervals.default_kind(),
    )
