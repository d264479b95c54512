"""An answer of a server in a few lines, without what differs every time.

Ids, times, counts of prompts and probabilities are left out; everything else must be as expected,
or stands in the lines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

HEAD = {"id": str, "created": int, "model": str, "system_fingerprint": type(None)}
KINDS = {
    "chat.completion": "chat",
    "chat.completion.chunk": "chat",
    "text_completion": "text",
}


def outcome(status: int, content_type: str | None, text: str) -> list[str]:
    """The lines of an answer."""
    if content_type is None:
        return [f"{status} empty"] if not text else [f"{status} {text}"]
    kind = content_type.split(";")[0]
    if kind == "text/event-stream":
        return [f"{status} stream", *merged(map(event, text.split("\n\n")))]
    if kind == "text/plain":
        return [f"{status} text", text.split(": ")[0].split("\n")[0]]
    return [f"{status} json", *whole(json.loads(text) if text else None)]


def short(line: str) -> str:
    """The line as a table has it: of a long one, the beginning and the length."""
    return line if len(line) < 400 else f"{line[:200]}... ({len(line)} characters)"


def whole(value: Any) -> list[str]:
    """The lines of a JSON body."""
    if not isinstance(value, dict):
        return [skeleton(value)]
    if value.keys() == {"error"} and value["error"].keys() == {"message", "type", "code"}:
        error = value["error"]
        return [f"error {error['type']} {error['code']}: {error['message']}"]
    if value.get("object") not in KINDS:
        return [skeleton(value)]
    return [*envelope(value, "usage"), *choice(value["choices"]), *usage(value.get("usage"))]


def event(data: str) -> list[str]:
    """The lines of one event of a stream."""
    if not data or data == ":":
        return []  # the comments of a silent stream depend on its pace
    if data == "data: [DONE]":
        return ["done"]
    if not data.startswith("data: {"):
        return [data]
    value = json.loads(data.removeprefix("data: "))
    if value.get("object") not in KINDS:
        return [f"native {json.dumps(value)}"]
    if not value["choices"]:
        return [*envelope(value, "usage"), *usage(value["usage"])]
    return [*envelope(value), *choice(value["choices"])]


def envelope(value: Json, *more: str) -> list[str]:
    """Nothing, if what is around the choices is as always."""
    expected = {"object", "choices", *HEAD, *more}
    wrong = {name for name, kind in HEAD.items() if not isinstance(value.get(name), kind)}
    return [f"envelope {sorted(value)}"] if wrong or value.keys() != expected else []


def choice(choices: Sequence[Json]) -> list[str]:
    """The lines of the one choice, whole or a part of it."""
    (one,) = choices
    names = {"index", "finish_reason", "logprobs"} | (one.keys() & {"message", "delta", "text"})
    lines = [] if one.keys() == names and len(names) == 4 else [f"choice {sorted(one)}"]
    parts = one.get("message", one.get("delta", {"text": one["text"]} if "text" in one else {}))
    for name, value in parts.items():
        if name == "tool_calls":
            lines += [call(part) for part in value]
        elif name != "text" or value or one["finish_reason"] is None:
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    if one["logprobs"] is not None:
        lines.append(f"logprobs: {skeleton(one['logprobs'])}")
    if one["finish_reason"] is not None:
        lines.append(f"finish: {one['finish_reason']}")
    return lines


def call(part: Json) -> str:
    """A call, or a part of one."""
    return f"call: {skeleton({**part, 'id': 'id'} if 'id' in part else part)}"


def usage(counts: Json | None) -> list[str]:
    """How many tokens were made, and whether the cache is told."""
    if counts is None:
        return []
    others = sorted(counts.keys() - {"completion_tokens", "prompt_tokens", "total_tokens"})
    return [" ".join([f"usage: {counts['completion_tokens']}", *others])]


def merged(events: Any) -> list[str]:
    """All lines of a stream, with one for each run of texts."""
    lines: list[str] = []
    count = 0
    for line in (line for lines_ in events for line in lines_):
        name, _, value = line.partition(": ")
        joins = (
            name in ("content", "reasoning_content", "text")
            and lines
            and (lines[-1].startswith(f"{name} x"))
        )
        if name not in ("content", "reasoning_content", "text"):
            lines.append(line)
            continue
        count = count + 1 if joins else 1
        before = json.loads(lines.pop().partition(": ")[2]) if joins else ""
        text = json.dumps(before + json.loads(value), ensure_ascii=False)
        lines.append(f"{name} x{count}: {text}")
    return lines


def skeleton(value: Any) -> str:
    """A JSON value with its keys and its texts; numbers are what kind they are."""
    return json.dumps(bare(value), ensure_ascii=False, sort_keys=True)


def bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: OWN.get(name, bare)(item) for name, item in value.items()}
    if isinstance(value, list):
        numbers = value and all(bare(item) == "number" for item in value)
        return ["number"] if numbers else [bare(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return "number"


def others(top: Any) -> Any:
    """How many likely tokens there are; which ones is the model's own."""
    if isinstance(top, list) and top and not isinstance(top[0], dict):
        return top
    if isinstance(top, list) and top and "token" not in top[0]:
        return [len(item) for item in top]
    return len(top)


OWN = {"top_logprobs": others, "bytes": lambda value: "bytes", "created": lambda value: "number"}
