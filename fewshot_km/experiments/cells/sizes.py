"""Check before a cell starts that its numbers can work on this machine, by lower bounds of its memory and time.

A cell that the bounds refuse cannot work; one that passes may still need too much, which `--dry-run` measures.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.filesize import decimal

from fewshot_km.data import Dataset
from fewshot_km.errors import ConfigError, PluginError, describe_error
from fewshot_km.experiments.cells.parts import make_learner
from fewshot_km.experiments.cells.probe import steps_asked
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.plugins.boundary import plugin_code

IMAGES_A_SECOND = 1e9  # through a network: a thousand times what one GPU manages with the smallest network here
LONGEST_SECONDS = 365 * 24 * 3600.0  # nobody waits longer for a cell
MOST_MEMORY = 1 << 44  # bytes (16 TiB) of a machine whose memory is unknown: none has more

_PARAMETER = 4 * 4  # bytes in training: itself, its gradient and Adam's two moments, all float32
_FLOAT = 32  # bytes of a number in a list of Python


@dataclass(frozen=True)
class _Need:
    """The key to lower, what needs the memory, its size in bytes, and whether it lies on the device."""

    key: str
    what: str
    size: int
    on_device: bool = False


@dataclass(frozen=True)
class Memory:
    """Total bytes of a machine and of the device that computes; memory in use now may be free later."""

    machine: int = MOST_MEMORY
    device: int = MOST_MEMORY


def check_sizes(config: CellConfig, dataset: Dataset, memory: Memory) -> None:
    """Raise ConfigError, with the key to lower, if a number needs more memory or time than there can be.

    Builds the learner on the meta device, where its parameters take no memory, if it can be built there.
    """
    for need in _needs(config, dataset):
        limit = memory.device if need.on_device else memory.machine
        if need.size > limit:
            raise ConfigError(
                f"{need.key}: {need.what} would take {_size(need.size)} of memory at least, and there are "
                f"{decimal(limit)} in all: lower it"
            )
    seconds = _images(config) / IMAGES_A_SECOND
    if seconds > LONGEST_SECONDS:
        raise ConfigError(
            f"{_images(config):.0e} images would pass through the network, for {seconds / LONGEST_SECONDS:.0e} years "
            f"at {IMAGES_A_SECOND:.0e} a second: lower outer.iterations, outer.meta_batch, inner.train_steps, "
            "inner.test_steps or the episodes"
        )


def _needs(config: CellConfig, dataset: Dataset) -> Iterator[_Need]:
    task, outer, validation = config.task, config.outer, config.validation
    pixels = 4 * int(torch.Size(dataset.bank.image_shape).numel())
    yield _Need(
        "outer.meta_batch",
        f"the images of {outer.meta_batch:,} tasks",
        pixels * outer.meta_batch * task.ways * (task.shots + task.train_queries),
        on_device=True,
    )
    classes = dataset.splits["test"].classes
    words = len(classes) + task.ways * (1 + int(dataset.bank.counts[classes].max()))  # see draw_image_ids
    yield _Need("test.episodes", f"drawing {config.test.episodes:,} episodes", 8 * words * config.test.episodes)
    curves = len(steps_asked(config))
    yield _Need(
        "validation.episodes",
        f"the accuracies of {validation.episodes:,} episodes",
        _FLOAT * curves * validation.episodes,
    )
    between = min(validation.every, outer.iterations)
    yield _Need("validation.every", f"losses and accuracies of {between:,} iterations", 2 * _FLOAT * between)
    rows = -(-outer.iterations // validation.every)
    yield _Need("outer.iterations", f"the history of {rows:,} validations", 5 * _FLOAT * rows)
    yield _Need(_network_key(config), "its parameters", _parameter_bytes(config, dataset), on_device=True)


def _images(config: CellConfig) -> int:
    """Count the images that pass forwards through the network in the whole cell."""
    task, outer, inner, validation = config.task, config.outer, config.inner, config.validation
    trained = outer.iterations * outer.meta_batch * (task.shots * inner.train_steps + task.train_queries)
    asked = config.test.episodes + -(-outer.iterations // validation.every) * validation.episodes
    return task.ways * (trained + asked * (task.shots * inner.test_steps + task.test_queries))


def _parameter_bytes(config: CellConfig, dataset: Dataset) -> int:
    """Bytes that the meta-parameters take in training; 0 if the learner cannot be built on the meta device."""
    try:
        with plugin_code(_unknown, passes=(RuntimeError,)), warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # of code that needs numbers; it is built with numbers afterwards
            meta = make_learner(config, dataset).init(config.seed)
            return _PARAMETER * sum(value.numel() for value in meta.values())
    except RuntimeError as error:
        return _BEYOND_NUMBERS if "overflow" in str(error).lower() else 0
    except Exception:  # whatever a learner raises, it raises again when it is built for the run
        return 0


def _unknown(error: BaseException) -> PluginError:
    return PluginError(describe_error(error))


_BEYOND_NUMBERS = 2**63  # bytes: torch counts no more


def _network_key(config: CellConfig) -> str:
    numbers = [key for key, value in config.network.options.items() if type(value) is int]
    return f"network.{numbers[0]}" if len(numbers) == 1 else "[network]"


def memory_here(device: torch.device) -> Memory:
    """Return the memory of this machine, or of its container, and of one of its devices."""
    known = [MOST_MEMORY]
    with suppress(AttributeError, OSError, ValueError):  # not on Windows
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):  # no control group (version 2), or one without a limit: "max"
        known.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    machine = min(known)
    on_gpu = device.type == "cuda"
    return Memory(machine, int(torch.cuda.get_device_properties(device).total_memory) if on_gpu else machine)


def _size(count: int) -> str:
    return decimal(count) if count < _BEYOND_NUMBERS else "more than 9 EB"
