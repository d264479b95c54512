"""What reads a server's words, and what must hold whatever they are.

Each target makes one input from a generator of random numbers and hands it to a decoder. Only the
package's own errors may come out, and the same bytes in other pieces must mean the same.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
import random
import re
from collections.abc import Callable, Iterable
from typing import Any, TypedDict, TypeVar

import pydantic

from mlxcel_integrations.errors import MlxcelError, MlxcelStreamError, StructuredOutputError
from mlxcel_integrations.langchain import replies as to_langchain
from mlxcel_integrations.llama_index import replies as to_llama_index
from mlxcel_integrations.protocol.answers.chat_streams import (
    ChatStream,
    SchemaStream,
)
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.reply import fold
from mlxcel_integrations.protocol.answers.sse import SSEDecoder
from mlxcel_integrations.protocol.answers.stream import DeltaStream
from mlxcel_integrations.protocol.answers.thought_stream import ThoughtStream
from mlxcel_integrations.protocol.completions import CompletionStream, InfillStream
from mlxcel_integrations.protocol.discovery import choose_capable, choose_model
from mlxcel_integrations.protocol.failures import Failure, from_status, not_a_stream
from mlxcel_integrations.protocol.features import read_features
from mlxcel_integrations.protocol.flow import Flow, Gather
from mlxcel_integrations.protocol.retries import Retries
from mlxcel_integrations.protocol.tokens.context_window import (
    fit_chat,
    room_for_prompt,
    room_to_check,
)
from mlxcel_integrations.protocol.tokens.message_tokens import count_chat
from mlxcel_integrations.protocol.tokens.tokenize import TokenMemory, count_texts, read_text
from mlxcel_integrations.protocol.tools.call_streams import CallStream, PromptedStream
from mlxcel_integrations.protocol.vectors.embeddings import embed_texts
from mlxcel_integrations.protocol.vectors.rerank import rerank_documents
from mlxcel_integrations.protocol.vectors.vector_models import VectorMemory
from mlxcel_integrations.structured.answer_stream import AnswerStream
from mlxcel_integrations.structured.partial_json import IncrementalJSON
from mlxcel_integrations.structured.type_schema import to_schema
from mlxcel_integrations.transport.token_cache import TokenCache
from tests.fuzz.inputs import pieces, wrong_bytes, wrong_events, wrong_json

__all__ = ["TARGETS"]

E = TypeVar("E", bound=Exception)

# --------------------------------------------------------------------------- event streams

USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
TOKEN = {"token": "a", "logprob": -0.5, "bytes": [97]}
CALLS = [
    {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a"'}},
    {"index": 0, "function": {"arguments": ": 1}"}},
]
CALL = '{"name": "add", "arguments": {"a": 1}}'


def chunk(finish: str | None = None, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
    return {"id": "1", "model": "m", "choices": [choice]}


def completion(text: str, finish: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": logprobs}
    return {"id": "1", "model": "m", "choices": [choice]}


LEGACY = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": -2}]}
LAST = {"choices": [], "usage": USAGE, "timings": {"predicted_per_second": 70.5}}
DONE = "[DONE]"

ANSWERS: dict[Callable[[], DeltaStream], list[list[Any]]] = {
    ChatStream: [
        [chunk(role="assistant"), chunk(content="Grüß 🎉"), chunk("stop"), LAST, DONE],
        [chunk(content="a", logprobs={"content": [{**TOKEN, "top_logprobs": [TOKEN]}]}), DONE],
        [chunk(reasoning_content="hm"), chunk(tool_calls=CALLS), chunk("tool_calls"), DONE],
        [chunk(content="a"), {"error": {"message": "boom", "code": 1}}, DONE],
        [chunk(content="a"), chunk("error")],
    ],
    SchemaStream: [
        [chunk(reasoning_content='{"a": '), chunk(reasoning_content="1}"), chunk("stop"), DONE]
    ],
    ThoughtStream: [
        [chunk(reasoning_content="hm"), chunk(reasoning_content="{"), chunk(content="a"), DONE],
        [chunk(reasoning_content="hm"), chunk("length"), LAST, DONE],
    ],
    functools.partial(ThoughtStream, separates=False): [
        [chunk(content="hm"), chunk(content=' so: {"a": 1}'), chunk("stop"), LAST, DONE]
    ],
    functools.partial(CallStream, frozenset({"add"})): [
        [chunk(content=CALL[:9]), chunk(content=CALL[9:]), chunk("stop"), LAST, DONE]
    ],
    functools.partial(PromptedStream, frozenset({"add"}), ["4"]): [
        [chunk(content=CALL[:9]), chunk(content=CALL[9:]), chunk("stop"), LAST, DONE],
        [chunk(content='{"answer": "It '), chunk(content='is\\n 4."}'), chunk("stop"), DONE],
        [
            chunk(content='{"calls": [' + CALL),
            chunk(content=", " + CALL + "]}"),
            chunk("stop"),
            DONE,
        ],
    ],
    CompletionStream: [
        [completion("a", None, LEGACY), completion("b"), completion("", "length"), LAST, DONE]
    ],
    InfillStream: [
        [
            {"content": "a"},
            {"content": "", "stop": True, "stop_type": "limit", "model": "m", "timings": {"a": 1}}
            | {"tokens_evaluated": 1, "tokens_predicted": 2},
        ]
    ],
}


def read(stream: DeltaStream, parts: Iterable[bytes]) -> tuple[list[Delta], str]:
    """Do what clients do: return the deltas, and how it ended."""
    deltas: list[Delta] = []
    for part in parts:
        deltas += stream.feed(part)
        if stream.done:
            break
    failure = caught(MlxcelStreamError, stream.close)
    if failure is None:
        return deltas, ""
    assert stream.shown == failure.partial
    return deltas, f"{failure} {failure.partial!r}"


def caught(kind: type[E], function: Callable[[], object]) -> E | None:
    """Return the error that a function raises, None if it raises none."""
    try:
        function()
    except kind as error:
        return error
    return None


def shown(value: object) -> str:
    """Return a text that is the same for what means the same; ids of calls are made up."""
    return re.sub("call_[0-9a-f]{32}", "call", repr(value))


def answer(rng: random.Random) -> tuple[Callable[[], DeltaStream], bytes]:
    make = rng.choice(list(ANSWERS))
    return make, wrong_events(rng, json.loads(json.dumps(rng.choice(ANSWERS[make]))))


def streams(rng: random.Random) -> None:
    """The text of an answer, and how it ends, do not depend on the pieces that it comes in."""
    make, wire = answer(rng)

    deltas, end = read(make(), [wire])

    assert (shown(deltas), end) == (lambda seen: (shown(seen[0]), seen[1]))(
        read(make(), pieces(rng, wire))
    )
    reply = fold(deltas)
    assert isinstance(reply.text, str)
    assert isinstance(reply.reasoning, str)


def frameworks(rng: random.Random) -> None:
    """What passes the decoder can be given to both frameworks."""
    make, wire = answer(rng)
    deltas, _ = read(make(), [wire])

    reply = fold(deltas)
    to_langchain.to_result(reply)
    message = to_langchain.MessageChunks()
    chunks = [chunk for delta in deltas for chunk in message.add(delta)]
    functools.reduce(operator.add, [*chunks, *message.finish(usage=True)])
    in_llama_index(deltas, reply, of_text=make is CompletionStream)


def in_llama_index(deltas: list[Delta], reply: Any, *, of_text: bool) -> None:
    if of_text:
        to_llama_index.to_completion_response(reply)
        parts: Any = to_llama_index.CompletionChunks()
    else:
        to_llama_index.to_chat_response(reply)
        parts = to_llama_index.ChatChunks()
    for delta in deltas:
        parts.add(delta)
    parts.last()


# --------------------------------------------------------------------------- server-sent events


LINE_OF_JSON = re.compile(rb"(?:^|[\r\n]|\xef\xbb\xbf)\{")


def events_of(stream: bytes) -> list[bytes]:
    """Read a whole event stream as the standard says, without a thought for speed."""
    events, data = [], []
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    for line in lines[:-1]:  # what follows the last line end is no line
        name, _, value = line.partition(b":")
        if not line and data:
            events.append(b"\n".join(data))
            data = []
        elif line and name == b"data":
            data.append(value.removeprefix(b" "))
    return events


def sse(rng: random.Random) -> None:
    """The decoder is that of the standard, for any pieces; its limit does not depend on them."""
    _, wire = answer(rng)
    wire = wrong_bytes(rng, wire)
    parts = list(pieces(rng, wire))

    decoder = SSEDecoder()
    # The standard knows no lines of JSON alone, which may be errors.
    expected = SSEDecoder().feed(wire) if LINE_OF_JSON.search(wire) else events_of(wire)
    assert expected == [event for part in parts for event in decoder.feed(part)]

    limit = rng.choice((1, 10, 50, 200))
    if not wire.startswith(b"\xef\xbb\xbf"):  # it is part of the first line while this is cut
        assert is_refused([wire], limit) == is_refused(parts, limit)


def is_refused(parts: Iterable[bytes], limit: int) -> bool:
    decoder = SSEDecoder(limit)
    refusal = caught(MlxcelStreamError, lambda: [decoder.feed(part) for part in parts])
    assert refusal is None or f"more than {limit} bytes" in str(refusal)
    return refusal is not None


# --------------------------------------------------------------------------- JSON in pieces

DOCUMENT = {
    "id": 12,
    "text": 'a "quoted" \\ text \u2028 with 🎉 and \n',
    "numbers": [0, -1.5e3, 12345678901234567890, True, False, None],
    "inner": {"": {}, "list": [[], [{}], [[1, 2], "x"]]},
}


def finite(text: str) -> float:
    """Return a number, which is not NaN or infinite: JSON has neither."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def incremental(rng: random.Random) -> None:
    """It reads what `json.loads` reads, refuses what that refuses, and gives the same value."""
    text = wrong_json(rng, json.loads(json.dumps(DOCUMENT)))
    if rng.random() < 0.5:
        encoded = wrong_bytes(rng, text.encode(errors="surrogatepass"))
        text = encoded.decode(errors=rng.choice(("replace", "surrogateescape")))
    text += " "  # a number may go on
    expected = "none"
    try:
        # Control characters are let pass here: the whole answer is checked when it has come.
        whole = json.loads(text, strict=False, parse_float=finite, parse_constant=finite)
        expected = shown(whole)
    except RecursionError:
        expected = "deep"
    except ValueError:
        pass

    parser = IncrementalJSON()

    def parse() -> None:
        for part in pieces(rng, text):
            if parser.feed(part) and len(text) < 2000:
                _ = parser.value

    refusal = caught(ValueError, parse)
    if refusal is not None:
        assert expected in ("none", "deep") or "deeper" in str(refusal)
        assert re.match("not JSON at character [0-9]+: |nested deeper than", str(refusal))
    elif expected != "deep":
        assert (expected != "none") == parser.done
        assert expected in ("none", shown(parser.value))


