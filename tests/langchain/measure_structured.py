"""What structured output adds to a request of the same tokens, against a scripted server.

The same ``response_format`` sent by hand is compared with ``with_structured_output``, in rounds
that take turns. What counts is the processor time of this program, since what else the machine
does must not: the server is a process of its own.

Run as a program: ``python -m tests.langchain.measure_structured [ROUNDS]``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.protocol.kinds import to_schema
from tests.fake_replies import pieces
from tests.fake_server import FakeServer, Reply


class Person(BaseModel):
    """Somebody who came."""

    name: str
    age: int


class Report(BaseModel):
    """Who came to a meeting."""

    title: str
    people: list[Person]


PEOPLE = [{"name": f"Person {number}", "age": number} for number in range(20, 50)]
ANSWER = json.dumps({"title": "The meeting of the year", "people": PEOPLE})
"""Some 130 tokens of the scripted server."""

SERVE = "import tests.langchain.measure_structured as m; m.serve()"


def serve() -> None:
    """Answer every request with the same text, until the standard input ends."""
    with FakeServer() as server:
        server.think = lambda body: Reply.text(ANSWER)
        print(server.url, flush=True)
        sys.stdin.read()


def measure(rounds: int, url: str) -> dict[str, tuple[float, float]]:
    """Return the median seconds of each way of asking: by hand, and with structured output.

    Args:
        rounds: How often each is asked.
        url: Where the scripted server is.
    """
    with ChatMlxcel(base_url=url) as llm:
        fields = {"chat_template_kwargs": {"enable_thinking": False}}
        by_hand = llm.bind(response_format=to_schema(Report).response_format, **fields)
        structured = llm.with_structured_output(Report, show_schema=False)
        ways: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "invoke": (lambda: by_hand.invoke("x"), lambda: structured.invoke("x")),
            "stream": (lambda: list(by_hand.stream("x")), lambda: list(structured.stream("x"))),
        }
        return {name: _medians(rounds, *pair) for name, pair in ways.items()}


def _medians(rounds: int, *pair: Callable[[], Any]) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        # Who goes first takes turns, too.
        for index in (0, 1) if number % 2 else (1, 0):
            begin = time.process_time()
            pair[index]()
            times[index].append(time.process_time() - begin)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        for name, (by_hand, structured) in measure(
            rounds, server.stdout.readline().strip()
        ).items():
            more = 1e6 * (structured - by_hand) / len(pieces(ANSWER))
            print(
                f"{name}: {1000 * by_hand:.2f} ms by hand, {1000 * structured:.2f} ms structured: "
                f"ratio {structured / by_hand:.3f}, {more:.1f} us more a token"
            )
        server.communicate()


if __name__ == "__main__":
    main()
