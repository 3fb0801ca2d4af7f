"""This suite against learn2learn, higher, torchmeta and TorchOpt, side by side on one machine:

    sh benchmarks/speed/peers_env.sh FOLDER          # once: an environment that has them all
    FOLDER/bin/python benchmarks/speed/compare.py --out results/speed
    FOLDER/bin/python benchmarks/speed/compare.py --out results/speed-gpu --device cuda --cases 'paper-*'

Every contestant is a process of its own, with the same weights and tasks. First their float64 meta-gradients are
compared with those of our plain loop: one that differs by more than 1e-9 is not timed. Then they take turns, one
meta-training iteration each, so that a disturbance meets all of them; medians are reported, and ratios of medians.
The arithmetic floor is the time that the floating-point operations of an iteration would take at the rate of a large
matrix product, which takes its turn, too.

Each case writes CASE.json into the folder; table.md and ratios.png are made from all that are there. On two cores a
case takes one to twenty minutes, and the first time one to thirty more for each program that is compiled.
"""

import argparse
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from contestant import Case
from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fewshot_km.engine import EXECUTIONS
from fewshot_km.grid.environment import describe_environment

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

STRIDED: dict[str, Any] = {"network": {"filters": 64, "downsampling": "stride"}, "image_shape": [1, 28, 28]}
POOLED: dict[str, Any] = {"network": {"filters": 64, "downsampling": "pool"}, "image_shape": [1, 28, 28]}
MINI: dict[str, Any] = {"network": {"filters": 32, "downsampling": "pool"}, "image_shape": [3, 84, 84]}
SETTINGS: dict[str, dict[str, Any]] = {
    "omniglot-strided-5w1s": {**STRIDED, "ways": 5, "shots": 1, "queries": 3, "tasks": 8},
    "omniglot-strided-20w1s": {**STRIDED, "ways": 20, "shots": 1, "queries": 5, "tasks": 8},
    "omniglot-pooled-5w1s": {**POOLED, "ways": 5, "shots": 1, "queries": 5, "tasks": 4},
    "omniglot-pooled-20w1s": {**POOLED, "ways": 20, "shots": 1, "queries": 5, "tasks": 4},
    "mini-imagenet-5w1s": {**MINI, "ways": 5, "shots": 1, "queries": 15, "tasks": 4},
    "mini-imagenet-5w5s": {**MINI, "ways": 5, "shots": 5, "queries": 15, "tasks": 4},
}
PAPER = {  # the four tasks of the papers' tables, with MAML's meta-batches and steps, for a GPU
    "paper-omniglot-20w1s": {**STRIDED, "ways": 20, "shots": 1, "queries": 1, "tasks": 16, "steps": 5},
    "paper-omniglot-20w5s": {**STRIDED, "ways": 20, "shots": 5, "queries": 5, "tasks": 16, "steps": 5},
    "paper-mini-imagenet-5w1s": {**MINI, "ways": 5, "shots": 1, "queries": 15, "tasks": 4, "steps": 5},
    "paper-mini-imagenet-5w5s": {**MINI, "ways": 5, "shots": 5, "queries": 15, "tasks": 4, "steps": 5},
}
PAPER_ITERATIONS = 60_000
CPU_TRAINING = {f"{name}-{steps}step": {**of, "steps": steps} for name, of in SETTINGS.items() for steps in (1, 5)}
TRAINING = {**CPU_TRAINING, **PAPER}
EVALUATION = {  # with the inner steps that MAML tests with
    "evaluate-omniglot-strided-20w1s": {**SETTINGS["omniglot-strided-20w1s"], "steps": 3},
    "evaluate-mini-imagenet-5w1s": {**SETTINGS["mini-imagenet-5w1s"], "steps": 10},
}
SAMPLING: dict[str, dict[str, Any]] = {
    "sample-omniglot-20w1s": {
        "classes": 4400, "per_class": 20, "image_shape": [1, 28, 28], "ways": 20, "shots": 1, "queries": 5
    },
    "sample-mini-imagenet-5w1s": {
        "classes": 64, "per_class": 600, "image_shape": [3, 84, 84], "ways": 5, "shots": 1, "queries": 15
    },
}  # fmt: skip
# as learn2learn's own benchmark has it, which reads image files; the others hold its and torchmeta's images in memory
SAMPLING["sample-omniglot-20w1s-from-files"] = {
    **SAMPLING["sample-omniglot-20w1s"],
    "samplers": ["ours", "learn2learn from files"],
}
PEERS = {"maml": ["learn2learn", "higher", "torchmeta", "torchopt"], "anil": ["learn2learn", "higher"]}
SAMPLERS = ["ours", "learn2learn", "learn2learn fused", "torchmeta"]
EPISODES, TIMED_EPISODES = 600, 12  # the papers' test, of which as many are timed in each round
TASKS_DRAWN = 100  # in each round
GPU_TIMES = 10  # iterations in a turn on a GPU, which does one in milliseconds
SAME = 1e-9
PAUSE_SECONDS = 0.2  # between turns: threads of the last one may still be spinning
MATRIX = 2048