# --------------------------------------------------------------------------- structured answers


class Item(pydantic.BaseModel):
    name: str
    count: int = 1
    tags: list[str] = []
    children: list[Item] = []


@dataclasses.dataclass
class Point:
    x: float
    y: float | None = None
    label: str | int = ""


class Row(TypedDict):
    key: str
    cells: dict[str, list[int]]


ITEM = {"name": "a", "count": 2, "tags": ["x", "y"], "children": [{"name": "b"}]}
KINDS: list[tuple[Any, Any]] = [
    (to_schema(Item), ITEM),
    (to_schema(list[Item]), {"value": [ITEM, {"name": "c"}]}),
    (to_schema(Point), {"x": 1.5, "y": None, "label": "p"}),
    (to_schema(Row), {"key": "k", "cells": {"a": [1, 2]}}),
    (to_schema(Item | Point), {"value": {"x": 1}}),
    (to_schema(Item.model_json_schema()), ITEM),
]


def ending(stream: AnswerStream, text: str) -> str:
    ends: list[object] = []
    refusal = caught(StructuredOutputError, lambda: ends.extend(stream.close()))
    assert refusal is None or text == refusal.raw
    return str(refusal or shown(ends))


def structured(rng: random.Random) -> None:
    """An answer fits its schema or is refused as one that does not, whatever its pieces."""
    schema, document = rng.choice(KINDS)
    text = wrong_json(rng, json.loads(json.dumps(document)))
    if rng.random() < 0.3:
        text = wrong_bytes(rng, text.encode(errors="surrogatepass")).decode(errors="replace")
    finish = rng.choice(("stop", "length"))

    ends = set()
    for parts in ([text], pieces(rng, text)):
        stream = AnswerStream(schema, partial=rng.random() < 0.5)
        for part in parts:
            list(stream.feed(Delta(part)))
        list(stream.feed(Delta(finish_reason=finish)))
        ends.add(ending(stream, text))

    assert 1 == len(ends)


