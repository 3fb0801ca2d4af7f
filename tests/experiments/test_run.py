"""Grids that run in this process: what is checked before the first cell, and what happens to cells that fail."""

import json
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn
from torch._C._functorch import maybe_current_level
from torch.utils._python_dispatch import TorchDispatchMode

from fewshot_km.accel import choice
from fewshot_km.data import DATASETS, Dataset, ImageBank
from fewshot_km.data.splits import make_splits
from fewshot_km.errors import ConfigError, DataError, DivergenceError, FewshotError, PluginError, StoppedRun
from fewshot_km.experiments.cells.cell_worker import CellWorker
from fewshot_km.experiments.cells.stopping import Stop
from fewshot_km.experiments.events.event import (
    BackendChosen,
    CellFailed,
    CellFinished,
    CellSkipped,
    Compiling,
    EpisodesTested,
    Event,
    ProcessLost,
    Warned,
)
from fewshot_km.experiments.runners.process_group import ProcessGroup
from fewshot_km.experiments.runners.run_grid import run_grid
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.settings.run_settings import RunSettings
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.learners import LEARNERS, GradientLearner, Params
from fewshot_km.models import NETWORKS
from fewshot_km.training.history import IterationDone
from tests.accel.test_backends import QUICK
from tests.support.made_up_results import SMALL_GRID, small_grid

CPU = torch.device("cpu")
NOISE_GRID = SMALL_GRID.replace('"glyphs"', '"noise"').replace("seeds = [0, 1]", "seeds = [0]")


class Log:
    """A subscriber that only remembers."""

    def __init__(self) -> None:
        self.finished: list[Cell] = []
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.iterations = 0
        self.episodes = 0
        self.warnings: list[str] = []
        self.choices: dict[tuple[str, str], BackendChosen] = {}

    def __call__(self, cell: Cell, event: Event) -> None:
        match event:
            case Compiling() | ProcessLost():
                raise AssertionError("nothing here takes long enough, or is lost")
            case Warned(text):
                self.warnings.append(text)
            case BackendChosen(purpose):
                self.choices[str(cell), purpose] = event
            case IterationDone():
                self.iterations += 1
            case EpisodesTested(episodes):
                self.episodes += episodes
            case CellFinished():
                self.finished.append(cell)
            case CellFailed(reason):
                self.failed[str(cell)] = reason
            case CellSkipped(reason):
                self.skipped[str(cell)] = reason


def noise_dataset(seed: int) -> Dataset:
    """Classes of random pixels around a picture of their own: easy to tell apart."""
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 200, (21, 1, 1, 16, 16))
    images = (pictures + random.integers(0, 56, (21, 12, 1, 16, 16))).astype(np.uint8)
    names = [str(c) for c in range(21)]
    bank = ImageBank.from_classes(names, images)
    rows = {s: [[n] for n in names[7 * i : 7 * i + 7]] for i, s in enumerate(("train", "val", "test"))}
    return Dataset("noise", bank, make_splits(bank, rows))


@pytest.fixture(autouse=True)
def noise() -> Iterator[None]:
    noise = {"noise": lambda data_root: noise_dataset(0)}
    with DATASETS.temporarily(noise), NETWORKS.temporarily(), LEARNERS.temporarily():
        yield


def run(folder: Path, text: str, backend: str = "plain") -> tuple[Log, ResultStore]:
    folder.mkdir(exist_ok=True)
    grid, log = small_grid(folder, text), Log()
    store = ResultStore(folder / "results", grid.name)
    waiting = [cell for cell in grid.cells if store.state(cell) != "done"]
    with Stop() as stop, ProcessGroup(1, CPU, []) as group:
        worker = CellWorker(store, folder, group, stop, log, RunSettings(backend, retry_failed=True))
        outcomes = run_grid(grid, waiting, worker)
    assert [str(cell) for cell in outcomes.failed] == list(log.failed)
    assert outcomes.elsewhere == []
    return log, store


