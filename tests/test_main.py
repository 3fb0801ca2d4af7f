"""How the command line's process behaves beside other work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WAITING = """
import time
import torch
torch.set_num_threads(2)
x = torch.ones(200_000)  # large enough for both threads
x + 1
began, before = time.perf_counter(), time.process_time()
for _ in range(300):
    x + 1
    time.sleep(0.002)
print("busy", (time.process_time() - before) / (time.perf_counter() - began))
"""


def busy(folder: Path, **environment: str) -> float:
    """Seconds of processors per second in a process whose second thread has hardly anything to do."""
    (folder / "waiting.py").write_text(WAITING)
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-m", "fewshot_km", "learners", "--plugin", str(folder / "waiting.py")]
    done = subprocess.run(
        command, env=mine | environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("busy"))
    return float(line.split()[1])


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no second thread to wait")
def test_threads_that_wait_leave_the_cores_to_others(tmp_path: Path) -> None:
    """Unless the user wants them to spin."""
    assert busy(tmp_path) < 0.2 < busy(tmp_path, OMP_WAIT_POLICY="ACTIVE")  # seen: 0.08 and 0.5 to 0.65