class Contestant:
    """A process that does on request what is timed."""

    def __init__(self, script: str, arguments: Sequence[str]) -> None:
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, str(here / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Its answer; RuntimeError with its last words where it stopped."""
        assert self._process.stdin is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise RuntimeError(self._process.stderr.read().strip()[-2000:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def seconds(self, **asked: Any) -> float:
        """What it says that it took."""
        time.sleep(PAUSE_SECONDS)
        return float(self.ask(**asked)["seconds"])

    def dismiss(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def contestants(script: str, wanted: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Contestant]]:
    """All at once, each with its name; they start one after the other, as ours measures when it starts."""
    with ExitStack() as stack:
        running = {}
        for name, arguments in wanted.items():
            running[name] = Contestant(script, arguments)
            stack.callback(running[name].dismiss)
            running[name].hear()
        yield running


def take_turns(running: dict[str, Contestant], rounds: int, **asked: Any) -> dict[str, list[float]]:
    """Seconds of each round, after one to warm up; who begins changes."""
    seconds: dict[str, list[float]] = {name: [] for name in running}
    names = list(running)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            took = running[name].seconds(**asked)
            if turn:
                seconds[name].append(took)
    return seconds


def check_gradients(running: dict[str, Contestant]) -> dict[str, float]:
    """Each peer's float64 meta-gradient against ours for the same learner: norm of the difference over the norm."""
    with tempfile.TemporaryDirectory() as folder:

        def gradient(name: str) -> dict[str, Any]:
            path = Path(folder) / f"{name.replace(' ', '-')}.npz"
            running[name].ask(do="gradient", to=str(path))
            return dict(np.load(path))

        found = {}
        for learner, libraries in PEERS.items():
            if f"ours {learner}" not in running:
                continue
            ours = gradient(f"ours {learner}")
            size = np.sqrt(sum((value**2).sum() for value in ours.values()))
            for library in libraries:
                theirs = gradient(f"{library} {learner}")
                difference = np.sqrt(sum(((theirs[key] - value) ** 2).sum() for key, value in ours.items()))
                found[f"{library} {learner}"] = float(difference / size)
    return found


class _CountOperations(TorchDispatchMode):
    """By torch's own formulas; its counter cannot follow modules through torch.func.functional_call."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.total += operations_of(func, args, kwargs or {}, out)
        return out


def operations_of(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Floating-point operations of a call of torch's, where it is a convolution or a product; else 0."""
    known = func.overloadpacket in flop_registry
    return int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)) if known else 0


def count_operations(case: Case) -> dict[str, int]:
    """Floating-point operations of the convolutions and matrix products of one iteration, by learner."""
    counts = {}
    for name in ("maml", "anil", "km-maml"):
        learner, meta = case.make_learner(name)
        with _CountOperations() as counter:
            EXECUTIONS["loop"].outer_gradient(learner, meta, case.draw(range(1)), case.steps)
        counts[name] = case.tasks * counter.total
    return counts


def matrix_rate(threads: int, device: str) -> float:
    """Floating-point operations a second of a large matrix product."""
    torch.set_num_threads(threads)
    matrix = torch.rand(MATRIX, MATRIX, device=device)
    float((matrix @ matrix)[0, 0])
    began = time.perf_counter()
    for _ in range(4):
        product = matrix @ matrix
    float(product[0, 0])  # waits for a GPU
    return 4 * 2 * MATRIX**3 / (time.perf_counter() - began)


def compare_training(
    settings: dict[str, Any], threads: int, rounds: int, iterations: int, device: str
) -> dict[str, Any]:
    """One training case."""
    text = json.dumps({**settings, "iterations": iterations, "device": device})
    times = 1 if device == "cpu" else GPU_TIMES
    wanted = {f"ours {learner}": ["ours", learner, text, str(threads)] for learner in ("maml", "anil", "km-maml")}
    for learner, libraries in PEERS.items():
        wanted |= {f"{library} {learner}": [library, learner, text, str(threads)] for library in libraries}
    with contestants("contestant.py", wanted) as running:
        differences = check_gradients(running)
        agreeing = {name: c for name, c in running.items() if differences.get(name, 0.0) <= SAME}
        rates = [matrix_rate(threads, device)]
        seconds = take_turns(agreeing, rounds, do="train", times=times)
        rates.append(matrix_rate(threads, device))
        about = {name: contestant.ask(do="memory") for name, contestant in running.items()}
    return {
        "settings": settings,
        "iterations": iterations,
        "differences": differences,
        "seconds": seconds,
        "about": about,
        "operations": count_operations(Case.read(text)),
        "operations_per_second": max(rates),
    }


