"""The small inputs on which the readers of published data sets went wrong, where this checkout has their maker."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fewshot_km.data import load_dataset
from fewshot_km.data.readers.omniglot import find_omniglot
from fewshot_km.errors import DataError
from tests.conftest import SHARED_DATA

MAKER = SHARED_DATA.parent / "cases" / "make_data_cases.py"


@pytest.fixture
def maker() -> ModuleType:
    if not MAKER.is_file():
        pytest.skip(f"the maker of the cases is not at {MAKER}")
    spec = importlib.util.spec_from_file_location("make_data_cases", MAKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("mini_imagenet_without_split", "images split by the frozen class lists in mini-imagenet"),
        ("mini_imagenet_names_with_folders", "image files named in the csv files in mini-imagenet"),
    ],
)
def test_mini_imagenet_is_read(case: str, found: str, maker: ModuleType, tmp_path: Path) -> None:
    getattr(maker, case)(tmp_path)
    dataset = load_dataset("mini-imagenet", tmp_path, {"allow_partial": True})
    assert dataset.found == f"{found}, 2,000 images of 84x84"
    assert [len(split.classes) for split in dataset.splits.values()] == [64, 16, 20]
    assert set(dataset.bank.counts.tolist()) == {20}


def test_a_second_download_is_found_and_said_to_be_a_part(maker: ModuleType, tmp_path: Path) -> None:
    maker.pickle_by_easy_names(tmp_path)
    with pytest.raises(DataError, match=r"\(pickles\) holds 1 of 100 classes, 40 of 60,000 images"):
        load_dataset("mini-imagenet", tmp_path)


@pytest.mark.parametrize("name", ["mini-imagenet", "omniglot"])
def test_a_web_page_is_called_one(name: str, maker: ModuleType, tmp_path: Path) -> None:
    maker.web_page_for_data(tmp_path)
    with pytest.raises(DataError, match="is a web page, not the data") as caught:
        load_dataset(name, tmp_path)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("root", ["torchvision", "clone", "clone/omniglot"])
def test_omniglot_is_found(root: str, maker: ModuleType, tmp_path: Path) -> None:
    maker.omniglot_elsewhere(tmp_path)
    halves = find_omniglot(tmp_path / root)
    assert [half.path.name for half in halves] == ["images_background.zip", "images_evaluation.zip"]
