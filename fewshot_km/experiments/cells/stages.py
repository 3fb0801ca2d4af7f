"""The stages of a cell's run: meta-training with selection on validation, the test, the probe.

A stage is a function of a cell's state, of the parts that the cell is made of, and of what hears its events; it returns
the state with what it has found. Its settings are sections of the grid file.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from safetensors.torch import save

from fewshot_km.experiments.cells.cell_state import CellState
from fewshot_km.experiments.cells.parts import Parts, delta_size
from fewshot_km.experiments.cells.probe import adaptation_seconds, analyse
from fewshot_km.experiments.events.event import Emit, EpisodesTested
from fewshot_km.experiments.store.csv_files import episodes_csv, history_csv
from fewshot_km.experiments.store.stored_cell import ANALYSIS, EPISODES, HISTORY, WEIGHTS
from fewshot_km.learners import Params
from fewshot_km.training.evaluation import evaluate
from fewshot_km.training.history import Reached
from fewshot_km.training.outer_loop import OuterLoop, meta_train
from fewshot_km.training.training_state import TrainingState

Stage = Callable[[CellState, Parts, Emit], CellState]


def run_meta_training(state: CellState, parts: Parts, emit: Emit) -> CellState:
    """Meta-train ([outer], [inner]); keep the weights with the best mean accuracy on [validation] episodes."""
    config = parts.config
    outer = OuterLoop(
        lr=config.outer.lr,
        meta_batch=config.outer.meta_batch,
        iterations=config.outer.iterations,
        steps=config.inner.train_steps,
        clip_value=None if config.outer.clip_value == "none" else config.outer.clip_value,
        validate_every=config.validation.every,
        patience=None if config.validation.patience == "none" else config.validation.patience,
        seed=config.seed,
    )
    start = TrainingState.unpack(state.tensors, state.facts) if state.facts else TrainingState.before(state.weights)

    def validate(weights: Params) -> float:
        sampler, episodes, steps = parts.streams.validation, config.validation.episodes, config.inner.test_steps
        found = evaluate(parts.engine, weights, sampler, episodes=episodes, steps=steps, on_batch=parts.check)
        return float(found.mean())

    def packed(amid: TrainingState) -> CellState:
        best = amid.best.val_accuracy if amid.best else None
        return state.amid(*amid.pack(), Reached(amid.iteration, amid.seconds, best))

    trained = meta_train(
        parts.engine,
        start,
        parts.streams.train,
        validate,
        outer,
        emit,
        lambda training: parts.pause(lambda: packed(training())),
    )
    last = trained.history[-1]
    results = {
        "best_val_accuracy": trained.best_val_accuracy,
        "best_iteration": trained.best_iteration,
        "iterations": last.iteration,
        "meta_parameters": sum(value.numel() for value in trained.meta.values()),
        "train_seconds": last.seconds,
    }
    files = {
        HISTORY: history_csv(trained.history).encode(),
        WEIGHTS: save({name: value.contiguous() for name, value in trained.meta.items()}),
    }
    reached = Reached(last.iteration, last.seconds, trained.best_val_accuracy)
    return replace(state.found(results, files, trained.meta), reached=reached)


def run_test(state: CellState, parts: Parts, emit: Emit) -> CellState:
    """Test once, on [test] episodes."""
    config, engine = parts.config, parts.engine

    def tested(episodes: int) -> None:
        parts.check()
        emit(EpisodesTested(episodes))

    torch.manual_seed(config.seed)
    began = time.monotonic()
    sampler, episodes, steps = parts.streams.test, config.test.episodes, config.inner.test_steps
    accuracies = evaluate(engine, state.weights, sampler, episodes=episodes, steps=steps, on_batch=tested)
    seconds = time.monotonic() - began
    numbers, size = delta_size(engine.learner, state.weights, parts.streams.validation)
    results = {
        "test_accuracy": float(accuracies.mean()),
        "test_episodes": len(accuracies),
        "adapted_parameters": numbers,
        "bytes_per_task": size,
        "test_seconds": round(seconds, 2),
    }
    return state.found(results, {EPISODES: episodes_csv(accuracies).encode()})


def run_probe(state: CellState, parts: Parts, _: Emit) -> CellState:
    """Ask the trained learner what else there is to know; see `probe`."""
    analysis = analyse(parts, state.weights)
    seconds = adaptation_seconds(parts, state.weights)
    return state.found({"adaptation_seconds": seconds}, {ANALYSIS: analysis.to_json().encode()})


STAGES: dict[str, Stage] = {"meta_train": run_meta_training, "test": run_test, "probe": run_probe}
FIRST, DONE = "meta_train", "done"


def run_stages(state: CellState, parts: Parts, emit: Emit) -> Iterator[CellState]:
    """Run the stages that are left, on all ranks alike; yields the state after each. Raises CellError."""
    names = [*STAGES, DONE]
    for at in range(names.index(state.stage), len(STAGES)):
        state = STAGES[names[at]](state, parts, emit)
        state = replace(state, stage=names[at + 1], tensors={}, facts={})
        yield state