def assert_all_done(log: Log, store: ResultStore, cells: int) -> None:
    assert len(log.finished) == cells
    assert (log.iterations, log.episodes) == (4 * cells, 5 * cells)
    assert all(store.state(cell) == "done" for cell in log.finished)


@pytest.mark.parametrize("backend", ["auto", *QUICK])
def test_every_backend_runs(tmp_path: Path, backend: str) -> None:
    assert_all_done(*run(tmp_path, NOISE_GRID, backend), cells=2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("filters = 8", 'filters = 8\ndownsampling = "pool"'),
        ("filters = 8", 'filters = 8\nnorm = "group"'),
        ("iterations = 4", "iterations = 4\nclip_value = 10.0"),
        ("lr = 0.4", 'lr = 0.4\norder = "first"'),
        ("lr = 0.4", "lr = 0.4\ntrain_steps = 3"),
        ("[network]", '[[tasks]]\ndataset = "noise"\nways = 3\nshots = 2\n\n[network]'),
    ],
)
def test_every_kind_of_cell_runs(tmp_path: Path, old: str, new: str) -> None:
    assert_all_done(*run(tmp_path, NOISE_GRID.replace(old, new), "auto"), cells=4 if "tasks" in new else 2)


class _NoFloat64(TorchDispatchMode):
    """A device as MPS is: what makes a tensor of float64 raises."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            raise TypeError(f"{func}: Cannot convert a MPS Tensor to float64 dtype")
        return found


@pytest.mark.parametrize("learner", ["maml", "anil", "km-maml"])
def test_a_device_without_float64_runs_cells(tmp_path: Path, learner: str) -> None:
    """Training, validation, test and analysis, task after task and all at once."""
    text = NOISE_GRID.replace('"maml"', f'"{learner}"').replace(', { name = "km-maml", norm_affine = "bias" }', "")
    for backend in ("plain", "vmap"):
        with _NoFloat64(), pytest.raises(TypeError):
            torch.zeros(1, dtype=torch.float64)
        with _NoFloat64():
            log, _ = run(tmp_path / backend, text, backend)
        assert (len(log.finished), log.failed) == (1, {})


def test_a_cell_that_another_run_has_finished_is_said_to_be(tmp_path: Path) -> None:
    log, store = run(tmp_path, NOISE_GRID)
    waiting = log.finished
    with Stop() as stop, ProcessGroup(1, CPU, []) as group:
        run_grid(
            small_grid(tmp_path, NOISE_GRID),
            waiting,
            CellWorker(store, tmp_path, group, stop, log, RunSettings("plain")),
        )
    assert log.skipped == dict.fromkeys(map(str, waiting), "another run has finished it meanwhile")


def test_learning_is_possible(tmp_path: Path) -> None:
    """Classes with a picture of their own are told apart far above the chance level of 20 %.

    An inner loop does that from random weights, too; that the outer one learns is seen in its loss.
    """
    text = NOISE_GRID.replace("iterations = 4", "iterations = 20").replace("episodes = 5", "episodes = 40")
    text = text.replace("meta_batch = 2", "meta_batch = 2\nlr = 0.01").replace("every = 2", "every = 5")
    log, store = run(tmp_path, text.replace("lr = 0.4", "lr = 0.4\ntrain_steps = 3"))
    assert len(log.finished) == 2
    for cell in log.finished:
        stored = store.read(cell)
        assert stored.accuracies.mean() > 0.6, cell
        assert stored.history[-1].train_loss < 0.8 * stored.history[0].train_loss, cell


def test_what_a_learner_raises_costs_its_own_cell_alone(tmp_path: Path) -> None:
    @LEARNERS.register("brittle")
    class Brittle(GradientLearner):
        def adapted_names(self) -> Iterable[str]:
            return self.head_names()

        def adapt(self, meta: Params, x: torch.Tensor, y: torch.Tensor, *, steps: int) -> Params:
            raise ZeroDivisionError("my mistake")

    text = NOISE_GRID.replace('"maml"', '"brittle"')
    for backend in ("plain", "vmap", "auto"):
        log, store = run(tmp_path, text, backend)
        assert [cell.learner for cell in log.finished] == (["km-maml"] if backend == "plain" else [])
        assert log.failed["noise-5w1s/brittle/seed0"].startswith("ZeroDivisionError: my mistake (the traceback is in ")
    cell = small_grid(tmp_path, text).cells[0]
    noted = json.loads(store.failure_file(cell).read_text())
    assert "raise ZeroDivisionError" in noted["traceback"]
    assert store.state(cell) == "failed"


def test_a_learner_that_vmap_refuses_is_run_task_after_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @LEARNERS.register("looking")
    class Looking(GradientLearner):
        def adapted_names(self) -> Iterable[str]:
            return self.head_names()

        def adapt(self, meta: Params, x: torch.Tensor, y: torch.Tensor, *, steps: int) -> Params:
            return super().adapt(meta, x, y, steps=steps if x.sum() > 0 else 1)  # control flow on values

    text = NOISE_GRID.replace('"maml"', '"looking"')
    log, store = run(tmp_path, text, "vmap")
    assert [cell.learner for cell in log.finished] == ["km-maml"]
    assert "this learner cannot run with --backend vmap" in log.failed["noise-5w1s/looking/seed0"]
    monkeypatch.setattr(choice, "by_rule", lambda _: "vmap")  # as on a GPU
    log, store = run(tmp_path / "auto", text, "auto")
    assert [cell.learner for cell in log.finished] == ["looking", "km-maml"]
    looking, km_maml = (store.read(cell).record["environment"]["backends"] for cell in log.finished)
    assert (looking["training"], looking["testing"]) == ("plain", "plain")
    assert (km_maml["training"], km_maml["testing"]) == ("vmap", "vmap")
    assert set(log.choices) == {(str(log.finished[0]), "training"), (str(log.finished[0]), "testing")}
    assert all(chosen.why.startswith("'vmap' cannot run this learner") for chosen in log.choices.values())


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise SystemExit("no message")

    __repr__ = __str__


class TheirConfigError(ConfigError):
    __str__ = UnreadableError.__str__


WAYS_OUT: dict[str, Callable[[], BaseException]] = {
    "SystemExit: 0": lambda: SystemExit(0),
    "KeyboardInterrupt: ": KeyboardInterrupt,
    "GeneratorExit: ": GeneratorExit,
    "StopIteration: 3": lambda: StopIteration(3),
    "StoppedRun: enough": lambda: StoppedRun(0, "enough"),
    "FileNotFoundError: mine.pt": lambda: FileNotFoundError("mine.pt"),
    "ConfigError: mine": lambda: ConfigError("mine"),
    "DivergenceError: mine": lambda: DivergenceError("mine"),
    "UnreadableError: (its message cannot be read: SystemExit)": UnreadableError,
    "TheirConfigError: (its message cannot be read: SystemExit)": TheirConfigError,
}


def leaving(where: str, way: Callable[[], BaseException]) -> type[GradientLearner]:
    class Leaving(GradientLearner):
        def __init__(self, *inputs: Any) -> None:
            if where == "__init__":
                raise way()
            super().__init__(*inputs)

        def adapted_names(self) -> Iterable[str]:
            return self.head_names()

        def init(self, seed: int) -> Params:
            if where == "init":
                raise way()
            return super().init(seed)

        def adapt(self, meta: Params, x: torch.Tensor, y: torch.Tensor, *, steps: int) -> Params:
            if where == "adapt":
                raise way()
            return super().adapt(meta, x, y, steps=steps)

        def predict(self, meta: Params, delta: Params, x: torch.Tensor) -> torch.Tensor:
            if where == "predict at test" and not self.network.training:
                raise way()
            return super().predict(meta, delta, x)

    return Leaving


@pytest.mark.parametrize("where", ["init", "adapt", "predict at test"])
@pytest.mark.parametrize("reason", WAYS_OUT)
def test_any_way_out_of_a_learner_is_its_failed_cell(tmp_path: Path, reason: str, where: str) -> None:
    LEARNERS.register("leaving")(leaving(where, WAYS_OUT[reason]))
    text = NOISE_GRID.replace('"maml"', '"leaving"').replace("iterations = 4", "iterations = 1")
    log, store = run(tmp_path, text)
    assert [cell.learner for cell in log.finished] == ["km-maml"]
    assert log.failed["noise-5w1s/leaving/seed0"].startswith(f"{reason} (the traceback is in ")
    assert (
        "in " + where.split()[0]
        in json.loads(store.failure_file(small_grid(tmp_path, text).cells[0]).read_text())["traceback"]
    )


@pytest.mark.parametrize("reason", WAYS_OUT)
def test_any_way_out_of_a_constructor_is_one_line_before_anything_runs(tmp_path: Path, reason: str) -> None:
    LEARNERS.register("leaving")(leaving("__init__", WAYS_OUT[reason]))
    with pytest.raises(FewshotError) as caught:
        run(tmp_path, NOISE_GRID.replace('"maml"', '"leaving"'))
    assert str(caught.value).startswith("small: noise-5w1s/leaving: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("reason", [reason for reason in WAYS_OUT if "FileNotFound" not in reason])
def test_any_way_out_of_a_data_set_is_one_line(tmp_path: Path, reason: str) -> None:
    def load(data_root: Path) -> Dataset:
        raise WAYS_OUT[reason]()

    with DATASETS.temporarily({"noise": load}), pytest.raises(FewshotError) as caught:
        run(tmp_path, NOISE_GRID)
    assert len(str(caught.value).splitlines()) == 1


def test_an_interrupt_while_a_learner_runs_is_the_users(tmp_path: Path) -> None:
    """By a signal, as of the keyboard, which a learner cannot raise by itself."""

    @LEARNERS.register("slow")
    class Slow(GradientLearner):
        def adapted_names(self) -> Iterable[str]:
            return self.head_names()

        def adapt(self, meta: Params, x: torch.Tensor, y: torch.Tensor, *, steps: int) -> Params:
            signal.raise_signal(signal.SIGINT)
            return super().adapt(meta, x, y, steps=steps)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests of a shell's background ignore it
    try:
        with pytest.raises(StoppedRun) as stopped:
            run(tmp_path, NOISE_GRID.replace('"maml"', '"slow"'))
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.status == 130
    assert not list((tmp_path / "results").rglob("*.failed.json"))


def test_a_full_disk_ends_the_run_whoever_the_learner_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LEARNERS.register("fine")(leaving("nowhere", SystemExit))
    full = Mock(side_effect=OSError(28, "No space left on device"))  # not raised by code of this file, a plug-in's here
    monkeypatch.setattr("fewshot_km.experiments.store.unfinished.save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, NOISE_GRID.replace('"maml"', '"fine"'))


class WrongLearner(GradientLearner):
    """Right, but for what a test makes of it."""

    def adapted_names(self) -> Iterable[str]:
        return self.head_names()


def learner_that(name: str) -> type[WrongLearner]:
    """Each breaks the contract in one way."""

    class Wrong(WrongLearner):
        def init(self, seed: int) -> Params:
            meta = super().init(seed)
            return {n: v.double() for n, v in meta.items()} if name == "starts in double precision" else meta

        def adapt(self, meta: Params, x: torch.Tensor, y: torch.Tensor, *, steps: int) -> Any:
            testing = not torch.is_grad_enabled()
            if name == "changes a tensor in testing" and testing:
                meta["head.bias"].add_(1)
            if name == "changes a tensor in training" and not testing:
                meta["head.bias"].add_(1)
            if name == "changes a tensor unseen":
                with torch.no_grad():
                    meta["head.bias"].detach().mul_(0.5).add_(0.1)
            if name == "changes the dictionary":
                meta["head.bias"] = meta["head.bias"] + 1
            delta = super().adapt(meta, x, y, steps=steps)
            return {"a list": list(delta), "a number": {**delta, "rate": 0.1}}.get(name, delta)

        def predict(self, meta: Params, delta: Params, x: torch.Tensor) -> Any:
            logits = super().predict(meta, delta, x)
            if maybe_current_level() is None and x.shape[0] == 5:  # the support set, on which it descends
                return logits
            return {
                "too many logits": lambda: torch.cat([logits, logits[:, :1]], 1),
                "too few logits": lambda: logits[:, :-1],
                "one image's": lambda: logits[0],
                "a table": lambda: [logits],
                "double precision": lambda: logits.double(),
            }.get(name, lambda: logits)()

    return Wrong


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("changes a tensor in testing", r"changes meta-parameters \('head.bias'\) in place in testing"),
        ("changes a tensor in training", r"changes meta-parameters in place in training: build new tensors"),
        ("changes a tensor unseen", r"changes meta-parameters \('head.bias'\) in place in training"),
        ("changes the dictionary", r"changes meta-parameters \('head.bias'\) in place in training"),
        ("a list", r"adapt\(\) returned a list: return a dict of tensors"),
        ("a number", r"adapt\(\) returned a dict with a float for 'rate'"),
        ("too many logits", r"predict\(\) returned logits \[25, 6\] for 25 images and 5 ways: return \[25, 5\]"),
        ("too few logits", r"predict\(\) returned logits \[25, 4\] for 25 images and 5 ways"),
        ("one image's", r"predict\(\) returned logits \[5\] for 25 images"),
        ("a table", r"predict\(\) returned a list: return a tensor of logits"),
        ("double precision", r"predict\(\) returned logits of torch.float64 on cpu for images of torch.float32 on cpu"),
        ("starts in double precision", r"init\(\) returned torch.float64 for '\S+': return a dict of float32 tensors"),
    ],
)
@pytest.mark.parametrize("backend", ["plain", "fused", "vmap", "compiled"])
def test_a_learner_that_breaks_its_contract_is_one_failed_cell(
    tmp_path: Path, name: str, message: str, backend: str
) -> None:
    LEARNERS.register("wrong")(learner_that(name))
    text = NOISE_GRID.replace(', { name = "km-maml", norm_affine = "bias" }', "").replace('"maml"', '"wrong"')
    log, _ = run(tmp_path, text, backend)
    assert log.finished == []
    assert re.fullmatch(
        rf"learner_that.<locals>.Wrong in {__file__}: .*{message}.*", log.failed["noise-5w1s/wrong/seed0"]
    )


@pytest.mark.parametrize("backend", QUICK)
def test_logits_that_are_not_finite_in_the_test_alone_are_no_result(tmp_path: Path, backend: str) -> None:
    @LEARNERS.register("overflowing")
    class Overflowing(GradientLearner):
        def adapted_names(self) -> Iterable[str]:
            return self.head_names()

        def predict(self, meta: Params, delta: Params, x: torch.Tensor) -> torch.Tensor:
            logits = super().predict(meta, delta, x)
            return logits if self.network.training else logits / 0  # of either sign, and their argmax is an answer

    text = NOISE_GRID.replace('"maml"', '"overflowing"')
    log, _ = run(tmp_path, text, backend)
    assert [cell.learner for cell in log.finished] == ["km-maml"]
    assert re.fullmatch(
        rf"\S+Overflowing in {__file__}: logits are not finite in 3 of 3 episodes after 3 inner steps: "
        r"did the inner loop diverge\? lower inner.lr or inner.test_steps",
        log.failed["noise-5w1s/overflowing/seed0"],
    )


def test_a_last_step_that_blows_up_is_no_result(tmp_path: Path) -> None:
    text = NOISE_GRID.replace("meta_batch = 2", "meta_batch = 2\nlr = 1e38").replace("iterations = 4", "iterations = 1")
    log, _ = run(tmp_path, text)
    assert log.finished == []
    assert len(log.failed) == 2


def test_another_version_of_the_data_is_noticed_before_anything_runs(tmp_path: Path) -> None:
    run(tmp_path, NOISE_GRID)
    with DATASETS.temporarily({"noise": lambda data_root: noise_dataset(1)}):
        run(tmp_path, NOISE_GRID)  # nothing is left to do: nothing is mixed
        with pytest.raises(DataError, match="noise-5w1s/maml/seed0 was run on another version of 'noise'"):
            run(tmp_path, NOISE_GRID.replace("seeds = [0]", "seeds = [0, 1]"))


def test_an_edited_plugin_is_another_cell_whatever_it_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = []
    for version in ("1", "2"):
        for registry in (DATASETS, NETWORKS, LEARNERS):
            monkeypatch.setattr(registry, "source_digest", lambda name, v=version: v if name == "conv4" else None)
        grids.append([cell.config.digest() for cell in small_grid(tmp_path, NOISE_GRID).cells])
    assert not set(grids[0]) & set(grids[1])


def test_random_networks_are_seeded(tmp_path: Path) -> None:
    @NETWORKS.register("dropping")
    def dropping(image_shape: tuple[int, int, int]) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 8))

    text = NOISE_GRID.replace("filters = 8", 'name = "dropping"').replace(
        ', { name = "km-maml", norm_affine = "bias" }', ""
    )
    weights = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        log, store = run(tmp_path / name, text, "auto")
        weights.append((store.cell_folder(log.finished[0]) / "weights.safetensors").read_bytes())
        torch.rand(3)  # what came before must not matter
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("kind", "entry", "error", "message"),
    [
        (
            "network",
            lambda image_shape: nn.Conv2d(3, 4, 3),
            PluginError,
            "cannot be built: RuntimeError: Given groups=1",
        ),
        ("network", lambda image_shape: nn.Conv2d(1, 4, 3), ConfigError, r"must return features \[M, F\]"),
        ("learner", lambda make, inner: object(), PluginError, r"a learner needs init\(\)"),
        ("learner", GradientLearner, PluginError, "cannot be built: TypeError: Can't instantiate abstract class"),
        ("dataset", lambda data_root: {}, PluginError, "data set 'noise' must return a Dataset, not dict"),
        (
            "dataset",
            lambda data_root: 1 / 0,
            PluginError,
            "'noise' cannot be loaded: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_what_does_not_fit_the_contract_is_one_line_before_anything_runs(
    tmp_path: Path, kind: str, entry: Any, error: type[Exception], message: str
) -> None:
    registries: dict[str, Any] = {
        "network": (NETWORKS, "conv4"),
        "learner": (LEARNERS, "maml"),
        "dataset": (DATASETS, "noise"),
    }
    registry, name = registries[kind]
    text = NOISE_GRID.replace("filters = 8", "") if kind == "network" else NOISE_GRID
    with registry.temporarily({name: entry}), pytest.raises(error, match=message) as caught:
        run(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_backbones_with_buffers_run(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(256, 8)
            self.register_buffer("scale", torch.full((1,), 0.5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.flatten(1)) * self.scale

    NETWORKS.register("scaled")(lambda image_shape: Scaled())
    text = NOISE_GRID.replace("filters = 8", 'name = "scaled"').replace(
        ', { name = "km-maml", norm_affine = "bias" }', ""
    )
    log, _ = run(tmp_path, text)
    assert len(log.finished) == 1
