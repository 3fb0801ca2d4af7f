"""What is compared: networks and tasks of meta-training, of testing, and of drawing tasks; and with whom."""

from typing import Any

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
SAMPLERS = ["ours", "learn2learn", "learn2learn fused", "torchmeta"]  # where a case names no others
EPISODES, TIMED_EPISODES = 600, 12  # the papers' test, of which as many are timed in each round
TASKS_DRAWN = 100  # in each round
