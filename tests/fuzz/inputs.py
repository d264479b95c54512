"""What servers might send: answers as they are, with something wrong in them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["pieces", "wrong_bytes", "wrong_events", "wrong_json"]

T = TypeVar("T", str, bytes)
MARK = "@@wrong@@"

LITERALS = (
    *("null", "true", "false", "0", "-1", "1.5", "12", "1e999999", "-1e999999", "NaN", "-Infinity"),
    *("1" + "0" * 400, "-0", "1E+2", "01", "+1", ".5", "1."),
    *('""', '"x"', '"error"', '"stop"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\ufeff"'),
    *('"\\ud83c\\udf89"', '"\u2028\u0085"', '"1"', '"\\x"', '"\n"'),
    *("[]", "{}", "[null]", "[0]", '["x"]', "[[]]", "[{}]", '{"a": 1}', '{"": {}}', "{", "]", ""),
    *('{"index": 0}', '{"message": {}}', '{"a": 1, "a": 2}', '{"tokens": ["x"]}'),
    *("[" * 20 + "]" * 20, '{"a":' * 20 + "0" + "}" * 20),
)
"""What stands where a value should: JSON and what is none."""

LARGE = (
    *("9" * 5000, "0." + "0" * 5000 + "1", '"' + "x" * 5000 + '"', "[0" + ",0" * 5000 + "]"),
    *("[" * depth + "]" * depth for depth in (200, 900, 100_000)),
    *('{"a":' * depth + "0" + "}" * depth for depth in (200, 900, 100_000)),
)
"""The same, of a size or a depth that nothing should have."""

SNIPPETS = (
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\n\r", b"data:", b"data: ", b"data", b":", b": ", b"\x00"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xe2\x80", b"\xf0\x9f\x8e", b"\xed\xa0\x80", b'"'),
    *(b"[DONE]", b"data: [DONE]\n\n", b"event: x\n", b"id: 1\r", b"retry: 5\n", b"\xe2\x80\xa8"),
    *(b"{", b"}", b"[", b"]", b",", b"null", b"1e999999", b"\\ud800", b"\\u00", b"<html>", b" "),
)
"""What means something to a decoder, or is half of it."""


def wrong_json(rng: random.Random, value: Any, changes: int | None = None) -> str:
    """Return JSON text in which some values are others, or none; `value` itself may change."""
    root = [value]
    chosen = []
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3)) if changes is None else changes):
        container, key = rng.choice(list(_places(root)))
        how = rng.random()
        if how < 0.15 and isinstance(container, dict):
            del container[key]
        elif how < 0.3 and isinstance(container, list) and container is not root:
            container.append(container[key])
        else:
            container[key] = MARK
            chosen.append(rng.choice(LARGE if rng.random() < 0.03 else LITERALS))
    text = json.dumps(root[0], ensure_ascii=rng.random() < 0.5)
    for literal in chosen:
        text = text.replace(f'"{MARK}"', literal, 1)
    return text


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in list(inner):
        yield value, key
        if isinstance(part, dict | list):
            yield from _places(part)


def wrong_events(rng: random.Random, answer: Sequence[Any]) -> bytes:
    """Return an event stream with these events, in which something is wrong."""
    data = [part if isinstance(part, str) else wrong_json(rng, part, 0) for part in answer]
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = rng.randrange(len(answer))
        if not isinstance(answer[at], str):
            data[at] = wrong_json(rng, answer[at])
    stream = b"".join(_event(rng, text.encode(errors="surrogatepass")) for text in data)
    return wrong_bytes(rng, stream) if rng.random() < 0.5 else stream


def _event(rng: random.Random, data: bytes) -> bytes:
    end = rng.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r"))
    field = rng.choice((b"data: ", b"data: ", b"data:"))
    before = rng.choice((b"", b"", b"", b": alive" + end, b"event: message" + end))
    return before + field + data + end + end


def wrong_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return bytes in which some are gone, doubled, others, or cut off."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        until = min(len(data), at + rng.choice((1, 1, 2, 8, 60)))
        data = rng.choice(
            (
                data[:at],
                data[:at] + data[until:],
                data[:until] + data[at:],
                data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
                data[:at] + rng.choice(SNIPPETS) + data[at:],
                data[:at] + rng.choice(SNIPPETS) + data[until:],
            )
        )
    return data


def pieces(rng: random.Random, whole: T) -> Iterator[T]:
    """Yield something in pieces: all single, or of any sizes, some of them empty."""
    if len(whole) < 2000 and rng.random() < 0.3:
        yield from (whole[at : at + 1] for at in range(len(whole)))
        return
    size = max(rng.choice((2, 7, 50, 1000, 70_000)), len(whole) // 1000)
    at = 0
    while at < len(whole):
        step = rng.randint(0, size)
        yield whole[at : at + step]
        at += step
