"""Image files to episodes, timed beside what people do without a bank: `python benchmarks/speed/image_banks.py`.

Makes photograph-like PNG files in class folders, as many as mini-ImageNet has, and prints as Markdown tables
- how long the first use takes, which decodes all of them into a bank, and every later one, which opens that bank, in a
  fresh process;
- the memory of that process: its own, and pages of files, which the system shares between processes and may drop;
- tasks drawn a second, as float tensors, by one thread, from files that the system has in memory: by the episode
  sampler; by a plain reader that decodes the files it draws; and by learn2learn's task sampler over all images in
  memory, where --peer-python names an interpreter that has it (peers_env.sh makes one).

The full size takes about ten minutes on one core, less on more, and 2.5 GB of disk in the temporary directory, or below
--folder, which keeps the PNG files for the next time; learn2learn's process takes 2 GB of memory. Linux.
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch import Tensor

from fewshot_km.data import Dataset
from fewshot_km.data.cache import Prepared, announce, bank_path, prepare
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.files.trees import FolderTree
from fewshot_km.data.images import ImageForm, bank_from_files, cores
from fewshot_km.data.layouts.image_files import class_folders
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE, whole_file
from fewshot_km.experiments.store.environment import describe_environment

LABEL = "image-banks"
SIZE = 84
GRAIN = 6.0  # standard deviation of the finest noise, of 255: the files then take two thirds of the pixels' bytes
TASKS = [TaskSpec(20, 1, 1), TaskSpec(5, 5, 15)]
META_BATCH = 4  # MAML's for mini-ImageNet
ROUNDS = 7  # odd, so that the median is one of them; samplers take turns in each
SECONDS = 1.0  # of each sampler in each round
PROCESSES = 3  # that open the bank, one after the other
EPISODES = 1000  # drawn before memory is read again

Rate = Callable[[TaskSpec], float]
"""Draws for SECONDS and returns tasks a second."""


def write_pictures(folder: Path, classes: int, images: int) -> None:
    """PNG files in class folders; those that are there already stay."""

    def write(place: tuple[int, int]) -> None:
        path = folder / f"class{place[0]:04}" / f"{place[1]:04}.png"
        if not path.exists():
            with whole_file(path) as part:
                Image.fromarray(draw_picture(np.random.default_rng(place))).save(part, "PNG")

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(write, ((c, i) for c in range(classes) for i in range(images))))


def draw_picture(generator: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 [SIZE, SIZE, 3]: smooth noise of four scales, the coarser the stronger as in photographs, and grain."""
    picture = generator.normal(128, GRAIN, (SIZE, SIZE, 3))
    for cells in (3, 6, 12, 24):
        for channel in range(3):
            coarse = Image.fromarray(generator.normal(0, 165 / cells, (cells, cells)).astype(np.float32))
            picture[..., channel] += np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return picture.clip(0, 255).astype(np.uint8)


def load(folder: Path) -> Dataset:
    """The data set in `folder`: from the cache, else built."""
    tree = FolderTree(folder)

    def build() -> Prepared:
        classes = class_folders(tree.names)
        bank, done = bank_from_files(LABEL, tree, classes, ImageForm(SIZE))
        *train, val, test = sorted(classes)
        return Prepared(bank, {"train": train, "val": [val], "test": [test]}, done)

    with redirect_stderr(StringIO()):  # what was found, in a line
        return announce(LABEL, prepare(LABEL, "1", [tree], build))


@dataclass(frozen=True)
class Opened:
    """What opening a cached bank took: seconds, and (own, of files) resident bytes before, after, and after drawing."""

    seconds: float
    before: tuple[int, int]
    opened: tuple[int, int]
    drawn: tuple[int, int]


def measure_opening(folder: Path) -> Opened:
    """Open the bank and draw EPISODES episodes from it; for a fresh process."""
    torch.set_num_threads(1)
    before = resident()
    began = time.perf_counter()
    dataset = load(folder)
    seconds = time.perf_counter() - began
    opened = resident()
    sampler = EpisodeSampler(dataset, "train", TASKS[0], Stream("train", 0))
    for first in range(0, EPISODES, META_BATCH):
        sampler.draw(range(first, first + META_BATCH))
    return Opened(seconds, before, opened, resident())


