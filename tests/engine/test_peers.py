"""Meta-gradients against learn2learn's and higher's, where an interpreter that has them is named."""

import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "speed" / "peer_gradients.py"
PEERS = os.environ.get("FEWSHOT_KM_PEERS")


@pytest.mark.slow
@pytest.mark.skipif(
    PEERS is None, reason="FEWSHOT_KM_PEERS names no interpreter with learn2learn and higher: peers_env.sh makes one"
)
def test_meta_gradients_are_those_of_learn2learn_and_higher() -> None:
    assert PEERS is not None
    done = subprocess.run([PEERS, SCRIPT], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout)
    assert {case.split(",")[0] for case in differences} == {"learn2learn maml", "learn2learn anil", "higher maml"}
    for case, by_execution in differences.items():
        for execution, difference in by_execution.items():
            assert difference < 1e-9, (case, execution)
