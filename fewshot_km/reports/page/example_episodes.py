"""Test episodes to look at: the images of a task's sheet beside every learner's answers."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from markupsafe import Markup
from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError

from fewshot_km.data.storage import read_bytes_bounded, read_text_bounded
from fewshot_km.errors import DataError
from fewshot_km.experiments.store.example_images import FACTS, STEM
from fewshot_km.reports.grid_results import GridResults, Score
from fewshot_km.text import visible

MEDIA = {f"{STEM}.png": "image/png", f"{STEM}.jpg": "image/jpeg"}  # what a sheet may be: no other file is read
MOST_BYTES = 2**26  # a sheet of large photographs has some megabytes
SHOWN_AT_LEAST = 52  # pixels: a 28x28 drawing is shown at twice its size

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class SheetFacts:
    """The content of test_examples.json, as far as it is needed here; see experiments/store/example_images.py."""

    sheet: str
    test_episodes_digest: str
    ways: Count
    shots: Count
    queries: Count
    queries_shown: Count
    height: Count
    width: Count
    episodes: Annotated[tuple[int, ...], Field(min_length=1)]
    class_names: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        of_episodes = [len(names) for names in self.class_names]
        fits = self.queries_shown <= self.queries and of_episodes == [self.ways] * len(self.episodes)
        if self.sheet not in MEDIA or not fits:
            raise ValueError("its facts do not fit together")

    @property
    def scale(self) -> int:
        """How many pixels of the screen on either side one of the image takes."""
        return -(-SHOWN_AT_LEAST // min(self.height, self.width))


@dataclass(frozen=True)
class Viewer:
    """The examples of one task.

    image    the sheet as a data: URI
    answers  by method, seed and episode the label given to each shown query, in the order label, query; -1 for none
    missing  of which method and seeds there are no answers
    """

    task: str
    facts: SheetFacts
    image: Markup
    answers: Mapping[str, Mapping[int, tuple[tuple[int, ...], ...]]]
    missing: tuple[str, ...]

    @property
    def seeds(self) -> list[int]:
        """Those of which there are answers."""
        return sorted({seed for of_method in self.answers.values() for seed in of_method})


def task_viewer(results: GridResults, task: str) -> Viewer | str:
    """The examples of a task, or why there are none; raises DataError where its files are damaged."""
    path = results.folder / task / FACTS
    if not path.exists():
        return "its images are not there (they are not published with results)"
    try:
        facts = _FACTS.validate_json(read_text_bounded(path, MOST_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(path, ": ".join([*map(str, first["loc"]), first["msg"]])) from error
    except DataError as error:
        raise _damaged(path, str(error)) from error
    scores = [score for method in results.methods if (score := results.scores[task, method]).cells]
    digests = {digest for score in scores for one in score.stored if (digest := one.record.get("test_episodes_digest"))}
    if digests - {facts.test_episodes_digest}:
        return f"its images are of other test episodes: delete {task}/{FACTS} beside the results"
    answers = {score.method: found for score in scores if (found := _answers(score, facts))}
    if not answers:
        return "no finished cell has kept its answers"
    missing = [
        f"{score.method} seed {cell.seed}"
        for score in scores
        for cell in score.cells
        if cell.seed not in answers.get(score.method, {})
    ]
    return Viewer(task, facts, _data_uri(path.parent / facts.sheet, facts), answers, tuple(missing))


def _answers(score: Score, facts: SheetFacts) -> dict[int, tuple[tuple[int, ...], ...]]:
    found = {}
    for seed, stored in zip(score.seeds, score.stored, strict=True):
        of_cell = () if stored.analysis is None else stored.analysis.examples
        if of_cell and all(_fits(answers, facts) for answers in of_cell):
            shown = [label * facts.queries + n for label in range(facts.ways) for n in range(facts.queries_shown)]
            found[seed] = tuple(tuple(answers[place] for place in shown) for answers in of_cell[: len(facts.episodes)])
    return {seed: answers for seed, answers in found.items() if len(answers) == len(facts.episodes)}


def _fits(answers: Sequence[int], facts: SheetFacts) -> bool:
    return len(answers) == facts.ways * facts.queries and all(-1 <= label < facts.ways for label in answers)


def _data_uri(path: Path, facts: SheetFacts) -> Markup:
    try:
        content = read_bytes_bounded(path, MOST_BYTES)
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as image:
            size, kind = image.size, image.get_format_mimetype()
    except (DataError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, str(error)) from error
    columns, rows = facts.shots + facts.queries_shown, len(facts.episodes) * facts.ways
    if size != (columns * facts.width, rows * facts.height) or kind != MEDIA[path.name]:
        raise _damaged(path, f"it has {size[0]}x{size[1]} pixels, which {FACTS} does not tell of")
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path}: damaged ({why}); delete {path.parent / FACTS}, then `fewshot-km evaluate` makes it anew")


def viewer_data(viewer: Viewer) -> dict[str, Any]:
    """What the page's script needs to show another episode or seed."""
    names = [[visible(name) for name in names] for names in viewer.facts.class_names]
    return {"names": names, "answers": viewer.answers}


_FACTS = TypeAdapter(SheetFacts)
