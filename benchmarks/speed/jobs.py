"""Cells at once against one after the other: `python benchmarks/speed/jobs.py --out results/speed`.

Runs the quickstart grid with `--jobs 1`, whose cells use all cores each, and with `--jobs 2`, in turns, after one run
of each that leaves the data set and the choice of backend in a cache; writes jobs.json with the seconds of every run
and the ratio of medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from fewshot_km.experiments.store.environment import describe_environment

JOBS = (1, 2)


def seconds_of(jobs: int, cache: str) -> float:
    """One run of the quickstart into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "fewshot_km", "run", "quickstart", "--quiet", f"--jobs={jobs}"]
        environment = os.environ | {"FEWSHOT_KM_CACHE": cache}
        subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Cells at once against one after the other.")
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for jobs.json")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    arguments = parser.parse_args()
    seconds: dict[int, list[float]] = {jobs: [] for jobs in JOBS}
    with tempfile.TemporaryDirectory() as cache:
        for jobs in JOBS:
            seconds_of(jobs, cache)
        for _ in range(arguments.rounds):
            for jobs in JOBS:
                seconds[jobs].append(round(seconds_of(jobs, cache), 1))
    medians = {jobs: statistics.median(of) for jobs, of in seconds.items()}
    ratio = medians[1] / medians[2]
    environment = describe_environment(torch.device("cpu"), 1)
    result = {"seconds": seconds, "throughput_of_2_over_1": round(ratio, 3), "environment": environment}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "jobs.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"quickstart: {medians[1]:.0f} s with one job, {medians[2]:.0f} s with two: throughput {ratio:.2f}x")


if __name__ == "__main__":
    main()
