"""Which execution is chosen: by the clock, once, and for as many tasks as memory holds.

The clock is the tests' own, which only made-up executions move: a busy machine changes nothing here.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from fewshot_km.datasets.storage import CACHE_ROOT_VARIABLE
from fewshot_km.engine import EXECUTIONS, Choice, Engine, choice, choose_engine
from fewshot_km.engine.compilation import COMPILE_SECONDS, SECONDS_PER_OPERATION, expected_seconds
from fewshot_km.engine.executions import Execution, Outcome, plain_count_correct, plain_outer_gradient
from fewshot_km.engine.ranks import ALONE
from fewshot_km.episodes import Episode, EpisodeSampler
from fewshot_km.errors import ConfigError
from fewshot_km.learners import InnerLoop, Learner, Params, build_learner
from tests.engine.noise import noise_sampler
from tests.networks_under_test import SMALL_STRIDED

LEARNER = build_learner("maml", {}, SMALL_STRIDED.make, InnerLoop(0.3))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Clock:
    now = 0.0


@pytest.fixture(autouse=True)
def own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "clock", lambda _: Clock.now)


def taking(seconds: float) -> Execution:
    """The plain execution, and so many seconds on the clock for each task."""

    def outer_gradient(learner: Learner, meta: Params, episode: Episode, steps: int) -> Outcome:
        Clock.now += seconds * len(episode)
        return plain_outer_gradient(learner, meta, episode, steps)

    def count_correct(learner: Learner, meta: Params, episode: Episode, steps: int) -> torch.Tensor:
        Clock.now += seconds * len(episode)
        return plain_count_correct(learner, meta, episode, steps)

    return Execution("made up", outer_gradient, count_correct)


def quick() -> list[str]:
    return [name for name, execution in EXECUTIONS.items() if not execution.compiles]


def failing(*_: object) -> torch.Tensor:
    raise RuntimeError("vmap: no")


LONG = 10**7
compiling: list[float] = []


def choose(
    execution: str = "auto",
    task_chunk: int | None = None,
    sampler: EpisodeSampler | None = None,
    iterations: int = 100,
) -> tuple[Engine, dict[str, Choice]]:
    heard: dict[str, Choice] = {}
    compiling.clear()
    sampler = sampler or noise_sampler()
    engine = choose_engine(
        LEARNER,
        LEARNER.init(0),
        sampler,
        sampler,
        meta_batch=4,
        train_steps=1,
        test_steps=2,
        iterations=iterations,
        ranks=ALONE,
        execution=execution,
        task_chunk=task_chunk,
        on_compiling=compiling.append,
        on_choice=heard.__setitem__,
    )
    return engine, heard


def test_the_fastest_is_chosen_and_remembered(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    made_up = {
        "plain": taking(0.2),
        "slow": taking(0.4),
        "fast": taking(0.0),
        "broken": Execution("", failing, failing),
    }
    monkeypatch.setattr(choice, "EXECUTIONS", made_up)
    engine, heard = choose()
    assert (engine.training, engine.testing) == ("fast", "fast")
    assert set(heard) == {"training", "testing"}
    assert set(heard["training"].seconds) == {"plain", "slow", "fast"}
    assert heard["training"].seconds["slow"] == pytest.approx(1.6)  # four tasks of a meta-batch
    files = sorted((own_cache / "executions").iterdir())
    assert [f.name.partition("-")[0] for f in files] == ["testing", "training"]
    assert json.loads(files[1].read_text())["measured"]["seconds"]["broken"] == float("inf")
    monkeypatch.setattr(choice, "EXECUTIONS", dict.fromkeys(made_up, Execution("", failing, failing)))
    again, heard = choose()  # nothing is run
    assert (again.training, heard) == ("fast", {})
    files[1].write_text("{")
    with pytest.raises(RuntimeError, match="vmap: no"):  # a damaged note is no note
        choose()


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> dict[str, Execution]:
    known = {"plain": taking(0.1), "vmap": taking(0.1), "compiled": replace(taking(0.0), compiles=True)}
    monkeypatch.setattr(choice, "EXECUTIONS", known)
    return known


def test_compiling_is_tried_where_the_iterations_will_pay_for_it(compiler: dict[str, Execution]) -> None:
    engine, heard = choose()
    assert (engine.training, engine.testing, compiling) == ("plain", "plain", [])
    engine, heard = choose(iterations=LONG)  # what was measured before is remembered
    assert (engine.training, engine.testing, engine.task_chunk) == ("compiled", "plain", 4)
    task = partial(plain_outer_gradient, LEARNER, LEARNER.init(0), noise_sampler().draw([0]), 1)
    assert compiling == [expected_seconds(task)]
    assert set(heard) == {"training"}
    assert set(heard["training"].seconds) == {"plain", "vmap", "compiled"}
    engine, heard = choose(iterations=LONG)
    assert (engine.training, heard, compiling) == ("compiled", {}, [])


def test_a_short_training_does_not_ask_how_long_compiling_takes(
    compiler: dict[str, Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "expected_seconds", failing)
    assert choose()[0].training == "plain"
    with pytest.raises(RuntimeError, match="vmap: no"):
        choose(iterations=LONG)


def test_the_longer_a_program_the_longer_its_compilation() -> None:
    x = torch.ones(3)
    assert expected_seconds(lambda: None) == COMPILE_SECONDS
    assert expected_seconds(lambda: x.sum() * 2) == COMPILE_SECONDS + 2 * SECONDS_PER_OPERATION
    meta, episode = LEARNER.init(0), noise_sampler().draw([0])
    one, five = (expected_seconds(partial(plain_outer_gradient, LEARNER, meta, episode, steps)) for steps in (1, 5))
    assert 3 < (five - COMPILE_SECONDS) / (one - COMPILE_SECONDS) < 5


def test_a_remembered_compilation_must_pay_anew(compiler: dict[str, Execution], own_cache: Path) -> None:
    choose(iterations=LONG)
    (file,) = (own_cache / "executions").glob("training-*")
    known = json.loads(file.read_text())
    known["measured"] |= {"seconds": {"plain": 1.0, "vmap": 1.0, "compiled": 0.5}, "compile_seconds": 100.0}
    file.write_text(json.dumps(known))
    assert choose(iterations=150)[0].training == "plain"  # 75 s saved for 100
    assert choose(iterations=300)[0].training == "compiled"


def test_what_cannot_be_compiled_is_not_tried_twice(compiler: dict[str, Execution]) -> None:
    compiler["compiled"] = Execution("", failing, failing, compiles=True)
    assert choose(iterations=LONG)[0].training == "plain"
    assert len(compiling) == 1
    assert choose(iterations=LONG)[0].training == "plain"
    assert compiling == []


def test_compiling_is_not_tried_where_vmap_is_slow(compiler: dict[str, Execution]) -> None:
    compiler["vmap"] = taking(0.3)
    assert choose(iterations=LONG)[0].training == "plain"
    assert compiling == []


@pytest.mark.parametrize(("most", "tasks", "expected"), [(16, 8, 8), (7, 8, 4), (3, 8, 2), (5, 7, 1), (16, 1, 1)])
def test_compiled_chunks_leave_no_rest(most: int, tasks: int, expected: int) -> None:
    assert choice._even_chunk(most, tasks) == expected


def test_what_is_hardly_faster_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "EXECUTIONS", {"plain": taking(0.0), "other": taking(0.0)})
    times = iter([1.0] * choice.REPEATS + [0.96] * choice.REPEATS + [1.0] * choice.REPEATS + [0.94] * choice.REPEATS)
    monkeypatch.setattr(choice, "_seconds", lambda run, on: next(times))
    engine, heard = choose()
    assert engine.testing == "other"
    assert engine.training == "plain"
    assert set(heard["training"].seconds) == {"plain", "other"}


def test_a_named_execution_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in quick():
        engine, _ = choose(name, task_chunk=3)
        assert (engine.training, engine.testing, engine.task_chunk) == (name, name, 3)
    monkeypatch.setattr(choice, "EXECUTIONS", {"broken": Execution("", failing, failing)})
    with pytest.raises(RuntimeError, match="vmap: no"):
        choose("broken")
    with pytest.raises(ConfigError, match="unknown execution 'fastest'; known: auto, broken"):
        choose("fastest")


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    first, heard = choose()
    assert set(heard) == {"training", "testing"}
    assert choose()[1].keys() == heard.keys()
    assert first.training in EXECUTIONS


@pytest.mark.parametrize(
    ("free", "expected"), [(10_000, 5), (1000, 1), (10**9, choice.MOST_TASKS), (None, choice.MOST_TASKS)]
)
def test_as_many_tasks_run_at_once_as_half_of_the_free_memory_holds(
    free: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "bytes_taken", lambda run: 1000)
    monkeypatch.setattr(choice, "free_bytes", lambda _: free)
    assert choose("plain")[0].task_chunk == expected


def test_another_engine_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "EXECUTIONS", {"plain": taking(0.1)})
    assert set(choose()[1]) == {"training", "testing"}
    assert choose()[1] == {}
    monkeypatch.setattr(choice, "_engine_code", lambda: "changed")
    assert set(choose()[1]) == {"training", "testing"}


def test_what_the_first_run_sets_up_does_not_count_as_a_tasks_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the compiler of the loops does, which takes hundreds of megabytes once."""
    kept: list[torch.Tensor] = []

    def outer_gradient(learner: Learner, meta: Params, episode: Episode, steps: int) -> Outcome:
        if not kept:
            kept.append(torch.ones(400_000_000 // 4))
        return plain_outer_gradient(learner, meta, episode, steps)

    monkeypatch.setattr(choice, "EXECUTIONS", {"plain": Execution("", outer_gradient, plain_count_correct)})
    monkeypatch.setattr(choice, "free_bytes", lambda _: 800_000_000)
    assert choose("plain")[0].task_chunk == choice.MOST_TASKS


def test_measuring_leaves_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    def drawing(learner: Learner, meta: Params, episode: Episode, steps: int) -> Outcome:
        torch.rand(7)
        return plain_outer_gradient(learner, meta, episode, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "EXECUTIONS", {"plain": Execution("", drawing, plain_count_correct)})
        choose()
    assert torch.equal(torch.rand(2), expected)
