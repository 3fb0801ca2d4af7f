"""Measuring in turns, on a clock of the tests' own."""

import pytest
import torch

from fewshot_km.accel import timing as tune

CPU = torch.device("cpu")


class Machine:
    """Runs take what they are said to take, and all of them more while the machine is busy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.ran = 0.0, list[str]()
        monkeypatch.setattr(tune, "clock", lambda _: self.now)

    def run(self, name: str, seconds: float) -> None:
        self.ran.append(name)
        busy = 10 if 4 <= len(self.ran) < 7 else 1  # one round, after the warm-up of each
        self.now += busy * seconds


def test_runs_take_turns_and_a_busy_moment_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, failed = Machine(monkeypatch), {}
    times = {"a": 1.0, "b": 0.5, "c": 2.0}
    runs = {name: (lambda name=name, seconds=seconds: machine.run(name, seconds)) for name, seconds in times.items()}

    def broken() -> None:
        raise RuntimeError("no")

    found = tune.measure_in_turns({**runs, "broken": broken}, CPU, 5, failed.__setitem__)
    assert found == pytest.approx(times)
    assert [str(error) for error in failed.values()] == ["no"]
    rounds = ["".join(machine.ran[start : start + 3]) for start in range(3, 18, 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"fused": 1.0, "vmap": 0.97}, "fused"),
        ({"fused": 1.0, "vmap": 0.9}, "vmap"),
        ({"fused": 1.0, "plain": 3.0}, "fused"),
        ({"plain": 3.0, "vmap": 4.0}, "plain"),
    ],
)
def test_the_rule_gives_way_to_more_than_noise(seconds: dict[str, float], expected: str) -> None:
    assert tune.fastest(seconds, "fused") == expected
