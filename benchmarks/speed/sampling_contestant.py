"""A sampler of tasks in a process of its own, for compare.py: `python sampling_contestant.py LIBRARY CASE`.

It holds as many images as the data set of the case in memory, random ones, or has them in files; it answers each line
of its input with the seconds that drawing {"tasks": ...} tasks took, as float tensors ready for a network, one thread.
"""

import atexit
import importlib
import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from learn2learn_tasks import ImagesInMemory, draw, import_learn2learn, make_taskset
from PIL import Image, ImageDraw
from torch import Tensor

from fewshot_km.data import Dataset, ImageBank
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.splits import Split

META_BATCH = 4
CHARACTERS, DRAWINGS = 200, 20  # in files: fewer than Omniglot has, so that the system keeps them all in memory
Draw = Callable[[int], object]
"""Draws so many tasks."""


def random_images(classes: int, per_class: int, shape: list[int]) -> Tensor:
    """uint8 [classes, per_class, C, H, W]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (classes, per_class, *shape), dtype=torch.uint8, generator=generator)


def ours(images: Tensor, spec: TaskSpec) -> Draw:
    """This suite's sampler, a meta-batch at a time."""
    bank = ImageBank.from_classes([str(c) for c in range(len(images))], images.numpy())
    dataset = Dataset("random", bank, {"train": Split("train", np.arange(len(images))[:, None], "")})
    sampler = EpisodeSampler(dataset, "train", spec, Stream("train", 0))

    def draw_all(tasks: int) -> None:
        for start in range(0, tasks, META_BATCH):
            sampler.draw(range(start, start + META_BATCH))

    return draw_all


def learn2learn(images: Tensor, spec: TaskSpec, fused: bool) -> Draw:
    """Its transforms over a data set in memory."""
    library = import_learn2learn()
    per_class = images.shape[1]
    indices = {c: list(range(c * per_class, (c + 1) * per_class)) for c in range(len(images))}
    flat = ImagesInMemory(images.flatten(0, 1), per_class)
    dataset = library.data.MetaDataset(flat, labels_to_indices=indices)
    taskset = make_taskset(library, dataset, spec.ways, spec.shots + spec.queries, fused)
    return lambda tasks: [draw(taskset, spec.ways, spec.shots) for _ in range(tasks)]


def learn2learn_from_files(spec: TaskSpec) -> Draw:
    """As its Omniglot benchmark draws them: image files in the form of Omniglot's, its transforms, its sampler."""
    library, transforms = import_learn2learn(), importlib.import_module("torchvision.transforms")
    folder = Path(tempfile.mkdtemp(prefix="fewshot_km-"))
    atexit.register(shutil.rmtree, folder)
    write_strokes(folder)
    paths = [(folder / f"{c}-{i}.png", c) for c in range(CHARACTERS) for i in range(DRAWINGS)]
    form = transforms.Compose(
        [transforms.Resize(28, interpolation=Image.Resampling.LANCZOS), transforms.ToTensor(), lambda x: 1.0 - x]
    )

    class Files(torch.utils.data.Dataset[tuple[Tensor, int]]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            path, label = paths[index]
            return form(Image.open(path).convert("L")), label  # as torchvision.datasets.Omniglot does

    indices = {c: list(range(c * DRAWINGS, (c + 1) * DRAWINGS)) for c in range(CHARACTERS)}
    dataset = library.data.MetaDataset(Files(), labels_to_indices=indices)
    steps = library.data.transforms
    of_tasks = [
        steps.FusedNWaysKShots(dataset, n=spec.ways, k=spec.shots + spec.queries),
        steps.LoadData(dataset),
        steps.RemapLabels(dataset),
        steps.ConsecutiveLabels(dataset),
        library.vision.transforms.RandomClassRotation(dataset, [0.0, 90.0, 180.0, 270.0]),
    ]
    taskset = library.data.Taskset(dataset, of_tasks)
    return lambda tasks: [taskset.sample() for _ in range(tasks)]


def write_strokes(folder: Path) -> None:
    """Black strokes on white, 105x105 of one bit, as Omniglot's files are."""
    generator = np.random.default_rng(0)
    for character in range(CHARACTERS):
        for drawing in range(DRAWINGS):
            picture = Image.new("1", (105, 105), 1)
            points = [(float(x), float(y)) for x, y in generator.uniform(5, 100, (6, 2))]
            ImageDraw.Draw(picture).line(points, fill=0, width=2)
            picture.save(folder / f"{character}-{drawing}.png")


def torchmeta(images: Tensor, spec: TaskSpec) -> Draw:
    """Its combinations of classes and its loader, in this process."""
    from peers import import_torchmeta

    data = import_torchmeta("utils.data")
    splitters = import_torchmeta("transforms")
    task_module = importlib.import_module("torchmeta.utils.data.task")
    task_module.SubsetTask.__getitems__ = lambda self, indices: [self[i] for i in indices]  # torch now asks for it

    class OneClass(data.Dataset):  # type: ignore[misc, name-defined]
        def __init__(self, index: int) -> None:
            super().__init__(index)

        def __len__(self) -> int:
            return images.shape[1]

        def __getitem__(self, index: int) -> tuple[Tensor, Any]:
            target = self.target_transform(self.index) if self.target_transform else self.index
            return images[self.index, index].float() / 255, target

    class Classes(data.ClassDataset):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(meta_train=True)

        @property
        def num_classes(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return OneClass(index)

    combinations = data.CombinationMetaDataset(
        Classes(), spec.ways, target_transform=splitters.Categorical(num_classes=spec.ways)
    )
    split = splitters.ClassSplitter(
        combinations, shuffle=True, num_train_per_class=spec.shots, num_test_per_class=spec.queries
    )
    batches = iter(data.BatchMetaDataLoader(split, batch_size=META_BATCH, num_workers=0))
    return lambda tasks: [next(batches) for _ in range(0, tasks, META_BATCH)]


def main() -> None:
    warnings.simplefilter("ignore")  # gym, which learn2learn imports, has much to say
    torch.set_num_threads(1)
    case = json.loads(sys.argv[2])
    images = random_images(case["classes"], case["per_class"], case["image_shape"])
    spec = TaskSpec(case["ways"], case["shots"], case["queries"])
    samplers: dict[str, Callable[[], Draw]] = {
        "ours": lambda: ours(images, spec),
        "learn2learn": lambda: learn2learn(images, spec, fused=False),
        "learn2learn fused": lambda: learn2learn(images, spec, fused=True),
        "learn2learn from files": lambda: learn2learn_from_files(spec),
        "torchmeta": lambda: torchmeta(images, spec),
    }
    draw_tasks = samplers[sys.argv[1]]()
    print("{}", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        draw_tasks(json.loads(line)["tasks"])
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