# --------------------------------------------------------------------------- schemas

RICH = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:a",
    "type": "object",
    "properties": {
        "a": {"type": "string", "pattern": "^(a+)+$", "minLength": 1, "format": "date"},
        "b": {"type": "array", "items": {"$ref": "#/$defs/n"}, "uniqueItems": True, "minItems": 1},
        "c": {"anyOf": [{"type": "number", "multipleOf": 0.1}, {"enum": [1, [2], None]}]},
        "d": {"if": {"const": 1}, "then": {"maximum": 2}, "else": {"not": {"type": "null"}}},
    },
    "patternProperties": {"^x": {"type": "integer"}},
    "dependentSchemas": {"a": {"required": ["b"]}},
    "required": ["a"],
    "unevaluatedProperties": False,
    "$defs": {"n": {"oneOf": [{"type": "integer"}, {"contains": {"$ref": "#/$defs/n"}}]}},
}
BY_RICH = {"a": "aa", "b": [1, [2], [[3]]], "c": 0.3, "d": 1, "x1": 1}
DIALECTS = [
    "http://json-schema.org/draft-03/schema#",
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "http://[",
]


def json_schemas(rng: random.Random) -> None:
    """A schema is taken or refused as one, and an answer fits it or is refused as one."""
    try:
        given = json.loads(wrong_json(rng, json.loads(json.dumps(RICH)), rng.randrange(4)))
    except (ValueError, RecursionError):
        return
    if not isinstance(given, dict):
        return
    if rng.random() < 0.5:
        given["$schema"] = rng.choice(DIALECTS)
    made: list[Any] = []
    if caught(MlxcelError, lambda: made.append(to_schema(given))) is None:
        answer = wrong_json(rng, json.loads(json.dumps(BY_RICH)), rng.randrange(3))
        caught(StructuredOutputError, lambda: made[0].validate(answer))


