"""The probe asks a trained learner for more than its test: open episodes, other inner steps, single answers, kernels.

The answers are a function of the weights, the data and the backend: analysis.json has the same bytes when a cell is run
again, or probed later from its kept weights. The time that adaptation takes is measured apart.
"""

from contextlib import suppress
from statistics import fmean, median

import torch
from torch import Tensor

from fewshot_km.data.episodes import EpisodeSampler
from fewshot_km.errors import DivergenceError, PluginError, describe_error
from fewshot_km.experiments.cells.parts import Parts
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.store.probe_file import EXAMPLES, Analysis, Kernels, LayerKernels, StepAccuracies
from fewshot_km.learners import GradientLearner, Learner, Params
from fewshot_km.learners.modes import evaluating
from fewshot_km.models.kernels import kept_kernels, used_kernels
from fewshot_km.plugins.boundary import plugin_code
from fewshot_km.training.devices import clock
from fewshot_km.training.evaluation import evaluate

STEPS = (0, 1, 2, 3, 5, 10, 20)  # inner steps asked for, up to twice those of the test: beyond, nobody would go
KERNELS = 16  # of each layer: enough to look at
WARM_UPS, TIMED = 2, 10  # tasks adapted to one at a time: the first ones pay for what is set up once


def analyse(parts: Parts, weights: Params) -> Analysis:
    """Ask a learner with these weights; on all ranks alike. Raises whatever `parts.check` raises between batches."""
    torch.manual_seed(parts.config.seed)  # as before the test
    with evaluating(parts.engine.learner):
        return _analyse(parts, weights)


def _analyse(parts: Parts, weights: Params) -> Analysis:
    config, streams, learner = parts.config, parts.streams, parts.engine.learner
    steps = config.inner.test_steps

    def accuracies(sampler: EpisodeSampler, episodes: int, steps: int) -> tuple[float, ...]:
        found = evaluate(parts.engine, weights, sampler, episodes=episodes, steps=steps, on_batch=parts.check)
        return tuple(found.tolist())

    curve = []
    for asked in steps_asked(config):
        if asked or _can_stay(learner, weights, streams.validation):
            with suppress(DivergenceError):  # after other steps than those of the test, it costs a point of a curve
                found = accuracies(streams.validation, config.validation.episodes, asked)
                curve.append(StepAccuracies(asked, fmean(found), found))
    return Analysis(
        open_available=len(streams.open),
        open_accuracies=accuracies(streams.open, min(len(streams.open), config.test.episodes), steps),
        inner_steps=tuple(curve),
        examples=_answers(learner, weights, streams.test, min(EXAMPLES, config.test.episodes), steps),
        kernels=_kernels(learner, weights, streams.test, steps),
    )


def steps_asked(config: CellConfig) -> list[int]:
    """List the inner steps of the curve: some up to twice those of the test, and those of training and test."""
    inner = config.inner
    some = {steps for steps in STEPS if steps <= 2 * inner.test_steps}
    return sorted(some | {inner.train_steps, inner.test_steps})


@torch.no_grad()
def adaptation_seconds(parts: Parts, weights: Params) -> float:
    """Median time of adapting to one test task, measured on rank 0 while the others wait; on all ranks alike."""
    seconds, engine = 0.0, parts.engine
    if engine.ranks.first:
        episodes = parts.streams.test.draw(range(WARM_UPS + TIMED))
        device = episodes.support_x.device
        times = []
        for x, y in zip(episodes.support_x, episodes.support_y, strict=True):
            parts.check()
            began = clock(device)
            with evaluating(engine.learner):
                engine.learner.adapt(weights, x, y, steps=parts.config.inner.test_steps)
            times.append(clock(device) - began)
        seconds = float(f"{median(times[WARM_UPS:]):.4g}")
    return float(engine.ranks.from_first(seconds))


@torch.no_grad()
def _can_stay(learner: Learner, meta: Params, sampler: EpisodeSampler) -> bool:
    """Whether a learner can be asked for no inner step, which neither training nor test does."""
    episode = sampler.draw([0])
    try:
        with plugin_code(lambda error: PluginError(describe_error(error)), passes=()):
            delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=0)
            learner.predict(meta, delta, episode.query_x[0])
    except PluginError:  # whatever a learner raises
        return False
    return True


@torch.no_grad()
def _answers(
    learner: Learner, meta: Params, sampler: EpisodeSampler, episodes: int, steps: int
) -> tuple[tuple[int, ...], ...]:
    answers = []
    drawn, (_, orders) = sampler.draw(range(episodes)), sampler.orders(range(episodes))
    for sx, sy, qx, order in zip(drawn.support_x, drawn.support_y, drawn.query_x, orders, strict=True):
        logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=steps), qx)
        labels = torch.where(logits.isfinite().all(-1), logits.argmax(-1), -1)
        answers.append(tuple(labels[torch.from_numpy(order.argsort())].tolist()))  # as image_ids lists the queries
    return tuple(answers)


@torch.no_grad()
def _kernels(learner: Learner, meta: Params, sampler: EpisodeSampler, steps: int) -> tuple[LayerKernels, ...]:
    if not isinstance(learner, GradientLearner):
        return ()
    episode = sampler.draw([0])
    delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=steps)
    before = kept_kernels(learner.network, meta)
    after = used_kernels(learner.network, {**meta, **delta})
    if not all(bool(kernels.isfinite().all()) for kernels in after.values()):
        return ()
    sizes = {name: (kernels.shape[2], kernels.shape[3]) for name, kernels in before.items()}
    return tuple(LayerKernels(name, sizes[name], _first(before[name]), _first(after[name])) for name in before)


def _first(kernels: Tensor) -> Kernels:
    """Return the first kernels as the shortest decimals that are these float32 numbers."""
    rows = kernels[:KERNELS, 0].flatten(1).float().cpu().numpy()
    return tuple(tuple(float(str(number)) for number in row) for row in rows)
