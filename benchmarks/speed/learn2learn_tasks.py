"""Draws tasks with learn2learn on request: image_banks.py runs this in an interpreter that has learn2learn.

`python learn2learn_tasks.py BANK.npy CLASSES` says which version it has, or why it has none, and loads all images, of
which each class has as many, into memory; then it answers each line {ways, shots, queries, tasks, fused, seconds} with
the tasks drawn a second. Both sides speak JSON, one object a line. It imports nothing of fewshot_km.
"""

import importlib
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

DECLARED: list[Any] = []  # torch forgets operators with the object that declared them


class ImagesInMemory(Dataset[tuple[Tensor, int]]):
    """uint8 images [M, C, H, W], of which `per_class` in succession are of one class."""

    def __init__(self, images: Tensor, per_class: int) -> None:
        self.images = images
        self.per_class = per_class

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], index // self.per_class


def import_learn2learn() -> Any:
    """learn2learn, also where torchvision was built for another torch: then its missing operators are only declared."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators: Any = importlib.import_module("torch.library")
        library = operators.Library("torchvision", "DEF")
        library.define("nms(Tensor a, Tensor b, float c) -> Tensor")
        library.define("qnms(Tensor a, Tensor b, float c) -> Tensor")
        DECLARED.append(library)
    return importlib.import_module("learn2learn")


def make_taskset(learn2learn: Any, dataset: Any, ways: int, samples: int, fused: bool) -> Any:
    """Tasks without end, transformed as in learn2learn's own mini-ImageNet benchmark, or by its fused sampler."""
    transforms = learn2learn.data.transforms
    choose = (
        [transforms.FusedNWaysKShots(dataset, n=ways, k=samples)]
        if fused
        else [transforms.NWays(dataset, ways), transforms.KShots(dataset, samples)]
    )
    load = [transforms.LoadData(dataset), transforms.RemapLabels(dataset)]
    return learn2learn.data.Taskset(dataset, [*choose, *load])


def draw(taskset: Any, ways: int, shots: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One task: support images as float32 and labels, query images and labels."""
    images, labels = taskset.sample()
    x = images.float().div_(255).unflatten(0, (ways, -1))  # samples come class by class
    y = labels.unflatten(0, (ways, -1))
    return x[:, :shots].flatten(0, 1), y[:, :shots].flatten(), x[:, shots:].flatten(0, 1), y[:, shots:].flatten()


def main() -> None:
    torch.set_num_threads(1)
    try:
        learn2learn = import_learn2learn()
    except Exception as error:  # a library that does not fit another fails in any way at all
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        return
    images = torch.from_numpy(np.load(sys.argv[1]))
    per_class = len(images) // int(sys.argv[2])
    indices = {c: list(range(start, start + per_class)) for c, start in enumerate(range(0, len(images), per_class))}
    dataset = learn2learn.data.MetaDataset(ImagesInMemory(images, per_class), labels_to_indices=indices)
    tasksets: dict[tuple[int, int, bool], Any] = {}
    print(json.dumps({"version": learn2learn.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        ways, shots = asked["ways"], asked["shots"]
        key = (ways, shots + asked["queries"], asked["fused"])
        if key not in tasksets:
            tasksets[key] = make_taskset(learn2learn, dataset, *key)
        drawn = 0
        began = time.perf_counter()
        while time.perf_counter() - began < asked["seconds"]:
            batch = [draw(tasksets[key], ways, shots) for _ in range(asked["tasks"])]
            drawn += len(batch)
        print(json.dumps({"rate": drawn / (time.perf_counter() - began)}), flush=True)


if __name__ == "__main__":
    main()