# --------------------------------------------------------------------------- other answers

MODELS = {
    "data": [
        {"id": "m", "capabilities": ["completion"], "meta": {"n_ctx": 512, "n_ctx_train": 2048}},
        {"id": "v", "capabilities": ["embedding", "rerank"]},
    ]
}
HEALTH = {"batch": {"max_batch_size": 3}, "context_size": 4096, "tool_call_parser": "hermes"}
PROPS = {
    "default_generation_settings": {"n_ctx": 1024},
    "total_slots": 4,
    "modalities": {"vision": True},
    "chat_template_caps": {"supports_tools": True},
    "build_info": "mlxcel-0.5.0",
    "eos_token": "<eos>",
    "model_path": "/m",
}
ERROR = {"error": {"message": "boom", "type": "exceed_context_size_error", "code": 400}}
ERROR["error"] |= {"n_prompt_tokens": 5000, "n_ctx": 4096}
CONVERSATION = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}] * 2


BODY = {"model": "m", "messages": CONVERSATION}


def wrong(rng: random.Random, value: Any) -> Any:
    """Return what a client gets to see of an answer in JSON; None if it cannot be read."""
    try:
        return json.loads(wrong_json(rng, json.loads(json.dumps(value))))
    except (ValueError, RecursionError):
        return None


def features(rng: random.Random) -> None:
    """What a server says about itself is told in known types, or not known."""
    try:
        known = read_features(wrong(rng, HEALTH), wrong(rng, PROPS), wrong(rng, MODELS))
        choose_model(known.models, "there")
    except MlxcelError:
        return
    choose_capable(known.models, "embedding", "v")
    body = {"messages": CONVERSATION, "max_tokens": None}
    room_to_check(known, True, body)
    assert isinstance(known.slots, int | None)
    assert all(isinstance(model.id, str) for model in known.models)
    if known.context_size is not None:
        room_for_prompt(known, None, body)