def compare_evaluation(settings: dict[str, Any], threads: int, rounds: int, device: str) -> dict[str, Any]:
    """One evaluation case: seconds for EPISODES, from TIMED_EPISODES of them."""
    text = json.dumps({**settings, "iterations": 1, "device": device})
    wanted = {f"{library} maml": [library, "maml", text, str(threads)] for library in ["ours", *PEERS["maml"]]}
    with contestants("contestant.py", wanted) as running:
        timed = take_turns(running, rounds, do="evaluate", episodes=TIMED_EPISODES)
        about = {name: contestant.ask(do="memory") for name, contestant in running.items()}
    seconds = {name: [EPISODES / TIMED_EPISODES * s for s in values] for name, values in timed.items()}
    return {"settings": settings, "seconds": seconds, "about": about}


def compare_sampling(settings: dict[str, Any], rounds: int) -> dict[str, Any]:
    """One sampling case: seconds for TASKS_DRAWN, by one thread each."""
    wanted = {name: [name, json.dumps(settings)] for name in settings.get("samplers", SAMPLERS)}
    with contestants("sampling_contestant.py", wanted) as running:
        return {"settings": settings, "seconds": take_turns(running, rounds, tasks=TASKS_DRAWN)}


def medians(found: dict[str, Any]) -> dict[str, float]:
    """Of the rounds, by contestant."""
    return {name: statistics.median(values) for name, values in found["seconds"].items()}


def fastest_peer(times: dict[str, float], learner: str) -> str:
    """The fastest of the others at this learner (or, for samplers, of all others)."""
    others = [name for name in times if not name.startswith("ours") and name.endswith(learner)]
    return min(others, key=lambda name: times[name])


def to_markdown(cases: dict[str, dict[str, Any]]) -> str:
    """Tables of everything found so far."""
    rows: list[list[str]] = []
    floors, memory, other, projected = [], [], [], []
    for name, found in cases.items():
        times = medians(found)
        if name in TRAINING:
            about, operations = found["about"], found["operations"]
            rate = found["operations_per_second"]
            tried = "" if found["iterations"] >= PAPER_ITERATIONS else ", compiling not tried"
            row: list[str] = [name, about["ours maml"]["training"] + tried]
            for learner in ("maml", "anil"):
                peer = fastest_peer(times, learner)
                ours = times[f"ours {learner}"]
                row += [f"{ours:.3f}", f"{times[peer]:.3f} ({peer.split()[0]})", f"**{ours / times[peer]:.2f}x**"]
            row += [f"{times['ours km-maml']:.3f}", f"{times['ours km-maml'] / times['ours maml']:.2f}x"]
            rows.append(row)
            floor = operations["maml"] / rate
            fastest = times[fastest_peer(times, "maml")]
            floors.append(
                [
                    name,
                    f"{operations['maml'] / 1e9:.1f}",
                    f"{rate / 1e9:.0f}",
                    f"{floor:.3f}",
                    f"{times['ours maml'] / floor:.2f}x",
                    f"{fastest / floor:.2f}x",
                ]
            )
            if name in PAPER:
                projected.append(
                    [
                        name,
                        *(f"{times[f'ours {it}'] * PAPER_ITERATIONS / 3600:.2f}" for it in ("maml", "anil", "km-maml")),
                    ]
                    + [f"{times[f'{it} maml'] * PAPER_ITERATIONS / 3600:.2f}" for it in PEERS["maml"]]
                )
            memory.append([name, *(f"{about[f'{who} maml']['bytes'] / 1e6:,.0f}" for who in ("ours", *PEERS["maml"]))])
        else:
            ours_name = "ours" if name in SAMPLING else "ours maml"
            peer = fastest_peer(times, "" if name in SAMPLING else "maml")
            scale = TASKS_DRAWN if name in SAMPLING else 1
            unit = "ms per task" if name in SAMPLING else f"s for {EPISODES} episodes"
            factor = 1e3 / scale if name in SAMPLING else 1.0
            other.append(
                [
                    name,
                    unit,
                    f"{times[ours_name] * factor:.3g}",
                    f"{times[peer] * factor:.3g} ({peer.removesuffix(' maml')})",
                    f"**{times[ours_name] / times[peer]:.2g}x**",
                ]
            )
    environment = next(iter(cases.values()))["environment"]
    rounds = {len(values) for found in cases.values() for values in found["seconds"].values()}
    parts = [
        "# Speed beside learn2learn, higher, torchmeta and TorchOpt",
        "`FOLDER/bin/python benchmarks/speed/compare.py --out results/speed`, where "
        "`sh benchmarks/speed/peers_env.sh FOLDER` made the environment. "
        f"{environment['device']}, {environment['cores']} cores, torch {environment['libraries']['torch']}, medians of "
        f"{min(rounds)} to {max(rounds)} rounds in turns; smaller is better, ratios below 1 are in our favour.",
        "## Seconds per meta-training iteration, second order",
        "Peer: the fastest of those whose float64 meta-gradient is ours to 1e-9. With --iterations 1 compiling is not "
        "tried.",
        tabulate(
            rows,
            ["", "ours runs", "MAML", "peer", "ratio", "ANIL", "peer", "ratio", "KM-MAML", "over our MAML"],
            tablefmt="github",
            disable_numparse=True,
        ),
        "## Evaluation and sampling",
        tabulate(other, ["", "unit", "ours", "fastest peer", "ratio"], tablefmt="github", disable_numparse=True),
        "## The arithmetic floor of MAML",
        f"Operations of convolutions and matrix products over the rate of a {MATRIX}x{MATRIX} matrix product in the "
        "same run.",
        tabulate(
            floors,
            ["", "10^9 operations", "10^9/s", "floor, s", "ours over it", "fastest peer over it"],
            tablefmt="github",
            disable_numparse=True,
        ),
        "## Peak memory, MB",
        "Ours: of all processes together, libraries counted in each, and with what choosing an execution took.",
        tabulate(memory, ["", "ours", *PEERS["maml"]], tablefmt="github", disable_numparse=True),
    ]
    if projected:
        header = ["", "MAML", "ANIL", "KM-MAML", *(f"{it}'s MAML" for it in PEERS["maml"])]
        parts += [
            f"## Hours for {PAPER_ITERATIONS:,} iterations",
            tabulate(projected, header, tablefmt="github", disable_numparse=True),
        ]
    return "\n\n".join(parts) + "\n"