def resident() -> tuple[int, int]:
    """Bytes of this process in memory: its own, and pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return 1024 * int(sizes["RssAnon"]), 1024 * int(sizes["RssFile"])


def in_fresh_process(folder: Path) -> Opened:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure_opening, folder).result()


def rate_of(draw: Callable[[TaskSpec], object]) -> Rate:
    """Of something that draws META_BATCH tasks."""

    def rate(spec: TaskSpec) -> float:
        tasks = 0
        began = time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            draw(spec)
            tasks += META_BATCH
        return tasks / (time.perf_counter() - began)

    return rate


def bank_sampler(dataset: Dataset) -> Rate:
    samplers = {spec: EpisodeSampler(dataset, "train", spec, Stream("train", 0)) for spec in TASKS}
    starts = dict.fromkeys(TASKS, 0)

    def draw(spec: TaskSpec) -> object:
        starts[spec] += META_BATCH
        return samplers[spec].draw(range(starts[spec] - META_BATCH, starts[spec]))

    return rate_of(draw)


def plain_sampler(folder: Path) -> Rate:
    classes = [sorted(c.iterdir()) for c in sorted(folder.iterdir())]

    def read(paths: Sequence[Path]) -> Tensor:
        images = [np.array(Image.open(path).convert("RGB")) for path in paths]
        return torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images]).float() / 255

    def task(spec: TaskSpec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        drawn = [random.sample(c, spec.shots + spec.queries) for c in random.sample(classes, spec.ways)]
        labels = torch.arange(spec.ways)
        return (
            read([path for paths in drawn for path in paths[: spec.shots]]),
            labels.repeat_interleave(spec.shots),
            read([path for paths in drawn for path in paths[spec.shots :]]),
            labels.repeat_interleave(spec.queries),
        )

    return rate_of(lambda spec: [task(spec) for _ in range(META_BATCH)])


@contextmanager
def learn2learn_samplers(python: str, bank: Path, classes: int) -> Iterator[dict[str, Rate]]:
    """As in its benchmarks, and with its fused sampler; none where that interpreter does not have it."""
    script = Path(__file__).with_name("learn2learn_tasks.py")
    command = [python, str(script), str(bank), str(classes)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        stdin, stdout = peer.stdin, peer.stdout
        hello = json.loads(stdout.readline() or '{"error": "it stopped"}')
        if "error" in hello:
            print(f"learn2learn is not measured: {python}: {hello['error']}. To have it: peers_env.sh\n")
            yield {}
            return

        def rate(spec: TaskSpec, fused: bool) -> float:
            asked = {**vars(spec), "tasks": META_BATCH, "fused": fused, "seconds": SECONDS}
            print(json.dumps(asked), file=stdin, flush=True)
            return float(json.loads(stdout.readline())["rate"])

        name = f"learn2learn {hello['version']}"
        yield {
            f"{name}, images in memory": lambda spec: rate(spec, False),
            f"{name}, images in memory, fused sampler": lambda spec: rate(spec, True),
        }


def measure_rates(samplers: Mapping[str, Rate]) -> dict[str, dict[str, float]]:
    """Sampler -> task -> median tasks a second; they take turns, so that a disturbance meets all of them."""
    rates: dict[str, dict[str, list[float]]] = {name: {str(spec): [] for spec in TASKS} for name in samplers}
    for spec in TASKS:
        for _ in range(ROUNDS):
            for name, rate in samplers.items():
                rates[name][str(spec)].append(rate(spec))
    return {name: {spec: statistics.median(r) for spec, r in of.items()} for name, of in rates.items()}


def measure(folder: Path, classes: int, images: int, python: str) -> dict[str, Any]:
    """Everything, as it goes to the JSON file; the cache root must be empty."""
    write_pictures(folder, classes, images)
    count, size = classes * images, sum(file.stat().st_size for file in folder.rglob("*.png"))
    began = time.perf_counter()
    dataset = load(folder)
    seconds = time.perf_counter() - began
    runs = sorted((in_fresh_process(folder) for _ in range(PROCESSES)), key=lambda opened: opened.seconds)
    bank = bank_path(LABEL, dataset.bank.digest)
    with learn2learn_samplers(python, bank, classes) as peers:
        ours = {"fewshot_km": bank_sampler(dataset), "list of PNG files": plain_sampler(folder)}
        rates = measure_rates({**ours, **peers})
    return {
        "images": count,
        "bytes_per_file": size / count,
        "bank_bytes": bank.stat().st_size,
        "cores": cores(),
        "build_s": seconds,
        "open": vars(runs[PROCESSES // 2]),
        "tasks_per_s": rates,
        "environment": describe_environment(torch.device("cpu"), ranks=1),
    }


def report(found: Mapping[str, Any]) -> str:
    """Markdown tables."""
    opened, rates = found["open"], found["tasks_per_s"]
    table = {
        f"{found['images']:,} PNG files of {SIZE}x{SIZE}": f"{found['bytes_per_file'] / 1e3:.1f} kB each",
        "bank": f"{found['bank_bytes'] / 1e6:,.0f} MB",
        f"build, {found['cores']} core{'s' if found['cores'] > 1 else ''}": f"{found['build_s']:.1f} s, "
        f"{found['images'] / found['build_s']:,.0f} images/s",
        "open": f"{opened['seconds']:.2f} s",
    }
    moments = {"before opening": "before", "open": "opened", f"after {EPISODES:,} episodes": "drawn"}
    memory = [[when, *(f"{part / 1e6:,.0f}" for part in opened[key])] for when, key in moments.items()]
    ours = rates["fewshot_km"]
    drawn = [[name, *(f"{r:,.1f} ({ours[spec] / r:,.1f}x)" for spec, r in of.items())] for name, of in rates.items()]
    specs = [f"{spec}, {spec.queries} quer{'ies' if spec.queries > 1 else 'y'} a class" for spec in TASKS]
    parts = [
        tabulate(table.items(), ["", ""], tablefmt="github"),
        tabulate(memory, ["resident memory, MB", "its own", "pages of files"], tablefmt="github"),
        tabulate(drawn, ["tasks a second (times as long a task as ours)", *specs], tablefmt="github"),
    ]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--classes", type=int, default=100, help="at least 22: two of them are not for training")
    parser.add_argument("--images", type=int, default=600, help="of each class, at least 20")
    parser.add_argument("--folder", type=Path, help="where the PNG files are kept for the next time")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has learn2learn")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    given = parser.parse_args()
    if given.classes < 22 or given.images < 20:
        parser.error("it takes 22 classes or more, of 20 images or more")
    torch.set_num_threads(1)
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        os.environ[CACHE_ROOT_VARIABLE] = str(Path(temporary) / "banks")
        pictures = Path(given.folder or temporary) / f"{given.classes}x{given.images}"
        found = measure(pictures, given.classes, given.images, given.peer_python)
    print(report(found))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
