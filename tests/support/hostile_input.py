"""Input that nobody means to give, and how every command must end on it."""

import json
from typing import Any

from click.testing import Result
from hypothesis import strategies as some
from typer.testing import CliRunner

from fewshot_km.cli.app import app

DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5_000  # more digits than Python turns into an integer
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 5, 2**63, 2**70, 10**400, 0.5, 55.0, 1e308, float("nan"), float("inf"), "", "x", "a\nb",
    "\u202e\x1b[31m", "\ud800", "x" * 10_000, "../..", [], [1], {}, {"": {}}, {"name": [None]}, [[[[[]]]]],
]  # fmt: skip


def invoked(*arguments: object) -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def check_end(result: Result) -> None:
    """Done, failed or bad input; never a traceback, and at most two lines."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 2)
    assert len(result.stderr.splitlines()) <= 2, result.stderr
    assert result.exit_code == 0 or result.stderr, "it ends without a word"


def places(content: Any) -> list[tuple[Any, ...]]:
    """Where in a JSON document anything stands."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [(), *((key, *place) for key, value in items for place in places(value))]


@some.composite
def mistaken_json(draw: some.DrawFn, text: str) -> str:
    """A JSON document in which something is missing, of another type or value, too long or too deep."""
    content = json.loads(text)
    place = draw(some.sampled_from(places(content)[1:]))
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    kind = draw(some.sampled_from(["gone", "value", "text"]))
    if kind == "gone":
        del inside[place[-1]]
    elif kind == "value":
        inside[place[-1]] = draw(some.sampled_from(VALUES))
    else:
        inside[place[-1]] = "PLACE"
    return json.dumps(content).replace('"PLACE"', draw(some.sampled_from([DEEP, LONG, "1e999", "-", "{"])))


@some.composite
def mistaken_bytes(draw: some.DrawFn, content: bytes) -> bytes:
    """A file of which a part is gone, doubled, or something else."""
    start, end = sorted(draw(some.tuples(*[some.integers(0, len(content))] * 2)))
    filling = some.sampled_from([b"", b"0", b"\xff", b"\0", b'"', b",", b"\r", b"\n\n", b"nan", b"1e9", b"9" * 5_000])
    return content[:start] + draw(some.one_of(filling, some.just(content[start:end] * 2))) + content[end:]