def draw_ratios(cases: dict[str, dict[str, Any]], path: Path) -> None:
    """Our time over each peer's, MAML and ANIL, a bar each."""
    labels, values, colours = [], [], []
    palette = dict(zip(PEERS["maml"], ("#4477aa", "#66ccee", "#ccbb44", "#ee6677"), strict=True))
    for name, found in cases.items():
        times = medians(found)
        if name in SAMPLING:
            continue
        for contestant, seconds in times.items():
            library, _, learner = contestant.partition(" ")
            if library != "ours":
                labels.append(f"{name}, {learner.upper()}")
                values.append(times[f"ours {learner}"] / seconds)
                colours.append(palette[library])
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.19 * len(values)), layout="constrained")
    places = np.arange(len(values))
    axes.barh(places, values, color=colours)
    axes.axvline(1, color="black", linewidth=1)
    shown = [label if i == 0 or labels[i - 1] != label else "" for i, label in enumerate(labels)]
    axes.set_yticks(places, shown, fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("our time / the peer's time (below 1: ours is faster)")
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in palette.values()]
    axes.legend(handles, palette, loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    names = [*TRAINING, *EVALUATION, *SAMPLING]
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for results")
    parser.add_argument(
        "--cases", nargs="*", default=["omniglot-*", "mini-*", "evaluate-*", "sample-*"], help=f"of {', '.join(names)}"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rounds", type=int, default=9, help="of each case")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for each contestant")
    parser.add_argument(
        "--iterations", type=int, default=60_000, help="of the training that ours prepares for; few: no compiling"
    )
    given = parser.parse_args()
    chosen = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in given.cases)]
    if not chosen:
        parser.error(f"no case matches; known: {', '.join(names)}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        print(name, flush=True)
        if name in TRAINING:
            found = compare_training(TRAINING[name], given.threads, given.rounds, given.iterations, given.device)
        elif name in EVALUATION:
            found = compare_evaluation(EVALUATION[name], given.threads, given.rounds, given.device)
        else:
            found = compare_sampling(SAMPLING[name], given.rounds)
        found["environment"] = describe_environment(
            torch.device(given.device), given.threads if given.device == "cpu" else 1
        )
        (given.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print("  " + ", ".join(f"{who} {seconds:.3f}" for who, seconds in medians(found).items()), flush=True)
    known = {name: given.out / f"{name}.json" for name in names}
    cases = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in known.items() if path.exists()}
    (given.out / "table.md").write_text(to_markdown(cases), encoding="utf-8")
    draw_ratios(cases, given.out / "ratios.png")
    print(f"written: {given.out / 'table.md'}, ratios.png")


if __name__ == "__main__":
    main()
