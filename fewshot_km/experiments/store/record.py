"""record.json of a finished cell and seed<k>.failed.json: what must stand in them, and how they are read.

They may hold more than is named here: what other versions write, which a page shows as it is.
"""

import re
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # before Python 3.12, pydantic needs this one

from fewshot_km.data.storage import read_text_bounded
from fewshot_km.errors import DataError
from fewshot_km.experiments.settings.cell_settings import settings_digest
from fewshot_km.text import parse_json

RECORD = "record.json"
MOST_BYTES = 2**22  # a record has some kilobytes, and 200 bytes more for each time that its cell was gone on with

Count = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Accuracy = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class TaskSettings(TypedDict):
    """The task's settings that decide about test episodes."""

    ways: Count
    shots: Count
    test_queries: Count


class TestSettings(TypedDict):
    """The settings of the test."""

    episodes: Annotated[int, Field(ge=2, lt=2**63)]


class Settings(TypedDict):
    """A CellConfig of any version."""

    task: TaskSettings
    test: TestSettings


class Results(TypedDict):
    """The numbers that sum up a cell, in the order in which they are written."""

    test_accuracy: Accuracy
    test_episodes: Count
    best_val_accuracy: NotRequired[Accuracy]
    best_iteration: NotRequired[Count]
    iterations: NotRequired[Count]
    adapted_parameters: NotRequired[Count]
    bytes_per_task: NotRequired[Count]
    meta_parameters: NotRequired[Count]
    train_seconds: NotRequired[Seconds]
    test_seconds: NotRequired[Seconds]
    adaptation_seconds: NotRequired[Seconds]


class Libraries(TypedDict):
    """Versions of libraries."""

    torch: str


class Backends(TypedDict):
    """The backends that ran the tasks, and their tasks at once."""

    training: str
    testing: str
    training_chunk: Annotated[int, Field(ge=1, lt=2**63)]
    testing_chunk: Annotated[int, Field(ge=1, lt=2**63)]


class Environment(TypedDict):
    """Versions, commit and machine of a result."""

    fewshot_km: str
    git_commit: str | None
    device: str
    libraries: Libraries
    tf32: NotRequired[bool]
    backends: NotRequired[Backends]


Files = TypedDict(
    "Files",
    {
        "test_episodes.csv": NotRequired[Sha256],
        "history.csv": NotRequired[Sha256],
        "weights.safetensors": NotRequired[Sha256],
        "analysis.json": NotRequired[Sha256],
    },
)
"""SHA-256 of the files beside the record, as they were written."""


class Record(TypedDict):
    """The content of record.json; `files` and `test_episodes_digest` are missing from those of earlier versions."""

    config_digest: Sha256
    config: Settings
    dataset_digest: str
    dataset_partial: NotRequired[str | None]
    test_episodes_digest: NotRequired[str]
    results: Results
    environment: Environment
    started: NotRequired[str]
    ended: NotRequired[str]
    sessions: NotRequired[list[dict[str, Any]]]
    files: NotRequired[Files]


class Failure(TypedDict):
    """The content of seed<k>.failed.json."""

    config_digest: Sha256
    reason: str


_RECORD, _FAILURE = TypeAdapter(Record), TypeAdapter(Failure)
_Content = TypeVar("_Content")


def read_record(path: Path) -> Record:
    """Read a record.json; raises DataError with file, field and mend for anything that is not one."""
    mend = f"put back the file that was written, or delete {path.parent} and run again"
    record = _read(path, _RECORD, mend)
    if settings_digest(record["config"]) != record["config_digest"]:
        raise DataError(f"{path}: config_digest: is not that of the settings in config; {mend}")
    tested, asked = record["results"]["test_episodes"], record["config"]["test"]["episodes"]
    if tested != asked:
        raise DataError(f"{path}: results.test_episodes: {tested}, but config.test.episodes is {asked}; {mend}")
    return record


def read_failure(path: Path) -> Failure:
    """Read a seed<k>.failed.json; raises DataError with file, field and mend for anything that is not one."""
    return _read(path, _FAILURE, "delete the file, and `fewshot-km run` tries the cell again")


def config_digest_in(path: Path) -> str | None:
    """Read the digest of the settings in a record or a failure; None where there is none."""
    try:
        digest = parse_json(read_text_bounded(path, MOST_BYTES))["config_digest"]
    except (DataError, ValueError, LookupError, TypeError):
        return None
    return digest if isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) else None


def _read(path: Path, kind: TypeAdapter[_Content], mend: str) -> _Content:
    try:
        content: _Content = parse_json(read_text_bounded(path, MOST_BYTES))
        kind.validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        why = "is missing" if first["type"] == "missing" else first["msg"][0].lower() + first["msg"][1:]
        raise DataError(f"{path}: {place}: {why}; {mend}") from None
    except DataError as error:
        raise DataError(f"{error}; {mend}") from None
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); {mend}") from None
    return content  # as it is written, in its order: validated, but not changed
