"""A made-up grid with analyses, example images, a failed and a missing cell, and hostile names, for tests of pages."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from fewshot_km.experiments.settings.grid import Cell, Grid
from fewshot_km.experiments.store.example_images import FACTS
from fewshot_km.experiments.store.probe_file import Analysis
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.report import Report, make_report
from tests.support.made_up_results import small_grid, store_result

EPISODES, WAYS, SHOTS, QUERIES, SIDE = 3, 5, 1, 5, 8
GRID = """
seeds = [0, 1]
learners = ["maml", "anil", "km-maml"]
tasks = [{ dataset = "glyphs", ways = 5, shots = 1 }, { dataset = "glyphs", ways = 5, shots = 5 }]

[inner]
lr = 0.4

[test]
episodes = 40
"""
SCRIPT = "<script>document.title = 'run by a name'</script>"
HOSTILE = (SCRIPT, '"><img src=x onerror="document.title=1">', "</script><b>end", "abc\u202edef", "{{ 7 * 7 }}")
"""Class names: markup, ends of attributes and scripts, a turned direction of writing, a template."""


def answer(cell: Cell, episode: int, truth: int, query: int) -> int:
    """What a cell says of a query: a rule that tests can follow; -1, no answer, once in each episode of anil."""
    if cell.learner == "anil" and (truth, query) == (4, 4):
        return -1
    is_wrong = (cell.seed + episode + truth + query) % 4 == 0 and cell.learner != "maml"
    return (truth + 1) % WAYS if is_wrong else truth


def shade(episode: int, label: int, column: int) -> int:
    """The grey of an image of the sheet: all differ."""
    return 10 + (episode * WAYS + label) * 15 + column * 2


def write_images(store: ResultStore, cell: Cell, digest: str = "e") -> None:
    """One image per class, episode and column, each of one grey; class names are hostile."""
    folder = store.task_folder(cell)
    columns = cell.config.task.shots + QUERIES
    greys = [[shade(e, label, c) for c in range(columns)] for e in range(EPISODES) for label in range(WAYS)]
    pixels = np.kron(np.array(greys, dtype=np.uint8), np.ones((SIDE, SIDE), dtype=np.uint8))
    Image.fromarray(pixels).save(folder / "test_examples.png")
    facts = {
        "sheet": "test_examples.png",
        "test_episodes_digest": digest,
        "dataset": "glyphs",
        "ways": WAYS,
        "shots": cell.config.task.shots,
        "queries": QUERIES,
        "queries_shown": QUERIES,
        "height": SIDE,
        "width": SIDE,
        "episodes": list(range(EPISODES)),
        "class_names": [[f"{HOSTILE[(label + e) % WAYS]} {e}" for label in range(WAYS)] for e in range(EPISODES)],
    }
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def analysis(cell: Cell) -> Analysis:
    """Answers by the rule of `answer`, three open episodes."""
    examples = tuple(
        tuple(answer(cell, e, truth, q) for truth in range(WAYS) for q in range(QUERIES)) for e in range(EPISODES)
    )
    return Analysis(3, (0.5, 0.7, 0.9), (), examples, ())


def made_up_store(folder: Path, analysed: bool = True) -> tuple[Grid, ResultStore]:
    """Every cell done but two of the first task and seed 1: anil failed, for a hostile reason, and km-maml is to do."""
    grid = small_grid(folder, GRID)
    store = ResultStore(folder / "results", grid.name)
    random = np.random.default_rng(0)
    failed, to_do = grid.cells[3], grid.cells[5]
    for place, cell in enumerate([cell for cell in grid.cells if cell not in (failed, to_do)]):
        accuracies = np.round(random.uniform(0.4, 0.8, 40) * 25) / 25 + 0.04 * (place % 3)
        store_result(store, cell, accuracies, adapted=100 * 10 ** (place % 3))
        if analysed:
            record = dict(store.read(cell).record) | {"test_episodes_digest": "e", "note": SCRIPT}
            store.amend(cell, record, {"analysis.json": analysis(cell).to_json().encode()})
    store.write_failure(failed, f"{SCRIPT} & \"quotes\" 'too'")
    if analysed:
        for cell in {cell.task: cell for cell in grid.cells}.values():
            write_images(store, cell)
    return grid, store


def made_up_report(folder: Path, analysed: bool = True) -> Report:
    """The report of the made-up store."""
    return make_report(*made_up_store(folder, analysed))
