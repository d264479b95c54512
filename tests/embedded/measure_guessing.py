"""What guessing tokens ahead costs and brings: `python -m tests.embedded.measure_guessing`.

Processor time for each token, since another load on the machine hardly changes that.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.embedded.engine import client, start, wait_until_ready

KINDS = ("none", "ngram-simple")
LEAST_TOKENS = 20
"""Shorter answers tell nothing."""

Body = dict[str, Any]
Engine = tuple[subprocess.Popen[str], httpx.Client]

PEOPLE = (
    "Anna Berg is 34 and lives in Oslo. Ben Cole, 51, lives in Leeds. Clara Duval is 28 and comes "
    "from Lyon. David Eng lives in Malmo and is 43. Emma Fox, who is 19, lives in Cork."
)
LIGHTHOUSE = (
    "The lighthouse of Skarvik was built in 1885. It is 32 metres tall and painted red. Its "
    "keeper, Ingrid Dahl, lives in the cottage beside it. Its light is seen from 19 miles away."
)
ORDER = (
    "Frank Gray orders 3 cinnamon buns at 3.00 each, 2 rolls at 0.80 each, 1 loaf of bread at "
    "4.50, and 4 apple pies at 5.20 each."
)
STORIES = (
    "Once upon a time there was a ship that sailed from Lisbon to the islands in the west. The "
    "captain, an old man named Joao,",
    "The history of the city of Seoul begins more than two thousand years ago, when the kingdom "
    "of Baekje",
    "To bake bread at home you need flour, water, salt and yeast. First you",
)


TEXTS = (
    PEOPLE,
    LIGHTHOUSE,
    "The ferry to the island leaves at seven in the morning and comes back at six in the evening. "
    "Tickets are sold on board, in cash only. Dogs travel for free, bicycles cost two crowns, and "
    "whoever misses the last boat sleeps in the hostel behind the church.",
    "Hazel bakes bread every Saturday. She mixes flour, water and salt on Friday night, lets the "
    "dough rest until sunrise, and heats the stone oven with beech wood. Her neighbours queue at "
    "the gate by nine, because the last loaf is usually gone before ten.",
    "The museum keeps its oldest map in a dark room on the second floor. It was drawn on goat skin "
    "by a sailor who never saw the northern coast, so that half of its rivers end in the sea on "
    "the wrong side. Visitors may look at it for ten minutes at a time.",
    "Each spring the river floods the lower meadows for about a week. Farmers move their sheep to "
    "the hill beside the chapel, tie their boats to the oak trees, and wait. When the water has "
    "gone, the grass grows faster there than anywhere else in the valley.",
)
"""What is quoted."""


def quotes() -> list[Body]:
    return [
        {"prompt": f"The text:\n{text}\n\nThe same text again:\n{text[:50]}", "max_tokens": 32}
        for text in TEXTS
    ]


def records(text: str, size: int, /, **properties: str) -> Body:
    """A request for JSON as the clients send it, with the schema at the end of the message."""
    item = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": [*properties],
    }
    schema = {"type": "array", "items": item, "minItems": size, "maxItems": size}
    shown = f"Answer with JSON that fits this JSON schema:\n{json.dumps(schema)}"
    return {
        "messages": [{"role": "user", "content": f"{text}\n\n{shown}"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        "max_tokens": 120,
    }


WORK: dict[str, list[Body]] = {
    "quotes": quotes(),
    "JSON": [
        records(f"{PEOPLE} List the people.", 5, name="string", age="integer", town="string"),
        records(f"{ORDER} List the items.", 4, item="string", count="integer", price="number"),
        records(f"{LIGHTHOUSE} List three facts.", 3, subject="string", fact="string"),
    ],
    "prose": [{"prompt": story, "max_tokens": 60} for story in STORIES],
}


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """Return the processor time of a process, by its clock, as Linux numbers them."""
    return time.clock_gettime(~process.pid << 3 | 2)


def answers(http: httpx.Client, bodies: Sequence[Body]) -> list[tuple[str, int]]:
    """Ask all at once; return each answer and its tokens."""

    def answer(body: Body) -> tuple[str, int]:
        route = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        reply: Any = http.post(route, json={"temperature": 0, **body}).json()
        (choice,) = reply["choices"]
        text = choice["text"] if "text" in choice else choice["message"]["content"]
        return text, reply["usage"]["completion_tokens"]

    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(answer, bodies))


def measured(
    process: subprocess.Popen[str], http: httpx.Client, bodies: Sequence[Body]
) -> tuple[list[str], float]:
    """Return answers, and the processor seconds for each token without those of the prompts."""
    answers(http, [{**body, "max_tokens": 1} for body in bodies])
    begin = processor_seconds(process)
    texts, tokens = zip(*answers(http, bodies), strict=True)
    took = processor_seconds(process) - begin
    assert min(tokens) >= LEAST_TOKENS, texts
    assert all(len(text.split()) > 1 for text in texts), texts
    return list(texts), took / sum(tokens)


def groups(bodies: list[Body], at_once: int) -> Iterator[list[Body]]:
    for first in range(0, len(bodies), at_once):
        yield (bodies[first:] + bodies)[:at_once]


@contextmanager
def engines() -> Iterator[list[Engine]]:
    """Serve with one engine for each kind of guessing, with one thread each."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="e", dir="/tmp"))
        yield [stack.enter_context(engine(Path(directory), kind)) for kind in KINDS]


@contextmanager
def engine(directory: Path, kind: str) -> Iterator[Engine]:
    path = directory / f"{kind}.sock"
    flags = ("-m", "embedded", "--host", str(path), "--port", "0", "--spec-type", kind)
    process = start(*flags, OMP_NUM_THREADS="1")
    try:
        wait_until_ready(process)
        with client(path) as http:
            yield process, http
    finally:
        process.terminate()
        process.communicate(timeout=10)


def main() -> None:
    with engines() as pair:
        for name, bodies in WORK.items():
            for at_once in (1, 2):
                show(f"{name}, {at_once} at once", pair, [*groups(bodies, at_once)])


def show(
    name: str,
    engines: Sequence[Engine],
    work: Sequence[Sequence[Body]],
) -> None:
    pairs = [[measured(*engine, bodies) for engine in engines] for bodies in work]
    ratios = [guessing / plain for (_, plain), (_, guessing) in pairs]
    differ = sum(a != b for (one, _), (other, _) in pairs for a, b in zip(one, other, strict=True))
    mean = sum(ratios) / len(ratios)
    print(
        f"{name}: {mean:.2f} of the time, at worst {max(ratios):.2f}; {differ} differ", flush=True
    )


if __name__ == "__main__":
    main()
