"""A contestant of compare.py, in a process of its own: it does on request what is timed, and says how long it took.

`python contestant.py LIBRARY LEARNER CASE THREADS`, with the case as JSON, answers each line of its input, a JSON
object {"do": ...}, with one line of JSON:

gradient  the float64 meta-gradient of the case's tasks is written to "to"
train     seconds of one meta-training iteration, the mean of "times": meta-gradient of all tasks and a step of Adam
evaluate  seconds for "episodes" episodes, adapted and classified
memory    the peak bytes of this process (resident, or on the GPU), or of ours and its ranks together

Ours runs as its command line does by default: one process of one thread for each of THREADS, and the case's
"backend"; on a GPU one process. The others are one process with THREADS threads, as their
examples are.
"""

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any, Protocol

import numpy as np
import peers
import torch
from cases import TRAINING
from torch import Tensor

from fewshot_km.accel.backend_names import AUTO
from fewshot_km.accel.choice import Wanted, Work, choose_engine
from fewshot_km.data.episodes import Episode, EpisodeSampler, TaskSpec
from fewshot_km.learners import InnerLoop, Learner, Params, TaskContext, build_learner
from fewshot_km.models import Network, build_network
from fewshot_km.training.devices import allow_tf32, clock
from fewshot_km.training.engine import Engine
from fewshot_km.training.launching import RANK, WORLD_SIZE
from fewshot_km.training.memory import peak_bytes
from fewshot_km.training.plain import plain_outer_gradient
from fewshot_km.training.ranks import ALONE, Ranks, join, leave

LR = 0.4
OUTER_LR = 0.001
OPTIONS: dict[str, dict[str, Any]] = {"maml": {"norm_affine": "full"}}  # the others adapt every parameter


@dataclass(frozen=True)
class Case:
    """What is computed."""

    network: dict[str, Any]
    image_shape: tuple[int, int, int]
    ways: int
    shots: int
    queries: int
    tasks: int
    steps: int
    backend: str
    device: str

    @staticmethod
    def read(text: str) -> "Case":
        """From JSON."""
        case = Case(**json.loads(text))
        return Case(**{**case.__dict__, "image_shape": tuple(case.image_shape)})

    def context(self) -> TaskContext:
        """What a loss may depend on."""
        return TaskContext(self.ways, self.shots, self.image_shape, self.steps)

    def make_network(self) -> Network:
        """The same weights each time."""
        torch.manual_seed(0)
        return build_network("conv4", self.network, self.image_shape, self.ways).to(self.device)

    def make_learner(self, name: str) -> tuple[Learner, Params]:
        """Ours, with the weights of `make_network`."""
        learner = build_learner(name, OPTIONS.get(name, {}), self.make_network, InnerLoop(LR))
        return learner, {key: value.to(self.device) for key, value in learner.init(0).items()}

    def draw(self, indices: range, dtype: torch.dtype = torch.float32) -> Episode:
        """Tasks of noise, each a function of its number alone."""

        def images(seed: int, count: int) -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            return torch.rand(self.ways * count, *self.image_shape, generator=generator)

        def part(count: int, offset: int) -> tuple[Tensor, Tensor]:
            x = torch.stack([images(2 * i + offset, count) for i in indices])
            y = torch.arange(self.ways).repeat_interleave(count).expand(len(indices), -1)
            return x.to(self.device, dtype), y.to(self.device)

        return Episode(*part(self.shots, 0), *part(self.queries, 1))


def training_cases(patterns: Sequence[str]) -> Iterator[tuple[str, Case]]:
    """Cases of meta-training on a CPU whose names match one of the shell patterns, with the rule's backend."""
    for name, settings in TRAINING.items():
        if any(fnmatch(name, pattern) for pattern in patterns):
            yield name, Case.read(json.dumps({**settings, "backend": AUTO, "device": "cpu"}))


class InMemory(EpisodeSampler):
    """A case's tasks, drawn beforehand: sampling is timed elsewhere."""

    def __init__(self, case: Case, count: int) -> None:
        self.spec = TaskSpec(case.ways, case.shots, case.queries)
        self._shape = case.image_shape
        self._episodes = case.draw(range(count))
        self._count = count

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of the case."""
        return self._shape

    def draw(self, indices: Any) -> Episode:
        """Task i is number i modulo as many as there are."""
        e = self._episodes
        chosen = torch.tensor([i % self._count for i in indices], device=e.support_y.device)
        return Episode(e.support_x[chosen], e.support_y[chosen], e.query_x[chosen], e.query_y[chosen])


class Contestant(Protocol):
    """What is asked of each."""

    def gradient(self) -> Params:
        """Mean meta-gradient over the case's tasks in float64."""

    def train(self) -> None:
        """One meta-training iteration."""

    def evaluate(self, episodes: int) -> None:
        """Adapt to and classify episodes."""

    def memory(self) -> int:
        """Peak resident bytes."""

    def about(self) -> dict[str, Any]:
        """How it runs."""


