"""Thoughts and calls in what a model writes, as mlxcel 0.4.2 reads them.

It reads a whole answer and a stream in two ways, which do not agree: a call that cannot be read
is text in a whole answer, and nothing in a stream.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.fakes.answers import Answer, Json, tool_call

THINK, THOUGHT = "<think>", "</think>"
CALL, CALLED = "<tool_call>", "</tool_call>"
MARKS = re.compile(f"({THINK}|{THOUGHT}|{CALL}|{CALLED})")


@dataclass(frozen=True)
class Delta:
    """A part of a streamed message; `token` is the token it came with, if logprobs are its own."""

    field: str
    text: str
    token: str | None = None


def whole(raw: Sequence[str], answer: Answer, body: Json) -> Answer:
    """The answer that a whole reply has, without white space around it."""
    text = "".join(raw)
    thoughts, mark, rest = text.partition(THOUGHT)
    if not mark and THINK not in text:
        thoughts, rest = "", text
    elif THINK not in thoughts:
        thoughts = ""  # opened by the prompt: lost
    thoughts = thoughts.partition(THINK)[2]
    called = calls(rest, body)
    if called is None:
        return dataclasses.replace(answer, text=rest.strip(), reasoning=thoughts or None)
    chosen = wanted(called, body)
    return dataclasses.replace(
        answer,
        text=re.sub(f"{CALL}.*?{CALLED}", "", rest, flags=re.DOTALL).strip(),
        reasoning=thoughts or None,
        tool_calls=chosen,
        finish="tool_calls" if chosen else "stop",
    )


def streamed(raw: Sequence[str], answer: Answer, body: Json) -> tuple[list[Delta], Answer]:
    """The texts of a stream, and the answer with the calls that come at its end.

    As soon as a call begins nothing is sent any more, but what stands between two calls.
    """
    deltas = list(parts(raw, bool(body.get("tools"))))
    called = calls("".join(raw), body)
    if called is None:
        return deltas, answer
    return deltas, dataclasses.replace(answer, tool_calls=wanted(called, body), finish="tool_calls")


def parts(raw: Sequence[str], tools: bool) -> Iterator[Delta]:
    field = "content"
    for token in raw:
        for part in filter(None, MARKS.split(token)):
            if part in (THINK, THOUGHT):
                field = "reasoning_content" if part == THINK else "content"
            elif tools and part in (CALL, CALLED):
                field = "" if part == CALL else "content"
            elif field:
                yield Delta(field, part, token if field == "content" else None)
                continue
            else:
                continue
            # A mark is a token of its own, whose logprobs come without a text.
            if part == token:
                yield Delta("content", "", token)


def calls(text: str, body: Json) -> list[Json] | None:
    """The calls in a text; None if there are none, or one that cannot be read."""
    names = [tool["function"]["name"] for tool in body.get("tools") or ()]
    found = re.findall(f"{CALL}(.*?)(?:{CALLED}|$)", text, re.DOTALL) if names else []
    if not found:
        return None
    try:
        read = [json.loads(call) for call in found]
    except ValueError:
        return None
    if not all(call.get("name") in names for call in read):
        return None
    return [
        tool_call(
            {
                "name": call["name"],
                "arguments": json.dumps(call.get("arguments", {}), separators=(",", ":")),
            }
        )
        for call in read
    ]


def wanted(called: list[Json], body: Json) -> list[Json]:
    """Without the calls that a choice by name leaves out."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return called
    return [call for call in called if call["function"]["name"] == choice["function"]["name"]]
