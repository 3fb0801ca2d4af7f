"""Verdicts in words, against numbers known beforehand."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.comparisons import Contrast
from fewshot_km.reports.mean_ranks import Ranking
from fewshot_km.reports.paired_tests import compare_paired
from fewshot_km.reports.papers import CheckedClaim, Claim
from fewshot_km.reports.report import make_report
from fewshot_km.reports.verdicts import (
    best_sentence,
    claim_sentence,
    contrast_sentence,
    headline_sentence,
    ranking_sentences,
)
from tests.support.made_up_pages import made_up_store
from tests.support.made_up_results import small_grid, store_result

LEADS = """
seeds = [0]
learners = ["maml", "anil"]
inner = { lr = 0.4 }
test = { episodes = 200 }
"""
TASK = """
[[tasks]]
label = "task-{n}"
dataset = "omniglot"
ways = 5
shots = 1
"""

BASE = np.linspace(0.4, 0.6, 600)
STEPS = np.tile([0.01, 0.03], 300)  # mean 2 points, standard deviation 1 point
REACH = 100 * stats.t.ppf(0.975, 599) * STEPS.std(ddof=1) / np.sqrt(600)
MODELS = "This compares trained models, not algorithms: that takes five seeds or more of both."


def contrast(second: np.ndarray, p: float, seeds: int = 0) -> Contrast:
    over_seeds = compare_paired(BASE[:seeds] + STEPS[:seeds], BASE[:seeds]) if seeds else None
    return Contrast("letters", "anil", "maml", compare_paired(BASE, second), over_seeds, p)


def test_the_better_one_comes_first() -> None:
    said = (
        f"is better than {{}} on letters by 2.00 ± {REACH:.2f} points over the same 600 test episodes (Holm p < 0.0001)"
    )
    assert contrast_sentence(contrast(BASE - STEPS, 1e-9)) == f"anil {said.format('maml')}. {MODELS}"
    assert contrast_sentence(contrast(BASE + STEPS, 1e-9)) == f"maml {said.format('anil')}. {MODELS}"


def test_what_is_not_significant_is_not_better() -> None:
    sentence = contrast_sentence(contrast(BASE + STEPS, 0.0501))
    assert sentence.startswith("maml and anil cannot be told apart on letters: the first minus the second is +2.00 ± ")
    assert "Holm p = 0.0501" in sentence
    assert "better" not in sentence


def test_no_difference_at_all_is_said() -> None:
    assert "is +0.00 ± 0.00 points" in contrast_sentence(contrast(BASE, 1.0))


def test_five_seeds_speak_of_algorithms() -> None:
    sentence = contrast_sentence(contrast(BASE, 0.012, seeds=5))
    assert "by 1.80 ± 1.36 points over 5 seeds that both were trained with (Holm p = 0.0120)" in sentence
    assert sentence.endswith("This compares the algorithms, as they are set here.")


@pytest.mark.parametrize("shift", [0.09, 0.0])
def test_the_best_of_a_task_and_its_equals(tmp_path: Path, shift: float) -> None:
    grid, store = made_up_store(tmp_path)
    for cell in grid.cells:
        if (cell.task, cell.learner) == ("glyphs-5w5s", "anil"):
            maml = store.read(grid.cells[6 + cell.seed]).accuracies
            store_result(store, cell, maml + shift * (0.8 + 0.4 * (np.arange(len(maml)) % 2)))
    report = make_report(grid, store)
    sentence = best_sentence(report.results, report.contrasts, "glyphs-5w5s")
    if shift:
        mean = np.mean([store.read(grid.cells[8 + seed]).accuracies.mean() for seed in (0, 1)])
        assert (
            sentence == f"anil has the highest mean, {100 * mean:.2f} %, and every other method is significantly worse."
        )
    else:
        assert "not significantly worse" in sentence


@pytest.mark.parametrize(
    ("leads", "clear", "said"),
    [
        (["maml"], [True], "maml has the highest mean on task-0, significantly above all others"),
        (["anil"], [False], "anil has the highest mean on task-0, but not significantly above all others"),
        (
            ["maml"] * 3,
            [True] * 3,
            "maml has the highest mean on all 3 tasks, each time significantly above all others",
        ),
        (
            ["maml", "anil", "maml"],
            [True, True, False],
            "maml has the highest mean on 2 of 3 tasks, on 1 of them significantly above all others; "
            "anil has it on 1 of 3 tasks, significantly above all others",
        ),
        (
            ["anil"] * 2,
            [False] * 2,
            "anil has the highest mean on both tasks, but never significantly above all others",
        ),
    ],
)
def test_the_headline_says_who_leads_where_and_how_clearly(
    tmp_path: Path, leads: list[str], clear: list[bool], said: str
) -> None:
    """Of two learners on the same episodes: ten points apart everywhere, or a hundredth of their spread."""
    grid = small_grid(tmp_path, LEADS + "".join(TASK.format(n=n) for n in range(len(leads))))
    store = ResultStore(tmp_path / "results", grid.name)
    spread = np.tile([-0.02, 0.02], 100)
    for cell in grid.cells:
        n = int(cell.task.removeprefix("task-"))
        ahead = (0.1 if clear[n] else 0.0002) if cell.learner == leads[n] else 0
        store_result(store, cell, BASE[:200] + ahead + (spread if cell.learner == "maml" else 0), episodes="d")
    report = make_report(grid, store)
    sentence = headline_sentence(report.results, report.contrasts)
    assert sentence == f"{said} (compared: trained models, not algorithms)."


def test_the_headline_of_one_method_compares_nothing(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, LEADS.replace('"maml", ', "") + TASK.format(n=0))
    store = ResultStore(tmp_path / "results", grid.name)
    store_result(store, grid.cells[0], BASE[:200])
    report = make_report(grid, store)
    assert "nothing to compare" in headline_sentence(report.results, report.contrasts)


def test_claims_give_their_evidence_or_why_there_is_none() -> None:
    claim = Claim("anil", "maml", "omniglot-20w1s", "A paper 2022")
    undecided = CheckedClaim(claim, "undecided", contrast(BASE - STEPS, 1e-9))
    sentence = claim_sentence(undecided)
    assert sentence.startswith(
        "A paper 2022: anil above maml on omniglot-20w1s: undecided. anil is better than maml on"
    )
    assert sentence.endswith(MODELS)
    untested = CheckedClaim(claim, "not tested", None, "the grid has no such task")
    assert claim_sentence(untested).endswith("not tested, because the grid has no such task.")


def test_ranks_in_words() -> None:
    assert ranking_sentences("no ranks: too few.") == ["No ranks: too few."]
    first, second = ranking_sentences(Ranking({"a": 2.6, "b": 1.2, "c": 2.2}, 6, 0.00001, 1.2))
    assert first == "Mean ranks over 6 tasks, 1 the best: b 1.20, c 2.20, a 2.60 (Friedman p < 0.0001)."
    assert second.endswith("(Nemenyi, 5 %): b, c; c, a.")
