"""The tables of a grid: accuracies as papers print them, every interval by itself, costs, and comparisons."""

from collections.abc import Iterable, Mapping, Sequence

from fewshot_km.reports.comparisons import Contrast, Contrasts, best_methods
from fewshot_km.reports.grid_results import GridResults, Score
from fewshot_km.reports.intervals import Kind
from fewshot_km.reports.mean_ranks import Ranking
from fewshot_km.reports.notes import accuracy_footnote, accuracy_notes, interval_notes, pairwise_notes, state_notes
from fewshot_km.reports.papers import CheckedClaim, published_rows, published_task
from fewshot_km.reports.score_intervals import KINDS, ScoreIntervals, counts_text
from fewshot_km.reports.table import (
    NOTHING,
    Entry,
    Table,
    TableSection,
    difference_text,
    p_text,
    range_text,
    spread_text,
)


def accuracy_table(results: GridResults, intervals: ScoreIntervals, contrasts: Contrasts, kind: Kind) -> Table:
    """A row per method and a column per task, as papers print it; what papers report stands apart."""
    best = {task: best_methods(results, contrasts, task) for task in results.tasks}

    def entry(task: str, method: str) -> Entry:
        score = results.scores[task, method]
        if not score.is_known:
            return Entry(score.state or NOTHING)
        interval = intervals.get(task, method, kind)
        mean, spread = (interval.mean, f" {spread_text(interval)}") if interval else (score.accuracies.mean(), "")
        state = f" ({score.state})" if score.state else ""
        return Entry(f"{100 * float(mean):.2f}{spread}{state}", method in best[task])

    rows = tuple((Entry(m), *(entry(task, m) for task in results.tasks)) for m in results.methods)
    published, sources = _published(results)
    sections = (TableSection("", rows), *([TableSection("published, not ours", published)] if published else []))
    header = ("accuracy %", *(f"{task} (partial)" if results.partial(task) else task for task in results.tasks))
    notes = (*accuracy_notes(results, intervals, contrasts, kind), *sources, *state_notes(results))
    footnote = accuracy_footnote(results, intervals, contrasts, kind)
    return Table(
        f"Grid {results.grid.name}",
        header,
        sections,
        notes,
        name="accuracy",
        caption=f"Accuracy in % on the test episodes of grid {results.grid.name}, with 95 % intervals.",
        footnote=f"{footnote} Published rows, and their ±, are as papers print them." if published else footnote,
    )


def _published(results: GridResults) -> tuple[tuple[tuple[Entry, ...], ...], list[str]]:
    """Rows of papers for the grid's tasks, and notes of what each ± is."""
    names = {
        task: published_task(results.scores[task, method].cells[0].config)
        for task in results.tasks
        for method in results.methods[:1]
        if not results.partial(task)
    }
    rows, kinds = [], {}
    for row in published_rows():
        found = [row.accuracies.get(names.get(task) or "") for task in results.tasks]
        if any(found):
            entries = [Entry(f"{pair[0]:.2f} ± {pair[1]:.2f}" if pair else NOTHING) for pair in found]
            rows.append((Entry(f"{row.method} ({row.source})"), *entries))
            kinds[row.source] = row.plus_minus
    said = "; ".join(f"{source}: {kind}" for source, kind in kinds.items())
    return tuple(rows), [
        f"published rows are what papers report, and their ± is of another kind: {said}."
    ] if rows else []


def interval_table(results: GridResults, intervals: ScoreIntervals) -> Table:
    """A row per task and method, a column per kind of interval, each with its n."""

    def entry(score: Score, kind: Kind) -> Entry:
        interval = intervals.get(score.task, score.method, kind)
        if interval is None:
            return Entry(NOTHING)
        of_its_own = f"{100 * interval.mean:.2f} " if kind == "open" else ""  # these episodes have a mean of their own
        return Entry(f"{of_its_own}{spread_text(interval)} ({counts_text(interval)})")

    rows = tuple(
        (Entry(score.task), Entry(score.method), Entry(f"{100 * float(score.accuracies.mean()):.2f}"),
         *(entry(score, kind) for kind in KINDS))
        for task in results.tasks
        for score in results.of_task(task)
    )  # fmt: skip
    header = ("task", "method", "accuracy %", *(f"± {kind} (n)" for kind in KINDS))
    return Table(
        "Intervals",
        header,
        (TableSection("", rows),),
        interval_notes(results, intervals),
        words=2,
        name="intervals",
        caption=f"Accuracy in % on the test episodes of grid {results.grid.name}, with every kind of 95 % interval.",
        footnote="In brackets: over how many. Episodes, open (without a common image): for these trained models. "
        "Seeds, hierarchical (seeds and episodes): for the algorithm.",
    )


