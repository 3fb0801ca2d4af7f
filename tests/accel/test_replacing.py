"""What gets fast operations under a network, and what is left to torch."""

from pathlib import Path

import torch
from torch.nn import functional as F

import fewshot_km
from fewshot_km.accel.fused.fast_operations import fast_operations
from tests.support.derivatives import names_in_graph


def test_a_network_gets_them_within_the_context_only() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2, track_running_stats=False))
    x = torch.rand(3, 1, 5, 5)
    with fast_operations(network):
        fast = network(x)
    plain = network(x)
    torch.testing.assert_close(fast, plain)
    assert "_Normalise" in names_in_graph(fast)
    assert "_Convolution" in names_in_graph(fast)
    assert "_Normalise" not in names_in_graph(plain)


def test_what_is_not_fast_here_is_left_to_torch() -> None:
    running = torch.nn.BatchNorm2d(2)
    x = torch.rand(3, 2, 5, 5)
    with fast_operations(running):
        assert "_Normalise" not in names_in_graph(running(x))
        assert torch.equal(F.conv1d(x[0], torch.ones(1, 5, 3)), F.conv1d(x[0], torch.ones(1, 5, 3)))
        assert F.batch_norm(x.flatten(2), None, None, training=True).shape == (3, 2, 25)
    assert float(running.running_mean.abs().sum()) > 0


def test_acceleration_is_a_leaf() -> None:
    package = Path(fewshot_km.__file__).parent
    rooms = [package / room for room in ("data", "models", "learners", "training", "plugins")]
    sources = [path for room in rooms for path in room.rglob("*.py*") if path.suffix in (".py", ".pyi")]
    assert len(sources) > 30
    assert [str(path) for path in sources if "fewshot_km.accel" in path.read_text(encoding="utf-8")] == []
