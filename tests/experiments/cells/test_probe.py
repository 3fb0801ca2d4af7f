"""What is asked of a trained learner, against its test, its validation, and the learner asked by hand."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewshot_km.data import Dataset, load_dataset
from fewshot_km.errors import DataError, DivergenceError
from fewshot_km.experiments.cells.cell_state import CellState
from fewshot_km.experiments.cells.cell_task import CellTask
from fewshot_km.experiments.cells.parts import Parts, Streams, make_learner, make_streams
from fewshot_km.experiments.cells.probe import adaptation_seconds, analyse, steps_asked
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.settings.run_settings import RunSettings
from fewshot_km.experiments.store.csv_files import read_episodes
from fewshot_km.experiments.store.probe_file import Analysis
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.learners import Params
from fewshot_km.training.engine import Engine
from fewshot_km.training.ranks import ALONE
from tests.support.made_up_results import SMALL_GRID, small_grid, store_result, without_digests

CPU = torch.device("cpu")
TEXT = SMALL_GRID.replace('["maml", ', '["maml", "anil", ').replace("seeds = [0, 1]", "seeds = [0]")
LEARNERS = ["maml", "anil", "km-maml"]


@pytest.fixture(scope="module")
def glyphs(session_cache: Path) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_KM_CACHE", str(session_cache))
        return load_dataset("glyphs", session_cache)


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CellConfig]:
    text = TEXT.replace("episodes = 5", "episodes = 90").replace("lr = 0.4", "lr = 0.4\ntrain_steps = 4")
    return {cell.learner: cell.config for cell in small_grid(tmp_path_factory.mktemp("grid"), text).cells}


@pytest.fixture(scope="module")
def results(glyphs: Dataset, configs: dict[str, CellConfig]) -> dict[str, CellState]:
    settings = RunSettings(backend="plain")
    return {name: CellTask(config, settings).run(glyphs, ALONE) for name, config in configs.items()}


def analysis_of(result: CellState) -> Analysis:
    return Analysis.from_json(result.files["analysis.json"].decode())


def accuracies_of(result: CellState) -> np.ndarray:
    return read_episodes(result.files["test_episodes.csv"].decode())


def parts(config: CellConfig, learner: Any, streams: Streams, check: Any = lambda *_: None) -> Parts:
    return Parts(config, Engine(learner), streams, {}, check=check)


def by_hand(learner: Any, meta: Params, sampler: Any, index: int, steps: int) -> tuple[Params, torch.Tensor, float]:
    """The delta of one episode, the labels of its queries, and how many of them are right."""
    episode = sampler.draw([index])
    with torch.no_grad():
        delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=steps)
        labels = learner.predict(meta, delta, episode.query_x[0]).argmax(-1)
    return delta, labels, float((labels == episode.query_y[0]).double().mean())


@pytest.mark.parametrize("name", LEARNERS)
def test_it_agrees_with_validation_test_and_the_learner_by_hand(
    name: str, glyphs: Dataset, configs: dict[str, CellConfig], results: dict[str, CellState]
) -> None:
    config, result = configs[name], results[name]
    analysis, meta = analysis_of(result), result.weights
    learner, streams = make_learner(config, glyphs), make_streams(config, glyphs, CPU)

    curve = {found.steps: found for found in analysis.inner_steps}
    assert list(curve) == [0, 1, 2, 3, 4, 5]  # twice the 3 of the test is 6; 4 are those of training
    assert curve[3].mean == pytest.approx(result.results["best_val_accuracy"])  # what chose these weights
    for steps, found in curve.items():
        right = [by_hand(learner, meta, streams.validation, e, steps)[2] for e in range(config.validation.episodes)]
        assert found.accuracies == pytest.approx(right)
        assert found.mean == pytest.approx(np.mean(right))

    assert len(analysis.examples) == 6
    for e, labels in enumerate(analysis.examples):
        _, answered, right_part = by_hand(learner, meta, streams.test, e, 3)
        order = streams.test.orders([e])[1][0].tolist()
        assert [labels[place] for place in order] == answered.tolist()  # kept by label, answered in random order
        assert right_part == pytest.approx(accuracies_of(result)[e])

    # 142 test classes of 20 images hold 3 groups of 6; 85 episodes of 5 classes each
    assert analysis.open_available == len(analysis.open_accuracies) == 142 * 3 // 5
    for e in (0, 1, 84):
        assert analysis.open_accuracies[e] == pytest.approx(by_hand(learner, meta, streams.open, e, 3)[2])
    assert 0 < result.results["adaptation_seconds"] < 10


def test_there_are_no_more_open_episodes_than_closed_ones(
    glyphs: Dataset, configs: dict[str, CellConfig], results: dict[str, CellState]
) -> None:
    config = configs["anil"]
    few = config.model_copy(update={"test": config.test.model_copy(update={"episodes": 4})})
    few_parts = parts(few, make_learner(few, glyphs), make_streams(few, glyphs, CPU))
    analysis = analyse(few_parts, results["anil"].weights)
    whole = analysis_of(results["anil"])
    assert (analysis.open_available, analysis.open_accuracies) == (85, whole.open_accuracies[:4])
    assert analysis.examples == whole.examples[:4]


def test_kernels_are_those_before_and_after_adapting(
    glyphs: Dataset, configs: dict[str, CellConfig], results: dict[str, CellState]
) -> None:
    for name in LEARNERS:
        config, meta = configs[name], results[name].weights
        learner = make_learner(config, glyphs)
        delta, _, _ = by_hand(learner, meta, make_streams(config, glyphs, CPU).test, 0, 3)
        kept = "parametrizations.weight.original" if name == "km-maml" else "weight"
        kernels = {found.layer: found for found in analysis_of(results[name]).kernels}
        assert list(kernels) == [f"backbone.blocks.{n}.conv" for n in range(4)]
        for layer, found in kernels.items():
            weight = meta[f"{layer}.{kept}"][:16, 0].reshape(-1, 9)
            if name == "maml":
                used = delta[f"{layer}.weight"][:16, 0].reshape(-1, 9)
            elif name == "anil":
                used = weight
            else:  # the paper's Eq. 2-4
                u = [delta[f"{layer}.parametrizations.weight.0.{part}"] for part in ("u1", "u2")]
                used = torch.tanh(weight @ u[0]) @ u[1]
            assert found.size == (3, 3)
            assert len(found.before) == 8  # filters: fewer than 16
            assert torch.equal(torch.tensor(found.before), weight)  # to the bit, though written in decimals
            torch.testing.assert_close(torch.tensor(found.after), used)
            assert (found.before == found.after) == (name == "anil")


class NearestMean:
    """Nearest class mean of pixels: no network, and it insists on being asked for a step."""

    def __init__(self, seconds: list[float] | None = None) -> None:
        self.seconds = iter(seconds or ())
        self.steps: list[int] = []

    def init(self, seed: int) -> Params:
        return {"scale": torch.ones(1)}

    def adapt(self, meta: Params, x: torch.Tensor, y: torch.Tensor, *, steps: int) -> Params:
        assert x.shape == (5, 1, 28, 28)  # one task at a time
        time.sleep(next(self.seconds, 0))
        self.steps.append(steps)
        assert steps
        return {"means": x[y.argsort()].flatten(1)}

    def predict(self, meta: Params, delta: Params, x: torch.Tensor) -> torch.Tensor:
        return -torch.cdist(x.flatten(1), delta["means"]) * meta["scale"]


Asked = tuple[CellConfig, Streams]


@pytest.fixture(scope="module")
def asked(glyphs: Dataset, configs: dict[str, CellConfig]) -> Asked:
    return configs["maml"], make_streams(configs["maml"], glyphs, CPU)


def test_a_learner_without_a_network_that_takes_no_less_than_a_step(asked: Asked) -> None:
    config, streams = asked
    learner = NearestMean()
    analysis = analyse(parts(config, learner, streams), learner.init(0))
    assert analysis.kernels == ()
    assert [found.steps for found in analysis.inner_steps] == [1, 2, 3, 4, 5]
    assert set(learner.steps) == {0, 1, 2, 3, 4, 5}
    assert all(found.accuracies == analysis.inner_steps[0].accuracies for found in analysis.inner_steps)


def test_what_is_not_finite_is_no_answer(asked: Asked) -> None:
    config, streams = asked
    with pytest.raises(DivergenceError, match="logits are not finite in 85 of 85 episodes"):
        analyse(parts(config, NearestMean(), streams), {"scale": torch.tensor([torch.nan])})


class Overflowing(NearestMean):
    """Its logits grow a millionfold with each step."""

    def adapt(self, meta: Params, x: torch.Tensor, y: torch.Tensor, *, steps: int) -> Params:
        delta = super().adapt(meta, x, y, steps=steps)
        return {**delta, "scale": torch.tensor([1e10**steps])}

    def predict(self, meta: Params, delta: Params, x: torch.Tensor) -> torch.Tensor:
        return super().predict(meta, delta, x) * delta["scale"]


def test_more_steps_than_a_learner_bears_cost_points_of_the_curve_alone(asked: Asked) -> None:
    """1e38 is the largest float32: three steps of the test are borne, five are not."""
    config, streams = asked
    learner = Overflowing()
    curve = analyse(parts(config, learner, streams), learner.init(0)).inner_steps
    assert [found.steps for found in curve] == [1, 2, 3]


def test_the_time_of_one_task_is_a_median_after_warming_up(asked: Asked) -> None:
    config, streams = asked
    learner = NearestMean([0.3, 0.3, *([0.02] * 9), 0.3])
    assert 0.02 <= adaptation_seconds(parts(config, learner, streams), learner.init(0)) < 0.2
    assert learner.steps == [3] * 12


def test_it_can_be_stopped_between_batches(asked: Asked) -> None:
    config, streams = asked
    learner = NearestMean()

    def check(*_: object) -> None:
        raise InterruptedError

    for ask in (analyse, adaptation_seconds):
        with pytest.raises(InterruptedError):
            ask(parts(config, learner, streams, check), learner.init(0))
    assert len(learner.steps) < 20


def test_steps_that_are_asked_for(configs: dict[str, CellConfig]) -> None:
    def steps(train: int, test: int) -> list[int]:
        config = configs["maml"]
        inner = config.inner.model_copy(update={"train_steps": train, "test_steps": test})
        return steps_asked(config.model_copy(update={"inner": inner}))

    assert steps(1, 1) == [0, 1, 2]
    assert steps(5, 10) == [0, 1, 2, 3, 5, 10, 20]
    assert steps(50, 7) == [0, 1, 2, 3, 5, 7, 10, 50]


def test_it_is_stored_and_read_back(tmp_path: Path, results: dict[str, CellState]) -> None:
    result = results["km-maml"]
    cell = small_grid(tmp_path, TEXT.replace("episodes = 5", "episodes = 90")).cells[2]
    store = ResultStore(tmp_path / "results", "small")
    store_result(store, cell, accuracies_of(result), analysis=analysis_of(result))
    assert store.read(cell).analysis == analysis_of(result)
    without_digests(store.cell_folder(cell))  # which would tell all that follows from what was written
    file = store.cell_folder(cell) / "analysis.json"
    text = file.read_text()
    assert Analysis.from_json(text).to_json() == text
    for damaged in (
        text[:-9],
        "{}",
        text.replace('"open_available": 85', '"open_available": 84'),
        text.replace('"steps": 5', '"steps": 1'),
        text.replace('"open_accuracies": [0', '"open_accuracies": [7'),
        text.replace('"before": [[', '"before": [[NaN, '),
        text.replace('"before": [[', '"before": [[0.5, '),
        text.replace('"after": [[', '"after": [[1], ['),
        text.replace('"accuracies": [', '"accuracies": [0.5, ', 1),
        "[" * 100_000,
    ):
        assert damaged != text
        file.write_text(damaged)
        with pytest.raises(
            DataError, match=r"analysis.json: damaged \(.*\); delete the file, then `fewshot-km evaluate`"
        ):
            store.read(cell)
    file.unlink()
    assert store.read(cell).analysis is None
