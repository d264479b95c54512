"""What guessing tokens ahead costs and brings: `python -m tests.embedded.measure_guessing`.

It compares tokens a second, so nothing else may run on the machine: generating a token is limited
by its memory, and checking guesses by its processors.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx

from tests.embedded.engine import serving

KINDS = ("none", "ngram-simple")
LEAST_TOKENS = 20
"""Shorter answers tell nothing."""

ROUNDS = 5
"""How often each answer is generated; the fastest counts."""

Body = dict[str, Any]


class Answers(NamedTuple):
    """Answers that were generated at the same time.

    Attributes:
        texts: Their texts.
        seconds: The seconds for each token.
    """

    texts: list[str]
    seconds: float


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


def measured(engines: Sequence[httpx.Client], bodies: Sequence[Body]) -> list[Answers]:
    """Let engines answer in turns, and return the fastest answers of each."""
    for http in engines:
        # What follows need not read the prompts.
        answers(http, [{**body, "max_tokens": 1} for body in bodies])
    rounds = [[timed(http, bodies) for http in engines] for _ in range(ROUNDS)]
    return [min(turns, key=lambda turn: turn.seconds) for turns in zip(*rounds, strict=True)]


def timed(http: httpx.Client, bodies: Sequence[Body]) -> Answers:
    begin = time.perf_counter()
    texts, tokens = zip(*answers(http, bodies), strict=True)
    took = time.perf_counter() - begin
    assert min(tokens) >= LEAST_TOKENS, texts
    assert all(len(text.split()) > 1 for text in texts), texts
    return Answers(list(texts), took / sum(tokens))


def groups(bodies: list[Body], at_once: int) -> Iterator[list[Body]]:
    for first in range(0, len(bodies), at_once):
        yield (bodies[first:] + bodies)[:at_once]


@contextmanager
def engines() -> Iterator[list[httpx.Client]]:
    """Serve with one engine for each kind of guessing."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="e", dir="/tmp")))
        yield [
            stack.enter_context(
                serving(directory / f"{kind}.sock", "-m", "embedded", "--spec-type", kind)
            )
            for kind in KINDS
        ]


def main() -> None:
    with engines() as pair:
        for name, bodies in WORK.items():
            for at_once in (1, 2):
                show(f"{name}, {at_once} at once", pair, [*groups(bodies, at_once)])


def show(name: str, engines: Sequence[httpx.Client], work: Sequence[Sequence[Body]]) -> None:
    pairs = [measured(engines, bodies) for bodies in work]
    speeds = [plain.seconds / guessing.seconds for plain, guessing in pairs]
    differ = sum(
        a != b
        for plain, guessing in pairs
        for a, b in zip(plain.texts, guessing.texts, strict=True)
    )
    print(
        f"{name}: {statistics.harmonic_mean(speeds):.2f} times as fast, at worst "
        f"{min(speeds):.2f}; {differ} differ",
        flush=True,
    )


if __name__ == "__main__":
    main()
