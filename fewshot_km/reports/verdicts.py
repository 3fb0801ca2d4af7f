"""What comparisons, claims and ranks say, in sentences."""

from collections.abc import Sequence

from fewshot_km.reports.comparisons import Contrast, Contrasts, best_methods
from fewshot_km.reports.grid_results import GridResults
from fewshot_km.reports.intervals import FEWEST_SEEDS_FOR_ALGORITHMS
from fewshot_km.reports.mean_ranks import Ranking
from fewshot_km.reports.papers import CheckedClaim
from fewshot_km.reports.table import difference_text, p_equation

FEWEST_SEEDS = {5: "five"}.get(FEWEST_SEEDS_FOR_ALGORITHMS, str(FEWEST_SEEDS_FOR_ALGORITHMS))


def contrast_sentence(contrast: Contrast) -> str:
    """Who is better than whom, by how much, on what evidence, and what that is about; the better one comes first."""
    if contrast.deciding.difference.mean < 0:
        contrast = contrast.flipped()
    first, second, task = contrast.first, contrast.second, contrast.task
    difference, n = contrast.deciding.difference, contrast.deciding.n
    assert difference.half_width is not None
    reach = 100 * difference.half_width
    if contrast.outcome == "undecided":
        points = difference_text(difference)
        said = f"{first} and {second} cannot be told apart on {task}: the first minus the second is {points} points"
    else:
        said = f"{first} is better than {second} on {task} by {100 * difference.mean:.2f} ± {reach:.2f} points"
    pairs = f"{n} seeds that both were trained with" if contrast.over_seeds else f"the same {n} test episodes"
    return f"{said} over {pairs} (Holm p {p_equation(contrast.adjusted_p)}). {_scope(contrast)}"


def _scope(contrast: Contrast) -> str:
    if contrast.compares == "algorithms":
        return "This compares the algorithms, as they are set here."
    return f"This compares trained models, not algorithms: that takes {FEWEST_SEEDS} seeds or more of both."


def best_sentence(results: GridResults, contrasts: Contrasts, task: str) -> str:
    """Which method has the highest mean on a task, and which ones are not significantly worse."""
    scores = results.of_task(task)
    if len(scores) < 2:
        return f"{scores[0].method} alone is finished: nothing to compare." if scores else "Nothing is finished."
    best = max(scores, key=lambda score: float(score.accuracies.mean()))
    equals = [m for m in results.methods if m in best_methods(results, contrasts, task) - {best.method}]
    said = f"{best.method} has the highest mean, {100 * float(best.accuracies.mean()):.2f} %"
    if not equals:
        return f"{said}, and every other method is significantly worse."
    return f"{said}; not significantly worse: {', '.join(equals)}."


def headline_sentence(results: GridResults, contrasts: Contrasts) -> str:
    """The verdict of the whole grid: on how many tasks each method has the highest mean, and with what evidence."""
    tasks = [task for task in results.tasks if len(results.of_task(task)) > 1]
    if not tasks:
        return "No task has two finished methods yet: nothing to compare."
    won: dict[str, list[bool]] = {}  # by method, of each task that it leads: whether all others are worse
    for task in tasks:
        best = max(results.of_task(task), key=lambda score: float(score.accuracies.mean())).method
        won.setdefault(best, []).append(len(best_methods(results, contrasts, task)) == 1)
    said: list[str] = []
    for method, leads in sorted(won.items(), key=lambda item: -len(item[1])):
        where = f"{len(leads)} of {len(tasks)} tasks"
        if len(leads) == len(tasks):
            where = {1: tasks[0], 2: "both tasks"}.get(len(tasks), f"all {len(tasks)} tasks")
        verb = "has it" if said else "has the highest mean"
        said.append(f"{method} {verb} on {where}, {_lead(leads)} above all others")
    compares = sorted({contrast.compares for contrast in contrasts.all})
    scope = f"{' and '.join(compares)}{'' if 'algorithms' in compares else ', not algorithms'}"
    return f"{'; '.join(said)} (compared: {scope})."


def _lead(leads: Sequence[bool]) -> str:
    """How clear it is, of so many tasks."""
    if len(leads) == 1:
        return "significantly" if leads[0] else "but not significantly"
    if all(leads):
        return "each time significantly"
    return f"on {sum(leads)} of them significantly" if any(leads) else "but never significantly"


def claim_sentence(checked: CheckedClaim) -> str:
    """What a paper states, whether the results bear it out, and why."""
    claim, contrast = checked.claim, checked.contrast
    said = f"{claim.source}: {claim.better} above {claim.worse} on {claim.task}: {checked.verdict}"
    if contrast is None:
        return f"{said}, because {checked.why}."
    return f"{said}. {contrast_sentence(contrast)}"


def ranking_sentences(ranking: Ranking | str) -> list[str]:
    """Mean ranks and which of them differ; or why there are none."""
    if isinstance(ranking, str):
        return [ranking[:1].upper() + ranking[1:]]
    ordered = sorted(ranking.ranks.items(), key=lambda item: item[1])
    ranks = ", ".join(f"{method} {rank:.2f}" for method, rank in ordered)
    groups = "; ".join(", ".join(group) for group in ranking.groups())
    return [
        f"Mean ranks over {ranking.tasks} tasks, 1 the best: {ranks} (Friedman p {p_equation(ranking.friedman_p)}).",
        f"Ranks that differ by less than {ranking.critical_difference:.2f} cannot be told apart (Nemenyi, 5 %)"
        + (f": {groups}." if groups else ": here all differ by more."),
    ]
