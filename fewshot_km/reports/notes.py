"""The notes under a table: what its columns mean, and what a reader must know of the cells behind it."""

from collections.abc import Iterable

from fewshot_km.experiments.store.record import Record
from fewshot_km.reports.comparisons import Contrasts
from fewshot_km.reports.grid_results import GridResults
from fewshot_km.reports.intervals import FEWEST_SEEDS_FOR_ALGORITHMS, Kind
from fewshot_km.reports.score_intervals import KINDS, ScoreIntervals
from fewshot_km.text import counted, every

# the numbers: Omniglot's 20-way 1-shot one-shot classification runs of Lake et al. 2015, with learners of this suite
BATCH_NORM = (
    "norm batch, a warning: these accuracies hold where all query images of a task are classified together. Batch norm "
    "takes mean and variance from the whole batch of queries, so that each answer leans on the other images. Given one "
    "image at a time, such a learner is at chance: on Lake's 20-way runs it was wrong on 94 to 95 % of the images one "
    "at a time, and on 37 to 39 % in a batch. For images that come one by one, choose a norm that no other image "
    'enters (network.norm = "group").'
)


def norms(results: GridResults) -> set[str]:
    """The norms of the networks whose accuracies are known, as the settings name them."""
    known = (score.config for score in results.scores.values() if score.is_known)
    return {str(config.network.options.get("norm")) for config in known if config is not None}


def accuracy_notes(results: GridResults, intervals: ScoreIntervals, contrasts: Contrasts, kind: Kind) -> list[str]:
    compares = sorted({contrast.compares for contrast in contrasts.all})
    notes = [
        "accuracy: percent of query images, mean over test episodes and seeds; all rows of a task but the published "
        "ones were tested on the same episodes.",
        f"± {intervals.note(kind)}",
    ]
    if compares:
        notes.append(
            "bold: not significantly worse than the best of its column (paired t test, Holm-corrected over "
            f"{every(len(contrasts.all), 'comparison')} of the table, 5 %); compares {' and '.join(compares)}"
            + (
                "."
                if compares == ["algorithms"]
                else f"; about algorithms, only {FEWEST_SEEDS_FOR_ALGORITHMS} seeds or more can tell."
            )
        )
    if norms(results) & {"batch"}:
        notes.append(BATCH_NORM)
    if any(results.partial(task) for task in results.tasks):
        notes.append(
            "partial data: so much of the published data set was there ("
            + "; ".join(f"{task}: {text}" for task in results.tasks if (text := results.partial(task)))
            + "); such accuracies compare with none on all of it, nor on another part."
        )
    return notes


def interval_notes(results: GridResults, intervals: ScoreIntervals) -> tuple[str, ...]:
    notes = [f"± {intervals.note(kind)}" for kind in KINDS]
    few = [
        score
        for score in results.scores.values()
        if score.open_accuracies is not None and score.open_accuracies.shape[1] < 100
    ]
    if few:
        tasks = ", ".join(dict.fromkeys(score.task for score in few))
        notes.append(f"Few open episodes (under 100) on {tasks}: their intervals are rough.")
    return tuple(notes)


def pairwise_notes() -> tuple[str, ...]:
    return (
        "differences are paired: for trained models on the same test episodes, each averaged over the seeds; for "
        f"algorithms on the same seeds, where both have {FEWEST_SEEDS_FOR_ALGORITHMS} or more. n counts the pairs; "
        "± is a 95 % t interval.",
        "better, worse, undecided: by the paired t test, Holm-corrected over all comparisons of the grid, at 5 %.",
        "p (sign flip): permutation test over the signs; over five seeds it cannot fall below 0.0625.",
        "P(A > B): how often A is better, ties counted half, with its 95 % interval.",
    )


def state_notes(results: GridResults) -> list[str]:
    """What is not finished, failed, follows a protocol, or was computed in different ways."""
    notes = [f"Only a part of the grid: {', '.join(results.grid.only)}."] if results.grid.only else []
    if any(score.state for score in results.scores.values()):
        notes.append("Not finished: what stands in brackets rests on fewer seeds than the grid asks for.")
    notes += [
        f"{score.task}/{score.method}/seed{seed} failed: {reason}."
        for score in results.scores.values()
        for seed, reason in score.failures
    ]
    notes += [f"{said}." for said in results.finished_otherwise]
    notes += _protocol_notes(results)
    stored = results.stored()
    if before := sum(not one.has_digests for one in stored):
        notes.append(
            f"Not known of {before} of {counted(len(stored), 'finished cell')}: whether their files are still as they "
            "were written; their records are from before these held digests."
        )
    mixed = _provenance(one.record for one in stored)
    return notes + [f"Cells differ in {what}: {', '.join(seen)}." for what, seen in mixed.items() if len(seen) > 1]


def _protocol_notes(results: GridResults) -> list[str]:
    """Name the protocol that each task follows, and where learners deviate from it."""
    followed: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    learners: dict[str, set[str]] = {}
    for cell in results.grid.cells:
        if cell.protocol and results.scores[cell.task, cell.learner].is_known:
            of = followed.setdefault((cell.task, cell.protocol, cell.deviations), [])
            of += [] if cell.learner in of else [cell.learner]
            learners.setdefault(cell.task, set()).add(cell.learner)
    notes = []
    for (task, protocol, deviations), names in followed.items():
        who = "" if set(names) == learners[task] else f" ({', '.join(names)})"
        notes.append(f"{task}{who}: protocol {protocol}" + (f", but {', '.join(deviations)}." if deviations else "."))
    return notes


def accuracy_footnote(results: GridResults, intervals: ScoreIntervals, contrasts: Contrasts, kind: Kind) -> str:
    """What must stand under the accuracies in a paper: what is behind ± and bold, and whom they do not speak for."""
    said = [f"± {intervals.note(kind).partition(';')[0].rstrip('.')}."]
    if contrasts.all:
        said.append("Bold: not significantly worse than the best (paired t test, Holm-corrected, 5 %).")
    if norms(results) & {"batch"}:
        said.append("Batch norm over all query images of a task (transductive).")
    said += [f"{task}: {text} alone." for task in results.tasks if (text := results.partial(task))]
    if any(score.state for score in results.scores.values()):
        said.append("Not all seeds are finished.")
    return " ".join(said)


def _provenance(records: Iterable[Record]) -> dict[str, list[str]]:
    """What the cells were computed with, as far as it bears on their numbers: each thing's values, sorted."""
    facts: dict[str, set[str]] = {"code (git commit)": set(), "version": set(), "torch": set(), "device": set()}
    for record in records:
        environment = record["environment"]
        commit, _, changes = (environment["git_commit"] or "none").partition("+")
        facts["code (git commit)"].add(f"{commit[:12]} with changes" if changes else commit[:12])
        facts["version"].add(environment["fewshot_km"])
        facts["torch"].add(environment["libraries"]["torch"])
        facts["device"].add(environment["device"])
    return {what: sorted(values) for what, values in facts.items()}
