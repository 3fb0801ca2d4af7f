"""Shared fixtures: every test has its own cache and data root, so that none reads or writes the user's."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from fewshot_km.data.storage import CACHE_ROOT_VARIABLE, DATA_ROOT_VARIABLE

torch.set_num_threads(1)  # the networks here are tiny; and threads of two test runs at once would starve each other
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the processes that tests start

settings.register_profile("suite", deadline=None)  # a slow machine is no defect
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: what is left when one process has nothing more to do is then short."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole run, whichever of its processes a test is in."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def session_cache(session_folder: Path) -> Path:
    """One cache for the whole run: a bank that several tests need is built once."""
    folder = session_folder / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(session_folder: Path, session_cache: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder of the whole run by its name, and what fills it, which one process of the run does for all."""

    def filled(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = session_folder / name, session_folder / f"{name}.done"
        with FileLock(session_folder / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv(CACHE_ROOT_VARIABLE, str(session_cache))
                    patch.setenv(DATA_ROOT_VARIABLE, str(folder))
                    fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(autouse=True)
def own_storage(monkeypatch: pytest.MonkeyPatch, session_cache: Path, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(session_cache))
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(tmp_path / "data-root"))


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def real_omniglot() -> Path:
    """The folder that holds the real Omniglot archives; skips where this checkout has none beside it."""
    folder = SHARED_DATA / "omniglot"
    if not (folder / "images_background.zip").is_file():
        pytest.skip(f"the real Omniglot is not at {folder}")
    return folder