class Ours:
    """This suite, on one of several ranks."""

    def __init__(self, case: Case, learner: str, ranks: Ranks) -> None:
        self.case, self.name, self.ranks = case, learner, ranks
        self.learner, meta = case.make_learner(learner)
        self.sampler = InMemory(case, case.tasks)
        began = time.perf_counter()
        work = Work(self.sampler, self.sampler, case.steps, case.steps, case.tasks)
        self.engine: Engine = choose_engine(self.learner, meta, work, Wanted(case.backend), ranks)
        self.preparing = time.perf_counter() - began
        self.parameters = {name: value.requires_grad_() for name, value in meta.items()}
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=OUTER_LR)

    def gradient(self) -> Params:
        """By the plain backend, which is the reference."""
        learner, meta = self.case.make_learner(self.name)
        meta = {name: value.double() for name, value in meta.items()}
        episode = self.case.draw(range(self.case.tasks), torch.float64)
        total = plain_outer_gradient(learner, meta, episode, self.case.context()).gradient
        return {name: value / self.case.tasks for name, value in total.items()}

    def train(self) -> None:
        """As `meta_train` does."""
        now = {name: value.detach() for name, value in self.parameters.items()}
        step = self.engine.outer_step(now, self.sampler, range(self.case.tasks), steps=self.case.steps)
        for name, value in self.parameters.items():
            value.grad = step.gradient[name]
        self.optimiser.step()

    def evaluate(self, episodes: int) -> None:
        """As `evaluate` does."""
        now = {name: value.detach() for name, value in self.parameters.items()}
        self.engine.count_correct(now, self.sampler, episodes, steps=self.case.steps)

    def memory(self) -> int:
        """Of all ranks together; what they share is counted for each."""
        peak = torch.tensor(float(_peak(self.case.device)), dtype=torch.float64)
        return int(self.ranks.sum({"": peak})[""])

    def about(self) -> dict[str, Any]:
        """Backends, and how long choosing or compiling them took."""
        return {
            "training": self.engine.training.name,
            "testing": self.engine.testing.name,
            "task_chunk": self.engine.training_chunk,
            "ranks": self.ranks.size,
            "preparing": round(self.preparing, 1),
        }


class Peer:
    """Another library, in one process."""

    def __init__(self, case: Case, library: str, learner: str) -> None:
        self.case = case
        self.network = case.make_network()
        self.tasks = peers.tasks_of(case.draw(range(case.tasks)))
        maml, self.correct = peers.MAML[library]
        self.meta_gradient = maml if learner == "maml" else peers.ANIL[library]
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=OUTER_LR)

    def gradient(self) -> Params:
        """What its backward() leaves."""
        network = self.case.make_network().double()
        episode = self.case.draw(range(self.case.tasks), torch.float64)
        self.meta_gradient(network, peers.tasks_of(episode), self.case.steps)
        return {
            name: (torch.zeros_like(p) if p.grad is None else p.grad) / self.case.tasks
            for name, p in network.named_parameters()
        }

    def train(self) -> None:
        """Zero, accumulate over the tasks, step."""
        self.optimiser.zero_grad()
        self.meta_gradient(self.network, self.tasks, self.case.steps)
        self.optimiser.step()

    def evaluate(self, episodes: int) -> None:
        """Task after task."""
        self.correct(self.network, [self.tasks[i % len(self.tasks)] for i in range(episodes)], self.case.steps)

    def memory(self) -> int:
        """Of this process."""
        return _peak(self.case.device)

    def about(self) -> dict[str, Any]:
        """Its threads."""
        return {"threads": torch.get_num_threads()}


def answer(contestant: Contestant, asked: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What one request asks for."""
    if asked["do"] == "gradient":
        gradient: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in contestant.gradient().items()}
        np.savez(asked["to"], **gradient)
        return {}
    if asked["do"] == "memory":
        return {"bytes": contestant.memory(), **contestant.about()}
    began = clock(device)
    for _ in range(asked.get("times", 1)):
        if asked["do"] == "train":
            contestant.train()
        else:
            contestant.evaluate(asked["episodes"])
    return {"seconds": (clock(device) - began) / asked.get("times", 1)}


def _peak(device: str) -> int:
    """Bytes of a GPU's memory, or of this process's."""
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_bytes() or 0


def start(library: str, learner: str, case: Case, threads: int) -> tuple[Contestant, Ranks]:
    """The contestant in this process, with its other ranks, which run the same program."""
    if library != "ours":
        torch.set_num_threads(threads)
        return Peer(case, library, learner), ALONE
    torch.set_num_threads(1)
    if threads == 1 or case.device != "cpu":
        return Ours(case, learner, ALONE), ALONE
    if RANK not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="fewshot_km-"))
        os.environ.update({"MEETING": (folder / "meeting").as_uri(), WORLD_SIZE: str(threads)})
        if sys.platform.startswith("linux"):
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        for rank in range(1, threads):
            Popen([sys.executable, *sys.argv], env={**os.environ, RANK: str(rank)}, stdin=DEVNULL, stdout=DEVNULL)
    rank = int(os.environ.get(RANK, 0))
    ranks = join(rank, threads, torch.device("cpu"), os.environ["MEETING"])
    return Ours(case, learner, ranks), ranks


def main() -> None:
    allow_tf32(False)
    warnings.simplefilter("ignore")  # gym, which learn2learn imports, has much to say
    library, learner, case = sys.argv[1], sys.argv[2], Case.read(sys.argv[3])
    device = torch.device(case.device)
    contestant, ranks = start(library, learner, case, int(sys.argv[4]))
    if ranks.first:
        print(json.dumps(contestant.about()), flush=True)
        for line in sys.stdin:
            asked = ranks.from_first(json.loads(line))
            print(json.dumps(answer(contestant, asked, device)), flush=True)
        ranks.from_first(None)
    else:
        while (asked := ranks.from_first()) is not None:
            if asked["do"] != "gradient":  # which rank 0 computes alone
                answer(contestant, asked, device)
    leave()


if __name__ == "__main__":
    main()
