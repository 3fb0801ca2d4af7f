"""Which backend is used: by a fixed rule that no clock moves, and for as many tasks as memory holds."""

import time
from functools import partial
from pathlib import Path

import pytest
import torch

from fewshot_km.accel import choice
from fewshot_km.accel.backends import BACKENDS
from fewshot_km.accel.choice import Choice, Wanted, Work, choose_engine
from fewshot_km.accel.compiled import COMPILE_SECONDS, SECONDS_PER_OPERATION, expected_seconds
from fewshot_km.data.episodes import Episode
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE
from fewshot_km.errors import ConfigError
from fewshot_km.learners import GradientLearner, InnerLoop, Learner, Params, TaskContext, build_learner
from fewshot_km.training.engine import MOST_TASKS, Engine
from fewshot_km.training.plain import Backend, OuterGradient, plain_count_correct, plain_outer_gradient
from tests.support.networks_under_test import SMALL_STRIDED
from tests.support.noise import noise_sampler

CONTEXT = SMALL_STRIDED.context(1, shots=1)
LEARNER = build_learner("maml", {}, SMALL_STRIDED.make, InnerLoop(0.3))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def failing(*_: object) -> torch.Tensor:
    raise RuntimeError("vmap: no")


class Broken(GradientLearner):
    """Raises on every backend."""

    def adapted_names(self) -> list[str]:
        return self.head_names()

    def adapt(self, meta: Params, x: torch.Tensor, y: torch.Tensor, *, steps: int) -> Params:
        raise RuntimeError("mine")


compiling: list[float] = []


def choose(
    backend: str = "auto", task_chunk: int | None = None, learner: Learner | None = None
) -> tuple[Engine, dict[str, Choice]]:
    heard: dict[str, Choice] = {}
    compiling.clear()
    sampler = noise_sampler()
    engine = choose_engine(
        learner or LEARNER,
        LEARNER.init(0),
        Work(sampler, sampler, train_steps=1, test_steps=2, meta_batch=4),
        Wanted(backend, backend, task_chunk),
        on_compiling=compiling.append,
        on_choice=heard.__setitem__,
    )
    return engine, heard


def test_neither_a_clock_nor_a_cache_decides(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    """However slow the rule's backend is, and whatever memory is free: the same backends and chunks."""

    def slow(learner: Learner, meta: Params, episode: Episode, context: TaskContext) -> OuterGradient:
        time.sleep(0.5)
        return plain_outer_gradient(learner, meta, episode, context)

    first, heard = choose()
    monkeypatch.setitem(BACKENDS, "fused", Backend("fused", "", slow, plain_count_correct))
    for free in (10, 10**12, None):
        monkeypatch.setattr(choice, "free_bytes", lambda _, free=free: free)
        again, _ = choose()
        for engine in (first, again):
            assert (engine.training.name, engine.testing.name) == ("fused", "fused")
            assert (engine.training_chunk, engine.testing_chunk) == (MOST_TASKS, MOST_TASKS)
    assert heard == {}
    assert not own_cache.exists()  # nothing is remembered


def test_devices_but_the_cpu_run_all_tasks_at_once() -> None:
    rule = {device: choice.by_rule(torch.device(device)) for device in ("cpu", "cuda", "mps")}
    assert rule == {"cpu": "fused", "cuda": "vmap", "mps": "vmap"}


def test_what_the_rules_backend_cannot_run_the_reference_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "fused", Backend("fused", "", failing, plain_count_correct))
    engine, heard = choose()
    assert (engine.training.name, engine.testing.name) == ("plain", "fused")
    assert heard == {"training": Choice("plain", "'fused' cannot run this learner (RuntimeError: vmap: no)")}
    with pytest.raises(RuntimeError, match="mine"):
        choose(learner=Broken(SMALL_STRIDED.make, InnerLoop(0.3)))


def test_a_named_backend_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BACKENDS:
        engine, heard = choose(name, task_chunk=3)
        assert (engine.training.name, engine.testing.name, heard) == (name, name, {})
        assert (engine.training_chunk, engine.testing_chunk) == (3, 3)
    with pytest.raises(ConfigError, match="unknown backend 'fastest'; known: auto, plain"):
        choose("fastest")


@pytest.mark.parametrize(
    ("free", "expected"), [(10_000, 5), (1000, 1), (10, 1), (10**9, MOST_TASKS), (None, MOST_TASKS)]
)
def test_as_many_tasks_run_at_once_as_half_of_the_free_memory_holds(
    free: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "bytes_taken", lambda run: 1000)
    monkeypatch.setattr(choice, "free_bytes", lambda _: free)
    engine, _ = choose("vmap")
    assert (engine.training_chunk, engine.testing_chunk) == (expected, expected)


def test_training_and_testing_have_chunks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled program is made for one chunk: testing that needs more memory must not change it."""
    taken = iter([1000, 5000])
    monkeypatch.setattr(choice, "bytes_taken", lambda run: next(taken))
    monkeypatch.setattr(choice, "free_bytes", lambda _: 20_000)
    engine, _ = choose("compiled")
    assert (engine.training_chunk, engine.testing_chunk) == (4, 2)  # 10 would fit, and 4 are a meta-batch
    assert compiling == [
        expected_seconds(partial(plain_outer_gradient, LEARNER, LEARNER.init(0), noise_sampler().draw([0]), CONTEXT))
    ]


def test_the_longer_a_program_the_longer_its_compilation() -> None:
    x = torch.ones(3)
    assert expected_seconds(lambda: None) == COMPILE_SECONDS
    assert expected_seconds(lambda: x.sum() * 2) == COMPILE_SECONDS + 2 * SECONDS_PER_OPERATION
    meta, episode = LEARNER.init(0), noise_sampler().draw([0])
    one, five = (
        expected_seconds(partial(plain_outer_gradient, LEARNER, meta, episode, SMALL_STRIDED.context(steps)))
        for steps in (1, 5)
    )
    assert 3 < (five - COMPILE_SECONDS) / (one - COMPILE_SECONDS) < 5


@pytest.mark.parametrize(("most", "tasks", "expected"), [(16, 8, 8), (7, 8, 4), (3, 8, 2), (5, 7, 1), (16, 1, 1)])
def test_compiled_chunks_leave_no_rest(most: int, tasks: int, expected: int) -> None:
    assert choice.even_chunk(most, tasks) == expected


def test_what_the_first_run_sets_up_does_not_count_as_a_tasks_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the compiler of the loops does, which takes hundreds of megabytes once."""
    kept: list[torch.Tensor] = []

    def outer_gradient(learner: Learner, meta: Params, episode: Episode, context: TaskContext) -> OuterGradient:
        if not kept:
            kept.append(torch.ones(400_000_000 // 4))
        return plain_outer_gradient(learner, meta, episode, context)

    monkeypatch.setitem(BACKENDS, "vmap", Backend("vmap", "", outer_gradient, plain_count_correct, at_once=True))
    monkeypatch.setattr(choice, "free_bytes", lambda _: 800_000_000)
    assert choose("vmap")[0].training_chunk == MOST_TASKS


def test_choosing_leaves_random_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    def drawing(learner: Learner, meta: Params, episode: Episode, context: TaskContext) -> OuterGradient:
        torch.rand(7)
        return plain_outer_gradient(learner, meta, episode, context)

    monkeypatch.setitem(BACKENDS, "fused", Backend("fused", "", drawing, plain_count_correct))
    choose()
    assert torch.equal(torch.rand(2), expected)
