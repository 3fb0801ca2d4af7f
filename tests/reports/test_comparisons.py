"""Who is better, by pairs of episodes or of seeds, against scipy and statsmodels on the same numbers."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fewshot_km.experiments.settings.grid import Grid
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.comparisons import best_methods, contrast_all
from fewshot_km.reports.grid_results import read_results
from fewshot_km.reports.mean_ranks import Ranking, rank_methods
from fewshot_km.reports.papers import check_claims, published_claims, published_rows
from tests.support.made_up_results import small_grid, store_result

GRID = """
seeds = [{seeds}]
learners = ["maml", "anil", "km-maml"]

{tasks}
[inner]
lr = 0.4

[test]
episodes = 30
"""
OMNIGLOT = """
[[tasks]]
dataset = "omniglot"
ways = 20
shots = 1
"""
GLYPHS = "\n".join(f'[[tasks]]\ndataset = "glyphs"\nways = {ways}\nshots = 1\n' for ways in (2, 3, 4, 5, 6))


def filled(folder: Path, tasks: str, seeds: int, better: dict[str, float]) -> tuple[Grid, ResultStore]:
    """A grid whose learners differ by so much, with noise of episodes, seeds and both."""
    grid = small_grid(folder, GRID.format(seeds=", ".join(map(str, range(seeds))), tasks=tasks))
    store = ResultStore(folder / "results", grid.name)
    random = np.random.default_rng(0)
    for cell in grid.cells:
        chance = 0.6 + better[cell.learner] + 0.01 * random.standard_normal() + 0.05 * random.standard_normal(30)
        store_result(store, cell, random.binomial(100, chance) / 100, partial=None)
    return grid, store


def test_a_few_seeds_compare_trained_models_by_episode(tmp_path: Path) -> None:
    results = read_results(*filled(tmp_path, OMNIGLOT, 2, {"maml": 0.0, "anil": 0.01, "km-maml": 0.1}))
    contrasts = contrast_all(results)
    of = {score.method: score.accuracies.mean(0) for score in results.of_task("omniglot-20w1s")}
    expected = [stats.ttest_rel(of[a], of[b]) for a, b in (("maml", "anil"), ("maml", "km-maml"), ("anil", "km-maml"))]
    assert [contrast.compares for contrast in contrasts.all] == ["trained models"] * 3
    assert [contrast.deciding.p_t for contrast in contrasts.all] == pytest.approx([float(t.pvalue) for t in expected])
    adjusted = multipletests([float(t.pvalue) for t in expected], method="holm")[1]
    assert [contrast.adjusted_p for contrast in contrasts.all] == pytest.approx(adjusted.tolist())
    found = contrasts.between("omniglot-20w1s", "km-maml", "maml")
    assert found is not None
    assert found.outcome == "better"
    bounds = stats.ttest_rel(of["km-maml"], of["maml"]).confidence_interval()
    assert found.deciding.difference.low == pytest.approx(float(bounds.low))
    assert found.deciding.difference.high == pytest.approx(float(bounds.high))
    assert found.deciding.first_better.mean == pytest.approx(float(np.mean(of["km-maml"] > of["maml"])))


def test_five_seeds_compare_algorithms_by_seed(tmp_path: Path) -> None:
    results = read_results(*filled(tmp_path, OMNIGLOT, 5, {"maml": 0.0, "anil": 0.0, "km-maml": 0.1}))
    found = contrast_all(results).between("omniglot-20w1s", "km-maml", "anil")
    of = {score.method: score.accuracies.mean(1) for score in results.of_task("omniglot-20w1s")}
    assert found is not None
    assert found.compares == "algorithms"
    assert found.deciding.n == 5
    assert found.deciding.p_t == pytest.approx(float(stats.ttest_rel(of["km-maml"], of["anil"]).pvalue))
    assert found.deciding.p_sign_flip == pytest.approx(2 / 32)  # the least that five pairs allow


def test_seeds_are_paired_by_their_number(tmp_path: Path) -> None:
    """Where one learner lacks a seed, the others of that seed have no partner."""
    grid, store = filled(tmp_path, OMNIGLOT, 6, {"maml": 0.0, "anil": 0.0, "km-maml": 0.1})
    lost = next(cell for cell in grid.cells if cell.learner == "anil" and cell.seed == 0)
    store.cell_folder(lost).rename(tmp_path / "lost")
    results = read_results(grid, store)
    found = contrast_all(results).between("omniglot-20w1s", "km-maml", "anil")
    of = {score.method: score.accuracies.mean(1) for score in results.of_task("omniglot-20w1s")}
    assert found is not None
    assert found.over_seeds is not None
    assert found.over_seeds.difference.mean == pytest.approx(of["km-maml"][1:].mean() - of["anil"].mean())


def test_a_single_method_has_no_best(tmp_path: Path) -> None:
    grid, store = filled(tmp_path, OMNIGLOT, 1, {"maml": 0.0, "anil": 0.0, "km-maml": 0.0})
    for cell in grid.cells[1:]:
        store.cell_folder(cell).rename(tmp_path / cell.learner)
    results = read_results(grid, store)
    assert best_methods(results, contrast_all(results), "omniglot-20w1s") == set()


def test_ranks_need_five_tasks(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    few = rank_methods(read_results(*filled(tmp_path / "few", OMNIGLOT, 1, {"maml": 0.0, "anil": 0.0, "km-maml": 0.0})))
    assert few == "none: they need at least 5 tasks with every method (Demsar 2006), and there is 1."
    ranking = rank_methods(read_results(*filled(tmp_path, GLYPHS, 1, {"maml": 0.0, "anil": 0.1, "km-maml": 0.2})))
    assert isinstance(ranking, Ranking)
    assert ranking.ranks == {"maml": 3, "anil": 2, "km-maml": 1}
    assert ranking.friedman_p == pytest.approx(float(stats.chi2.sf(10, 2)))  # 12 * 5 / (3 * 4) * (14 - 3 * 16 / 4)
    # q(0.05; 3) = 2.343 of Demsar's table 5a, times sqrt(3 * 4 / (6 * 5)): 1.48, so that neighbours are not told apart
    assert ranking.critical_difference == pytest.approx(1.482, abs=0.001)
    assert ranking.groups() == [("km-maml", "anil"), ("anil", "maml")]


def test_the_papers_claims_are_tested_by_seeds(tmp_path: Path) -> None:
    for seeds, better, verdicts in (
        (5, 0.1, ("supported", "supported")),
        (5, -0.1, ("contradicted", "contradicted")),
        (5, 0.0, ("undecided", "undecided")),
        (4, 0.1, ("undecided", "undecided")),
    ):
        folder = tmp_path / f"{seeds}{better}"
        folder.mkdir()
        results = read_results(*filled(folder, OMNIGLOT, seeds, {"maml": 0.0, "anil": 0.0, "km-maml": better}))
        checked = check_claims(results, contrast_all(results))
        here = [one for one in checked if one.claim.task == "omniglot-20w1s"]
        assert tuple(one.verdict for one in here) == verdicts
        assert {one.contrast.deciding.n for one in here if one.contrast} == {seeds if seeds == 5 else 30}
        assert [one.why for one in checked if one.contrast is None] == ["the grid has no such task"] * 4
    assert "these trained models agree with it; a claim about algorithms needs 5 seeds" in here[0].why


def test_what_is_published_is_what_the_papers_say() -> None:
    """Counts and a few values of the papers' tables; the paper states six orderings in words."""
    rows = published_rows()
    assert len(rows) == 5
    assert sum(len(row.accuracies) for row in rows) == 18
    finn = next(row for row in rows if row.source.startswith("Finn"))
    assert finn.accuracies["mini-imagenet-5w1s"] == (48.70, 1.84)
    five_way = {task: pair for row in rows for task, pair in row.accuracies.items() if task.startswith("omniglot-5w")}
    assert five_way == {"omniglot-5w1s": (98.70, 0.40), "omniglot-5w5s": (99.90, 0.10)}  # MAML's Table 1, and no other
    assert all(finn.accuracies[task] == pair for task, pair in five_way.items())
    assert {(claim.better, claim.worse) for claim in published_claims()} == {("km-maml", "anil"), ("km-maml", "maml")}
    assert len(published_claims()) == 6