def cost_table(results: GridResults) -> Table:
    """A row per task and learner: what a task costs, and how the learner was set."""
    facts: dict[tuple[str, str], Mapping[str, str]] = {}
    for task in results.tasks:
        for method in results.methods:
            score = results.scores[task, method]
            if score.cells and score.is_known:
                facts[task, method] = _facts(score)
    partial = {task: text for task in results.tasks if (text := results.partial(task))}
    rows = tuple(
        (Entry(task), *([Entry(f"partial: {partial[task]}" if task in partial else "complete")] if partial else []),
         Entry(method), *map(Entry, row.values()))
        for (task, method), row in facts.items()
    )  # fmt: skip
    header = ("task", *(["data"] if partial else []), "method", *next(iter(facts.values())))
    notes = [
        "adapted parameters, bytes: what must be stored for one task beside the meta-parameters.",
        "adaptation ms: median time to adapt to one task by itself, on the device and threads that its record names.",
        "inner steps: at training / at test.",
    ]
    if any(row["norm"] == "batch" for row in facts.values()):
        notes.append(
            "norm batch: statistics of the batch at hand, at test too (transductive), as in MAML; one query image at a "
            "time, such a learner is at chance (see the warning under the accuracies)."
        )
    if any(results.scores[key].cells[0].config.validation.patience != "none" for key in facts):
        notes.append(
            "iterations: at most; training ended where validations had brought nothing better for long enough."
        )
    return Table(
        "Costs and settings",
        header,
        (TableSection("", rows),),
        tuple(notes),
        words=2 + bool(partial),
        name="costs",
        caption=f"Cost of adapting to one task, and settings, on grid {results.grid.name}.",
        footnote="Parameters, bytes: stored for each task. Inner steps: at training / at test.",
    )


def _facts(score: Score) -> dict[str, str]:
    """What a reader needs beside the accuracy."""
    config = score.cells[0].config
    seconds = score.fact("adaptation_seconds")
    return {
        "seeds": f"{len(score.seeds)}" if not score.state else f"{len(score.seeds)} of {len(score.cells)}",
        "adapted parameters": _number(score.fact("adapted_parameters")),
        "bytes": _number(score.fact("bytes_per_task")),
        "adaptation ms": NOTHING if seconds is None else f"{1000 * seconds:.3g}",
        "inner steps": f"{config.inner.train_steps} / {config.inner.test_steps}",
        "norm": str(config.network.options.get("norm", NOTHING)),
        "order": config.inner.order,
        "iterations": f"{config.outer.iterations:,}",
    }


def pairwise_table(contrasts: Iterable[Contrast], title: str = "Paired differences") -> Table:
    """A row per pair of methods and task: difference in points, its interval, two tests, and P(A > B)."""
    rows = []
    for contrast in contrasts:
        pair = contrast.deciding
        rows.append((
            contrast.task,
            f"{contrast.first} − {contrast.second}",
            contrast.outcome,
            difference_text(pair.difference),
            p_text(contrast.adjusted_p),
            p_text(pair.p_t),
            p_text(pair.p_sign_flip),
            range_text(pair.first_better),
            f"{pair.n}",
            contrast.compares,
        ))  # fmt: skip
    tests = ("p (Holm)", "p (t)", "p (sign flip)")
    header = ("task", "A − B", "A is", "points", *tests, "P(A > B)", "n", "compares")
    sections = (TableSection("", tuple(tuple(map(Entry, row)) for row in rows)),)
    return Table(
        title,
        header,
        sections,
        pairwise_notes(),
        words=3,
        name="pairwise",
        caption="Paired differences of accuracy, in points.",
        footnote="± and brackets: 95 % intervals over n pairs. Better, worse: paired t test, Holm-corrected, 5 %.",
    )


def ranking_table(ranking: Ranking | str) -> Table:
    """A row per method with its mean rank over the tasks; no rows, but the reason, where there are no ranks."""
    caption = "Mean ranks over the tasks, 1 the best."
    if isinstance(ranking, str):
        return Table("Ranks", ("method", "mean rank"), (), (ranking,), name="ranks", caption=caption)
    ordered = sorted(ranking.ranks.items(), key=lambda item: item[1])
    rows = tuple((Entry(method), Entry(f"{rank:.2f}")) for method, rank in ordered)
    groups = "; ".join(", ".join(group) for group in ranking.groups())
    notes = (
        f"mean rank: over n = {ranking.tasks} tasks, 1 the best, ties share a rank.",
        f"Friedman's test that all rank alike: p {p_text(ranking.friedman_p)}.",
        f"Nemenyi's critical difference at 5 %: {ranking.critical_difference:.2f}; not told apart: {groups or 'none'}.",
    )
    return Table("Ranks", ("method", "mean rank"), (TableSection("", rows),), notes, name="ranks", caption=caption)


def claims_table(checked: Sequence[CheckedClaim]) -> Table:
    """A row per claim of a paper and pair of the grid's rows that it speaks of."""
    rows = []
    for one in checked:
        claim = one.claim
        said = f"{claim.better} above {claim.worse} on {claim.task} ({claim.source})"
        found = [_evidence(one.contrast)] if one.contrast else []
        rows.append((Entry(said), Entry(one.verdict), Entry("; ".join([*found, *filter(None, [one.why])]))))
    return Table(
        "Claims",
        ("claim", "verdict", "evidence"),
        (TableSection("", tuple(rows)),),
        pairwise_notes()[:2],
        words=3,
        name="claims",
        caption="What papers claim, beside what these results say.",
        footnote="Paired differences with 95 % t intervals; paired t test, Holm-corrected, 5 %.",
    )


def _evidence(contrast: Contrast) -> str:
    pair, unit = contrast.deciding, "seeds" if contrast.over_seeds else "episodes"
    which = f"{contrast.first} − {contrast.second} on {contrast.task}"
    return (
        f"{which}: {difference_text(pair.difference)} points, n = {pair.n} {unit}, Holm p {p_text(contrast.adjusted_p)}"
    )


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"
