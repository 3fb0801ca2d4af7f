"""Which device computes."""

import time

import torch

from fewshot_km.errors import ConfigError

KINDS = ("cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """ "auto": a CUDA device where there is one, else the CPU; raises ConfigError for a device that cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in KINDS:
        raise ConfigError(
            f"--device {name}: unknown; allowed: auto, {', '.join(KINDS)}, or one with a number as cuda:1"
        )
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(f"--device {name}: cannot be used here ({why[:120]}); try auto or cpu") from None
    return device


def clock(device: torch.device) -> float:
    """Seconds of `time.perf_counter`, once all that was asked of a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def allow_tf32(allowed: bool) -> None:
    """Set whether products and convolutions of float32 may round their factors to TF32's 10 bits on a GPU.

    torch allows convolutions to, unless told otherwise; here it is a choice that records name.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
