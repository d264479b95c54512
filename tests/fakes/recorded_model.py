"""The models whose answers were recorded from a real mlxcel 0.4.2.

Of the small one, each token follows from the last alone, so that its answers are the same every
time; where an answer begins is read from the prompt. Of the real one, the recorded answers are
known and no others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from tests.fakes.answers import Json
from tests.fakes.prompts import content_text
from tests.fakes.replies import Reply
from tests.fakes.schemas import requested_schema

PARIS = ["The", " capital", " of", " France", " is", " Paris"]
PONDER = ["\nLet me", " ponder", " this."]
NUMBERS = ["", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"][1:]
CALL = ["<tool_call>", '\n{"name": ', '"get_weather", ', '"arguments": {', '"city":', ' "Paris"',
        "}}\n", "</tool_call>"]  # fmt: skip
MALFORMED = {
    "malformed": [*CALL[:5], " Paris", *CALL[6:]],
    "noname": [CALL[0], '\n{"nome": ', *CALL[2:]],
}
ANSWERS: dict[str, list[str]] = {
    "two": [
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Rome"}}</tool_call>',
        '\n<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>',
    ],
    "broken": ["".join(CALL[:5])],
    "mix": ["I will", " look it", " up.\n", *CALL],
    "no tool": PARIS,
}
UNICODE = [" früh", " 日本", " 🎉", " \u200d", " ok"]
SEA = [
    " The", " sea", " is", " a", " great", " place", " to", " be", ".", " It", " is", " a",
    " place", " where", " you", " can", " see", " the", " world", "\u2019", "s", " most",
    " beautiful", " and", " diverse", " animals", ".", " It", " is", " also", " a", " place",
    " where", " you", " can", " see", " the", " most", " beautiful", " people",
]  # fmt: skip
REAL = {
    "What is the capital of France?": [" Paris"],
    "Tell me about the sea.": SEA,
    "Count to ten.": [" ", "1", *"00000000"],
    "What is the weather in Paris?": [],
    "Three colours.": ["[", " "],
    "Hello": [","],
    "<bos>Hello": [","],
    "": ["<h1>", "<i>"],
    "Question: What is the capital of France?\nAnswer:": [" Paris"],
}
SEEDED = [" The", " sea", " is", " a", " great", " source", " of", " natural", " resources",
          " which"]  # fmt: skip


class RecordedModel:
    """What a scripted server may have as its `think`.

    Args:
        name: Which of the recorded models to be.
        thinking: Whether the server's own variables of the template switch thinking on.
        budget: How many tokens of thoughts the server allows; -1 is no limit.
        template: Whether the chat template works.
    """

    def __init__(
        self, name: str = "scripted", thinking: bool = True, budget: int = -1, template: bool = True
    ) -> None:
        self.name = name
        self._thinking = thinking
        self._budget = budget
        self._template = template and name not in ("notmpl", "badtmpl")

    def __call__(self, body: Json) -> Reply | None:
        """The answer to a request; None leaves one that is held to a schema to the server."""
        chat = "messages" in body
        text = (
            content_text(body["messages"][-1].get("content")) if chat and body["messages"] else ""
        )
        if self.name.startswith("gemma"):
            return self._real(body, text if chat else body["prompt"])
        if requested_schema(body) is not None:
            return None
        if not chat:
            return written(continued(body["prompt"]))
        return written(self._chat(body, text) if self._template else [])

    def _real(self, body: Json, question: str) -> Reply | None:
        if requested_schema(body) is not None and question != "Three colours.":
            return None
        if body.get("tools"):
            return written([])
        return written(SEEDED if "seed" in body else REAL.get(question, []))

    def _chat(self, body: Json, text: str) -> Iterable[str]:
        if body.get("tools") and body.get("tool_choice") != "none":
            if body["messages"][-1]["role"] == "tool":
                return self._answer(body)
            found = [answer for word, answer in ANSWERS.items() if word in text]
            return found[0] if found else MALFORMED.get(self.name, CALL)
        if "Count" in text:
            return itertools.cycle(f" {number}" for number in NUMBERS)
        if "Unicode" in text:
            return UNICODE
        if "primed" in text:
            return ["\nIt asks", " for a", " city\n", "</think>", "\n\nThe", *PARIS[1:]]
        return self._answer(body)

    def _answer(self, body: Json) -> Sequence[str]:
        """The answer, after the thoughts that the request allows."""
        given = body.get("chat_template_kwargs")
        given = given or (body.get("extra_body") or {}).get("chat_template_kwargs") or {}
        if not given.get("enable_thinking", self._thinking):
            return PARIS
        names = ("thinking_budget_tokens", "thinking_token_budget", "thinking_budget")
        budget = next((body[name] for name in names if name in body), self._budget)
        thoughts = PONDER if budget < 0 else PONDER[:budget]
        return ["<think>", *thoughts, "</think>", "\n\nThe", *PARIS[1:]]


def continued(prompt: str) -> Iterable[str]:
    """The tokens that follow a prompt's last one."""
    if prompt == "<|count|>":
        return itertools.cycle(f" {number}" for number in NUMBERS)
    if prompt == "<|ponder|>":
        return ["<think>", *PONDER, "</think>", "\n\nThe", *PARIS[1:]]
    ends = [index for index, token in enumerate(PARIS) if prompt.endswith(token)]
    return PARIS[ends[-1] + 1 :] if ends else ["}"]


def written(tokens: Iterable[str]) -> Reply:
    """An answer of these tokens, some of which may have no end."""
    return Reply.raw_text(*itertools.islice(tokens, 5000))
