"""Memory of real processes: it does not grow over iterations or episodes, and freed blocks are used again."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fewshot_km.training import memory
from fewshot_km.training.memory import free_bytes, peak_bytes
from tests.accel.test_backends import QUICK

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has")
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library takes the settings")

GROWTH = """
import json, sys, torch
from fewshot_km.accel.backends import BACKENDS
from fewshot_km.training.engine import Engine
from fewshot_km.training.evaluation import evaluate
from fewshot_km.training.history import IterationDone
from fewshot_km.training.outer_loop import OuterLoop, meta_train
from fewshot_km.training.training_state import TrainingState
from fewshot_km.training.memory import keep_freed_memory
from fewshot_km.learners import InnerLoop, build_learner
from tests.support.noise import noise_sampler
from tests.support.networks_under_test import SMALL_STRIDED

def resident():
    return 4096 * int(open("/proc/self/statm").read().split()[1])

torch.set_num_threads(1)
keep_freed_memory()
sampler = noise_sampler()
learner = build_learner("maml", {}, SMALL_STRIDED.make, InnerLoop(0.3))
backend = BACKENDS[sys.argv[1]]
engine = Engine(learner, training=backend, testing=backend, training_chunk=4, testing_chunk=4)
seen = {}
def hear(event):
    if isinstance(event, IterationDone):
        seen[event.iteration] = resident()
outer = OuterLoop(lr=0.001, meta_batch=2, iterations=80, steps=1, clip_value=None, validate_every=40)
trained = meta_train(engine, TrainingState.before(learner.init(0)), sampler, lambda _: 0.5, outer, hear)
evaluated = []
def count(episodes):
    evaluated.append(resident())
evaluate(engine, trained.meta, sampler, episodes=400, steps=1, on_batch=count)
print(json.dumps([seen[20], seen[80], evaluated[20], evaluated[-1]]))
"""


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("backend", QUICK)
def test_memory_does_not_grow_over_iterations_or_episodes(backend: str) -> None:
    """A graph kept from each of 60 iterations, or from each of 320 episodes, would take more than 40 MB."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, backend], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    early, late, first_episodes, last_episodes = json.loads(done.stdout)
    assert late - early < 8e6
    assert last_episodes - first_episodes < 8e6


FAULTS = """
import resource, sys, torch
from fewshot_km.training.memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()
x = torch.ones(10_000_000)
for _ in range(20):
    x + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    x + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@GLIBC
def test_freed_memory_is_used_again() -> None:
    """Ten results of 40 MB fault 100,000 pages in anew where the system gets them back, and few where it does not.

    Twenty results come first: the heap's top moves until it holds up to six of them, each of which faults in once.
    """
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], cwd=ROOT, capture_output=True, check=True).stdout)
        for how in ("keep", "give back")
    }
    assert faults["give back"] > 1000
    assert faults["keep"] < faults["give back"] / 5


@LINUX
def test_free_and_peak_memory_are_those_of_the_system() -> None:
    free = free_bytes(torch.device("cpu"))
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert free is not None
    assert 0 < free <= 1024 * int(total.split()[1])
    before = peak_bytes()
    block = torch.ones(100_000_000)
    after = peak_bytes()
    assert before is not None
    assert after is not None
    assert after >= before
    assert after >= block.numel() * block.element_size()


TAKEN = """
import torch
from fewshot_km.training.memory import bytes_taken, keep_freed_memory
torch.set_num_threads(1)
keep_freed_memory()
def hold(megabytes):
    return lambda: torch.ones(megabytes * 250_000)
bytes_taken(hold(1))  # code is read from disk when it is first needed
print([round(bytes_taken(hold(megabytes)) / 1e6) for megabytes in (400, 100, 200, 100)])
"""


@LINUX
def test_what_is_taken_does_not_depend_on_what_was_taken_before() -> None:
    """A large one first: its memory is kept by malloc, and its peak by the system, unless told otherwise."""
    out = subprocess.run([sys.executable, "-c", TAKEN], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for found, expected in zip(json.loads(out), (400, 100, 200, 100), strict=True):
        assert found == pytest.approx(expected, abs=10)


@LINUX
def test_what_a_container_has_cached_of_files_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control group of 10 GB that holds 9 GB, 8 of them of files: 9 GB can be taken."""
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(memory, "_available_memory", lambda: 100 * 10**9)
    (tmp_path / "memory.max").write_text("10000000000\n")
    (tmp_path / "memory.current").write_text("9000000000\n")
    (tmp_path / "memory.stat").write_text("anon 900000000\nactive_file 5000000000\ninactive_file 3000000000\nshmem 0\n")
    assert free_bytes(torch.device("cpu")) == 9 * 10**9
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) == 100 * 10**9
