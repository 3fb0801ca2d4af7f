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
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arithmetic import count_operations, matrix_rate
from cases import (
    EPISODES,
    EVALUATION,
    PEERS,
    SAMPLERS,
    SAMPLING,
    TASKS_DRAWN,
    TIMED_EPISODES,
    TRAINING,
)
from contestant import Case
from ratios import draw_ratios, medians, to_markdown
from turns import Contestant, contestants, take_turns

from fewshot_km.accel.backend_names import AUTO
from fewshot_km.accel.backends import BACKENDS
from fewshot_km.experiments.store.environment import describe_environment

GPU_TIMES = 10  # iterations in a turn on a GPU, which does one in milliseconds
SAME = 1e-9


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


def compare_training(settings: dict[str, Any], threads: int, rounds: int, backend: str, device: str) -> dict[str, Any]:
    """One training case."""
    text = json.dumps({**settings, "backend": backend, "device": device})
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
        "differences": differences,
        "seconds": seconds,
        "about": about,
        "operations": count_operations(Case.read(text)),
        "operations_per_second": max(rates),
    }


def compare_evaluation(settings: dict[str, Any], threads: int, rounds: int, device: str) -> dict[str, Any]:
    """One evaluation case: seconds for EPISODES, from TIMED_EPISODES of them."""
    text = json.dumps({**settings, "backend": AUTO, "device": device})
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
        "--backend",
        default=AUTO,  # what `run` does unless told otherwise
        choices=[AUTO, *BACKENDS],
        help="how ours trains",
    )
    given = parser.parse_args()
    chosen = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in given.cases)]
    if not chosen:
        parser.error(f"no case matches; known: {', '.join(names)}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        print(name, flush=True)
        if name in TRAINING:
            found = compare_training(TRAINING[name], given.threads, given.rounds, given.backend, given.device)
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
