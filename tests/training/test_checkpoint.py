"""Meta-training that is left and gone on with: the same bits as without a stop; files that were harmed are noticed."""

import errno
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fewshot_km.learners import InnerLoop, Learner, Params, build_learner
from fewshot_km.models import Network
from fewshot_km.training.checkpoint import DamagedCheckpointError, load_checkpoint, read_facts, save_checkpoint
from fewshot_km.training.engine import Engine
from fewshot_km.training.evaluation import evaluate
from fewshot_km.training.history import HistoryRow
from fewshot_km.training.outer_loop import MetaTraining, OuterLoop, meta_train
from fewshot_km.training.training_state import Best, TrainingState
from tests.support.networks_under_test import SMALL_STRIDED
from tests.support.noise import noise_sampler

OUTER = OuterLoop(lr=0.01, meta_batch=2, iterations=7, steps=1, clip_value=None, validate_every=3, seed=5)


class LeftError(Exception):
    pass


def dropping() -> Network:
    """A network that draws random numbers of its own."""
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(784, 12), nn.ReLU(), nn.Dropout(0.5))
    return Network(backbone, 3, (1, 28, 28))


@pytest.fixture(params=[SMALL_STRIDED.make, dropping], ids=["conv4", "dropout"])
def learner(request: pytest.FixtureRequest) -> Learner:
    return build_learner("maml", {}, request.param, InnerLoop(0.3))


def train(
    learner: Learner, start: TrainingState, outer: OuterLoop, pause: Callable[[Callable[[], TrainingState]], None]
) -> MetaTraining:
    sampler, engine = noise_sampler(), Engine(learner)

    def validate(current: Params) -> float:
        return float(evaluate(engine, current, sampler, episodes=4, steps=1).mean())

    return meta_train(engine, start, sampler, validate, outer, pause=pause)


def same(a: MetaTraining, b: MetaTraining) -> bool:
    rows = [[replace(row, seconds=0.0) for row in training.history] for training in (a, b)]
    best = [(training.best_iteration, training.best_val_accuracy) for training in (a, b)]
    return rows[0] == rows[1] and best[0] == best[1] and all(torch.equal(a.meta[n], b.meta[n]) for n in a.meta)


def test_training_left_anywhere_and_gone_on_with_is_as_without_a_stop(learner: Learner, tmp_path: Path) -> None:
    start = TrainingState.before(learner.init(0))
    whole = train(learner, start, OUTER, lambda _: None)
    assert [row.iteration for row in whole.history] == [3, 6, 7]
    for stop in range(OUTER.iterations + 1):

        def leave(state: Callable[[], TrainingState], stop: int = stop) -> None:
            if state().iteration == stop:
                save_checkpoint(tmp_path / "c", *state().pack())
                raise LeftError

        with pytest.raises(LeftError):
            train(learner, start, OUTER, leave)
        torch.rand(stop)  # what is drawn elsewhere must not matter
        state = TrainingState.unpack(*load_checkpoint(tmp_path / "c"))
        assert state.iteration == stop
        assert same(train(learner, state, OUTER, lambda _: None), whole)


def test_seconds_add_up_over_stops(learner: Learner) -> None:
    start = replace(TrainingState.before(learner.init(0)), seconds=1000.0)
    assert train(learner, start, OUTER, lambda _: None).history[-1].seconds >= 1000


@pytest.mark.parametrize(("patience", "last", "best"), [(1, 4, 2), (2, 10, 6), (3, 14, 12), (None, 14, 12)])
def test_patience_ends_training(patience: int | None, last: int, best: int) -> None:
    learner = build_learner("maml", {}, dropping, InnerLoop(0.3))
    values = iter([0.5, 0.4, 0.6, 0.6, 0.6, 0.7, 0.1])  # at iterations 2, 4, ...: an equal one is no better one
    outer = replace(OUTER, iterations=14, validate_every=2, patience=patience)
    start = TrainingState.before(learner.init(0))
    trained = meta_train(Engine(learner), start, noise_sampler(), lambda _: next(values), outer)
    assert (trained.history[-1].iteration, trained.best_iteration) == (last, best)


def a_state() -> TrainingState:
    params = {"a.b": torch.randn(2, 3), "scalar": torch.tensor(0.1, dtype=torch.float64)}
    optimiser = {f"first/{n}": v * 2 for n, v in params.items()} | {"steps": torch.tensor(4.0)}
    row = HistoryRow(3, 0.1 + 0.2, 1 / 3, 2 / 3, 1.5)
    return TrainingState(
        4, params, optimiser, Best({n: v.clone() for n, v in params.items()}, 3, 2 / 3), [row], [1e-300], [1 / 7], 12.25
    )


def test_what_is_written_is_read_bit_for_bit(tmp_path: Path) -> None:
    state, how = a_state(), {"training": "plain", "task_chunk": 3}
    tensors, facts = state.pack()
    save_checkpoint(tmp_path / "c", tensors, {**facts, "how": how})
    back_tensors, back_facts = load_checkpoint(tmp_path / "c")
    assert back_facts == {**facts, "how": how} == read_facts(tmp_path / "c")
    back = TrainingState.unpack(back_tensors, back_facts)
    plain = ("iteration", "history", "losses", "accuracies", "seconds")
    assert {n: getattr(back, n) for n in plain} == {n: getattr(state, n) for n in plain}
    assert back.best is not None
    assert asdict(replace(back.best, meta={})) == {"meta": {}, "iteration": 3, "val_accuracy": 2 / 3}
    for got, expected in [(back.meta, state.meta), (back.optimiser, state.optimiser), (back.best.meta, state.meta)]:
        assert got.keys() == expected.keys()
        assert all(got[n].dtype == v.dtype and torch.equal(got[n], v) for n, v in expected.items())


def test_every_harm_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, *a_state().pack())
    whole = path.read_bytes()
    harmed = [whole[:cut] for cut in range(0, len(whole), 7)]
    harmed += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    noticed = 0
    for content in harmed:
        path.write_bytes(content)
        with pytest.raises(DamagedCheckpointError):
            load_checkpoint(path)
        noticed += 1
    assert noticed == len(harmed) > 500
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none")


def test_a_disk_that_is_full_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own error on the write, which /dev/full gives."""
    path = tmp_path / "c"
    save_checkpoint(path, *a_state().pack())
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, *replace(a_state(), iteration=5).pack())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_facts_are_read_without_tensors_and_no_checkpoint_is_damaged_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(FileNotFoundError):
        read_facts(path)
    save_checkpoint(path, {"w": torch.ones(3)}, {"reached": {"iteration": 25}})
    assert read_facts(path) == {"reached": {"iteration": 25}}
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b'"2"', b'"1"', 1), b"\0" * 64):
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(DamagedCheckpointError):
            read_facts(path)