def failures(rng: random.Random) -> None:
    """A refusal is told in a short message, whatever its body is."""
    text = wrong_json(rng, json.loads(json.dumps(ERROR))).encode(errors="surrogatepass")
    body = wrong_bytes(rng, text) if rng.random() < 0.5 else text
    after = rng.choice(("0", "1.5", "-1", "nan", "inf", "1e999", "Wed, 21 Oct", "", "٣"))
    headers = {} if rng.random() < 0.5 else {"retry-after": after}
    status = rng.choice((204, 302, 400, 401, 404, 422, 429, 500, 503, 599, 999))

    failure = from_status(status, headers, body, "http://there")

    assert len(failure.message) < 4000
    delay = Retries(2).delay(failure)
    assert delay is None or 0 <= delay <= Retries.MAX_RETRY_AFTER
    not_a_stream("text/html", body, "http://there")


TOKENS = {"tokens": [1, 2, 3]}
VECTORS = {"data": [{"index": 1, "embedding": [0.5, 1]}, {"index": 0, "embedding": [1, 2]}]}
BASE64 = {
    "data": [{"index": 0, "embedding": "AACAPwAAAEA="}, {"index": 1, "embedding": "AACAPwAAAEA="}]
}
SCORES = {"results": [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.25}]}
BY_PATH: dict[str, list[Any]] = {
    "/props": [PROPS],
    "/tokenize": [TOKENS, {"tokens": [7]}],
    "/v1/models": [MODELS],
    "/v1/embeddings": [VECTORS, BASE64],
    "/v1/rerank": [SCORES],
    "/v1/chat/completions/input_tokens": [{"input_tokens": 5}],
    "/v1/messages/count_tokens": [{"input_tokens": 5}],
    "/apply-template": [{"prompt": "hi"}],
}


FLOWS: list[Callable[[], Flow[Any]]] = [
    lambda: count_texts(["a", "<eos> b", "a" * 2000], TokenMemory(TokenCache())),
    lambda: count_chat(BODY, TokenMemory(TokenCache())),
    lambda: fit_chat(BODY, BODY["messages"], 4, TokenMemory(TokenCache())),
    lambda: embed_texts(
        ["a", "b"],
        VectorMemory(),
        lambda count: None,
        model=None,
        prefix="",
        instruction=None,
        dimensions=None,
        batch_size=2,
        skip_empty=False,
    ),
    lambda: embed_texts(
        ["a", "", "b"],
        VectorMemory(),
        lambda count: None,
        model="m",
        prefix="",
        instruction="x",
        dimensions=2,
        batch_size=1,
        skip_empty=True,
    ),
    lambda: rerank_documents(
        "q", ["a", "b"], VectorMemory(), model=None, instruction=None, top_n=1, batch_size=2
    ),
]


def flows(rng: random.Random) -> None:
    """What takes several requests ends with a value of known types, or with an error of ours."""
    try:
        result = run(rng, rng.choice(FLOWS)())
    except MlxcelError:
        return
    check(result)


def run(rng: random.Random, flow: Flow[Any]) -> Any:
    reply: Any = None
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as end:
            return end.value
        if isinstance(step, Gather):
            assert step.at_once >= 1
            reply = [run(rng, part) for part in step.flows]
        elif step.expected and rng.random() < 0.3:
            status = rng.choice(sorted(step.expected))
            reply = Failure("APIStatusError", "refused", status)
        else:
            reply = wrong(rng, rng.choice(BY_PATH[step.path]))


def check(result: Any) -> None:
    """Check the numbers in a result."""
    if isinstance(result, list | tuple):
        for part in result:
            check(part)
    elif dataclasses.is_dataclass(result):
        assert math.isfinite(result.relevance_score)
    else:
        assert type(result) is int or math.isfinite(result)


def texts(rng: random.Random) -> None:
    """The text of tokens is a text, or told to be none."""
    try:
        text = read_text(wrong(rng, {"content": "Grüß"}))
    except MlxcelError:
        return
    assert isinstance(text, str)


TARGETS: dict[str, tuple[Callable[[random.Random], None], int]] = {
    "streams": (streams, 8),
    "frameworks": (frameworks, 1),
    "sse": (sse, 6),
    "incremental": (incremental, 5),
    "structured": (structured, 2),
    "schemas": (json_schemas, 2),
    "features": (features, 2),
    "failures": (failures, 2),
    "flows": (flows, 3),
    "texts": (texts, 1),
}
"""What is tried, and how often."""
