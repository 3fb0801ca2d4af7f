"""Describe what a result was computed with: versions, commit, machine."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import fewshot_km

LIBRARIES = ("torch", "numpy", "scipy", "pandas", "pillow", "matplotlib")


def describe_environment(device: torch.device, ranks: int) -> dict[str, Any]:
    """Versions of the suite and of what computes for it, git commit of a checkout, device, processes and threads."""
    return {
        "fewshot_km": version("fewshot_km"),
        "git_commit": git_commit(Path(fewshot_km.__file__).parent),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "ranks": ranks,
        "threads": torch.get_num_threads(),  # of each rank
        "cores": os.cpu_count(),
    }


def git_commit(folder: Path) -> str | None:
    """Commit of the checkout that holds the package's source, "+changes" where it is not clean; None outside one."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:  # a site-packages inside someone else's checkout
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no", "--", ".") else commit
