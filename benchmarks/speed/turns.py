"""Contestants: processes that do on request what is timed, in turns, so that a disturbance meets all of them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.2  # between turns: threads of the last one may still be spinning


class Contestant:
    """A process that does on request what is timed."""

    def __init__(self, script: str, arguments: Sequence[str]) -> None:
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, str(here / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Its answer; RuntimeError with its last words where it stopped."""
        assert self._process.stdin is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise RuntimeError(self._process.stderr.read().strip()[-2000:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def seconds(self, **asked: Any) -> float:
        """What it says that it took."""
        time.sleep(PAUSE_SECONDS)
        return float(self.ask(**asked)["seconds"])

    def dismiss(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def contestants(script: str, wanted: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Contestant]]:
    """All at once, each with its name; they start one after the other, as ours measures when it starts."""
    with ExitStack() as stack:
        running = {}
        for name, arguments in wanted.items():
            running[name] = Contestant(script, arguments)
            stack.callback(running[name].dismiss)
            running[name].hear()
        yield running


def take_turns(running: dict[str, Contestant], rounds: int, **asked: Any) -> dict[str, list[float]]:
    """Seconds of each round, after one to warm up; who begins changes."""
    seconds: dict[str, list[float]] = {name: [] for name in running}
    names = list(running)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            took = running[name].seconds(**asked)
            if turn:
                seconds[name].append(took)
    return seconds
