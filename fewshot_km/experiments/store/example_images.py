"""The images of the first test episodes of a task, which reports show beside a learner's answers: one sheet a task."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from fewshot_km.data import Dataset
from fewshot_km.data.storage import read_text_bounded, write_bytes, write_text
from fewshot_km.errors import DataError
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.store.probe_file import EXAMPLES

STEM = "test_examples"
FACTS = f"{STEM}.json"
MOST_BYTES = 2**22  # of its facts: names of classes, mostly
MOST_QUERIES = 5  # of each class: what fits beside its support into the width of a page
TALLEST = 65_500  # pixels of a JPEG
QUALITY = 85  # of JPEGs: no difference that is seen at this size


def write_examples(folder: Path, config: CellConfig, dataset: Dataset, episodes_digest: str) -> None:
    """Write test_examples.json and the sheet that it names into a task's folder, unless they are there.

    A row of the sheet is a label of an episode, row = episode * ways + label; its columns are the support images, then
    the first query images. `episodes_digest` is that of the task's test episodes. Images that are neither grey nor
    RGB are not drawn.
    """
    from fewshot_km.experiments.store.frozen_episodes import (
        frozen_test,  # torch, which who reads these files does without
    )

    bank, ways, shots = dataset.bank, config.task.ways, config.task.shots
    channels, height, width = bank.image_shape
    episodes = min(EXAMPLES, config.test.episodes, TALLEST // (ways * height))
    if channels not in (1, 3) or not episodes:
        return
    ids = frozen_test(config, dataset).image_ids(range(episodes))[:, :, : shots + MOST_QUERIES]
    owners = np.searchsorted(bank.starts, ids[:, :, 0], side="right") - 1
    sheet = folder / f"{STEM}.{'png' if channels == 1 else 'jpg'}"
    facts = {
        "sheet": sheet.name,
        "test_episodes_digest": episodes_digest,
        "dataset": dataset.name,
        "dataset_digest": dataset.digest,
        "dataset_partial": dataset.partial,
        "ways": ways,
        "shots": shots,
        "queries": config.task.test_queries,
        "queries_shown": ids.shape[2] - shots,
        "height": height,
        "width": width,
        "episodes": list(range(episodes)),
        "class_names": [[bank.class_names[owner] for owner in of_episode] for of_episode in owners],
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    if sheet.is_file() and _text(folder / FACTS) == text:
        return
    (folder / FACTS).unlink(missing_ok=True)  # written last: with it, the sheet is there and the one that it tells of
    rows = bank.images[ids.reshape(episodes * ways, -1)]  # [rows, columns, C, H, W]
    pixels = rows.transpose(0, 3, 1, 4, 2).reshape(len(rows) * height, -1, channels)
    file = io.BytesIO()
    if channels == 1:
        Image.fromarray(pixels[..., 0]).save(file, "PNG", optimize=True)
    else:
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    write_bytes(sheet, file.getvalue())
    write_text(folder / FACTS, text)


def _text(path: Path) -> str:
    try:
        return read_text_bounded(path, MOST_BYTES)
    except DataError:
        return ""
