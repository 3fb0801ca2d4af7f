"""Meta-gradients against those of other libraries, where an interpreter that has them is named."""

import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "speed" / "peer_gradients.py"
PEERS = os.environ.get("FEWSHOT_KM_PEERS")


@pytest.mark.slow
@pytest.mark.skipif(
    PEERS is None, reason="FEWSHOT_KM_PEERS names no interpreter with learn2learn, higher, ...: peers_env.sh makes one"
)
def test_meta_gradients_are_those_of_other_libraries() -> None:
    assert PEERS is not None
    done = subprocess.run([PEERS, SCRIPT], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout)
    maml = {f"{library} maml" for library in ("learn2learn", "higher", "torchmeta", "torchopt")}
    assert {case.split(",")[0] for case in differences} == maml | {"learn2learn anil", "higher anil"}
    for case, by_backend in differences.items():
        for backend, difference in by_backend.items():
            assert difference < 1e-9, (case, backend)
