"""Run the tasks of a meta-batch or an evaluation over ranks and chunks, by a chosen backend."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from fewshot_km.accel.backends import BACKENDS, NOT_FINITE
from fewshot_km.data.episodes import EpisodeSampler
from fewshot_km.errors import ContractError, DivergenceError
from fewshot_km.learners.base import Learner, Params
from fewshot_km.learners.contract_checks import changed, kept, say_changed, say_learner
from fewshot_km.training.ranks import ALONE, Ranks

T = TypeVar("T")

MOST_TASKS = 16  # at once: MAML's largest meta-batch; testing reports its progress after each chunk


@dataclass(frozen=True)
class OuterStep:
    """Means over the tasks of a meta-batch: the outer gradient, query loss and query accuracy (scalar tensors)."""

    gradient: Params
    loss: Tensor
    accuracy: Tensor


@dataclass
class Engine:
    """A learner, and how its tasks are run.

    training, testing              names of backends
    training_chunk, testing_chunk  tasks at once on each rank; halved, with a warning, when memory runs out
    ranks                          the processes that share each meta-batch
    """

    learner: Learner
    training: str = "plain"
    testing: str = "plain"
    training_chunk: int = MOST_TASKS
    testing_chunk: int = MOST_TASKS
    ranks: Ranks = ALONE

    def outer_step(self, meta: Params, sampler: EpisodeSampler, tasks: range, *, steps: int) -> OuterStep:
        """Mean gradient of the query loss over these tasks of the sampler, whichever ranks compute them."""
        backend = BACKENDS[self.training]

        def run(part: range) -> Params:
            outcome = backend.outer_gradient(self.learner, meta, sampler.draw(part), steps)
            return {**outcome.gradient, _LOSS: outcome.losses.sum(), _ACCURACY: outcome.accuracies.sum()}

        parts, self.training_chunk = _in_chunks(self.ranks.share(tasks), run, self.training_chunk)
        like = next(iter(meta.values()))
        total = {name: torch.zeros_like(value) for name, value in meta.items()}
        total |= {_LOSS: like.new_zeros(()), _ACCURACY: like.new_zeros(())}
        for part in parts:
            for name, value in part.items():
                total[name] += value
        mean = {name: value / len(tasks) for name, value in self.ranks.sum(total).items()}
        return OuterStep({name: mean[name] for name in meta}, mean[_LOSS], mean[_ACCURACY])

    def count_correct(
        self,
        meta: Params,
        sampler: EpisodeSampler,
        episodes: int,
        *,
        steps: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> Tensor:
        """Query images classified correctly in episodes 0, 1, ... of the sampler, int64 [episodes], on every rank.

        `on_batch` is called with the number of episodes just evaluated by all ranks together. Raises, on every rank,
        DivergenceError where a logit is not finite, and ContractError where the learner has changed `meta`.
        """
        backend = BACKENDS[self.testing]
        share = self.ranks.share(range(episodes))

        def run(part: range) -> Tensor:
            correct = backend.count_correct(self.learner, meta, sampler.draw(part), steps)
            on_batch(min(len(part) * self.ranks.size, episodes - part[0]))
            return correct

        before = kept(meta)
        counts, self.testing_chunk = _in_chunks(share, run, self.testing_chunk)
        correct = torch.zeros(episodes, dtype=torch.int64, device=next(iter(before.values())).device)
        if counts:
            correct[share.start :: self.ranks.size] = torch.cat(counts).to(correct.dtype)
        has_changed = torch.full_like(correct[:1], bool(changed(before, meta)))
        total = self.ranks.sum({"correct": correct, "changed": has_changed})
        if total["changed"].any():
            raise ContractError(say_changed(self.learner, "meta-parameters", "testing"))
        if diverged := int((total["correct"] == NOT_FINITE).sum()):
            raise DivergenceError(
                f"{say_learner(self.learner)}: logits are not finite in {diverged} of {episodes} episodes "
                f"after {steps} inner steps: did the inner loop diverge? lower inner.lr or inner.test_steps"
            )
        return total["correct"]


_LOSS, _ACCURACY = "loss of all tasks", "accuracy of all tasks"  # no parameter has a name with spaces


def _in_chunks(items: range, run: Callable[[range], T], chunk: int) -> tuple[list[T], int]:
    """Return the results of `run` for each chunk of the items, and the size of the chunks that memory held."""
    results: list[T] = []
    done = 0
    while done < len(items):
        part = items[done : done + chunk]
        result = _unless_out_of_memory(run, part)
        if result is None:
            chunk = max(1, len(part) // 2)
            warnings.warn(f"{len(part)} tasks at once do not fit into memory: going on with {chunk}", stacklevel=3)
            continue
        results.append(result)
        done += len(part)
    return results, chunk


def _unless_out_of_memory(run: Callable[[range], T], part: range) -> T | None:
    """None where memory ran out and fewer tasks could do; what the failed attempt held is free on return."""
    try:
        return run(part)
    except (RuntimeError, MemoryError) as error:
        if len(part) == 1 or not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an operation failed for want of memory, on a GPU or (where the system refuses at all) on a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
