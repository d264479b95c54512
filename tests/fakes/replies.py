"""What the fake server says: scripted replies and default answers, as bytes.

Everything here is pure; `server.py` owns the sockets. "v0.4.2" and "newest" are the two
server generations, which differ in what they refuse and in some bodies.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import unquote

Json = dict[str, Any]
Generation = Literal["v0.4.2", "newest"]
Kind = Literal["chat", "completion", "native"]

BOS = "<bos>"
SSE = "text/event-stream"


def dumps(value: object) -> bytes:
    """Encode as the server does: compact, with non-ASCII text as UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


DONE = event(b"[DONE]")


# --------------------------------------------------------------------------- scripted replies


class Delivery(TypedDict, total=False):
    """How a reply is sent; every `Reply` constructor takes these.

    cut_after: Close the socket after this many body bytes.
    chunked: False sends a body that ends with the connection.
    hold_open: After the last byte stay silent, without ending the body.
    delay: Seconds between tokens or events.
    first_delay: Seconds before the first token (in a chat stream, after the role chunk).
    headers: Extra response headers.
    """

    cut_after: int
    chunked: bool
    hold_open: bool
    delay: float
    first_delay: float
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """One generated answer, before it is known whether the request wants a stream."""

    text: str = ""
    reasoning: str | None = None
    tool_calls: Sequence[Json] = ()
    finish: str = "stop"
    usage: Json | None = None
    logprobs: Sequence[Json] | None = None
    pieces: Sequence[str] | None = None
    failure: str = "Generation failed"

    @property
    def tokens(self) -> Sequence[str]:
        """The tokens of the text."""
        return pieces(self.text) if self.pieces is None else self.pieces


@dataclass(frozen=True)
class Turn:
    """The request an `Answer` is rendered for."""

    generation: Generation
    model: str
    body: Json
    prompt_tokens: int = 0
    kind: Kind = "chat"
    limit: int = 4096


@dataclass(frozen=True)
class Reply:
    """One scripted reply; make it with a class method."""

    frames: tuple[bytes, ...] = ()
    status: int = 200
    content_type: str = "application/json"
    answer: Answer | None = None
    turn: Turn | None = None
    action: Literal["reply", "raw", "hang", "close"] = "reply"
    split: bool = False
    early: int = 0
    cut_after: int | None = None
    chunked: bool | None = None
    hold_open: bool = False
    delay: float = 0.0
    first_delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def text(
        cls,
        text: str = "",
        *,
        reasoning: str | None = None,
        tool_calls: Sequence[Json] | None = None,
        finish: str = "stop",
        usage: Json | None = None,
        logprobs: Sequence[Json] | None = None,
        **how: Unpack[Delivery],
    ) -> Reply:
        """Answer with a text, streamed or folded as the request asks.

        Args:
            text: The visible answer.
            reasoning: The thinking before it.
            tool_calls: `{"name", "arguments", "id"?}` each; a string of arguments stays as it is.
            finish: The finish reason; "error" is a failed generation, which is a status when
                the request does not stream.
            usage: Sent instead of the counted usage.
            logprobs: One entry a token, sent instead of made-up ones, when the request asks.
            how: See `Delivery`.
        """
        calls = [tool_call(call) for call in tool_calls or ()]
        if calls and finish == "stop":
            finish = "tool_calls"
        return cls(answer=Answer(text, reasoning, calls, finish, usage, logprobs), **how)

    @classmethod
    def events(
        cls,
        events: Sequence[Json | bytes | str],
        *,
        done: bool = True,
        chunk_size: int | None = None,
        **how: Unpack[Delivery],
    ) -> Reply:
        """Stream events: a dict is a JSON event, a str the data of one, bytes are literal.

        Args:
            events: The events in order.
            done: End with `[DONE]`.
            chunk_size: Cut the whole stream in sends of this many bytes.
            how: See `Delivery`.
        """
        frames = [as_event(item) for item in events] + [DONE] * done
        if chunk_size is not None:
            whole = b"".join(frames)
            frames = [whole[at : at + chunk_size] for at in range(0, len(whole), chunk_size)]
        return cls(tuple(frames), content_type=SSE, split=chunk_size is not None, **how)

    @classmethod
    def json(cls, value: object, status: int = 200, **how: Unpack[Delivery]) -> Reply:
        return cls((dumps(value),), status, **how)

    @classmethod
    def error(
        cls,
        status: int,
        message: str,
        type: str = "invalid_request_error",  # noqa: A002 - the name in the envelope
        code: str | int | None = None,
        **how: Unpack[Delivery],
    ) -> Reply:
        """Answer with the common error envelope."""
        body = {"error": {"message": message, "type": type, "code": code}}
        return cls.json(body, status, **how)

    @classmethod
    def plain(
        cls,
        status: int,
        text: str = "",
        content_type: str = "text/plain; charset=utf-8",
        **how: Unpack[Delivery],
    ) -> Reply:
        return cls((text.encode(),), status, content_type if text else "", **how)

    @classmethod
    def raw(cls, data: bytes, **how: Unpack[Delivery]) -> Reply:
        """Put these bytes on the socket, then close it."""
        return cls((data,), action="raw", **how)

    @classmethod
    def hang(cls) -> Reply:
        """Never answer."""
        return cls(action="hang")

    @classmethod
    def close(cls) -> Reply:
        """Close the connection without an answer."""
        return cls(action="close")

    def render(self, turn: Turn) -> Reply:
        """Turn an answer into the bytes for this request; other replies stay as they are."""
        if self.answer is None:
            return dataclasses.replace(self, turn=turn)
        answer = constrained(self.answer, turn)
        if turn.body.get("stream"):
            chunks = STREAMS[turn.kind](answer, turn)
            ends_plainly = turn.generation == "v0.4.2" and turn.kind == "native"
            done = () if ends_plainly else (DONE,)
            frames = (*(event(dumps(chunk)) for chunk in chunks), *done)
            early = 1 if turn.kind == "chat" else 0
            return dataclasses.replace(
                self, answer=answer, turn=turn, frames=frames, content_type=SSE, early=early
            )
        if answer.finish == "error":
            status = 400 if turn.generation == "v0.4.2" else 500
            return Reply.error(status, answer.failure, "server_error")
        return dataclasses.replace(
            self,
            answer=answer,
            turn=turn,
            frames=(dumps(FOLDED[turn.kind](answer, turn)),),
            first_delay=self.first_delay + self.delay * completion_tokens(answer),
        )

    def without_slot(self, failure: str, tokens: int) -> Reply:
        """The rendered reply as it is where no slot is left for it after so many tokens."""
        assert self.turn is not None
        failed = Reply(answer=Answer(finish="error", failure=failure)).render(self.turn)
        if self.content_type != SSE:
            return failed
        begun = self.frames[self.early : self.early + tokens]
        frames = (*failed.frames[: self.early], *begun, *failed.frames[self.early :])
        return dataclasses.replace(self, frames=frames)


def as_event(item: Json | bytes | str) -> bytes:
    if isinstance(item, bytes):
        return item
    return event(item.encode() if isinstance(item, str) else dumps(item))


def tool_call(call: Json) -> Json:
    arguments = call.get("arguments", {})
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call.get("id", f"call_{uuid.uuid4().hex[:24]}"),
        "type": "function",
        "function": {"name": call["name"], "arguments": arguments},
    }


# --------------------------------------------------------------------------- tokens and prompts


def pieces(text: str) -> list[str]:
    """Split into tokens: a word with the white space before it. Joined, they are the text."""
    return re.findall(r"\s*\S+|\s+", text)


CONTROL = ["<pad>", "<eos>", BOS]


class Vocabulary:
    """Token ids, given out as words are first seen; reversible for any text."""

    def __init__(self) -> None:
        self._pieces = list(CONTROL)
        self._ids: dict[str, int] = {}

    def encode(
        self, text: str, *, add_special: bool = False, parse_special: bool = True
    ) -> list[int]:
        """Return the ids of a text, in which the names of control tokens may stand for these."""
        parts = re.split(f"({'|'.join(CONTROL)})", text) if parse_special else [text]
        tokens = [CONTROL.index(BOS)] * add_special
        for part in parts:
            named = parse_special and part in CONTROL
            tokens += [CONTROL.index(part)] if named else map(self._id, pieces(part))
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Raises IndexError for an id that was never given out."""
        return "".join(self._pieces[token] for token in tokens)

    def _id(self, piece: str) -> int:
        if piece not in self._ids:
            self._pieces.append(piece)
            self._ids[piece] = len(self._pieces) - 1
        return self._ids[piece]


MEDIA = {"image_url": "url", "video_url": "url", "input_audio": "data"}
"""The parts of a message that are no text, and where in them the medium is."""


def content_text(content: object) -> str:
    """The text of a message's content, with a placeholder for each medium."""
    if not isinstance(content, list):
        return str(content or "")
    return "".join(part.get("text") or f"<{part['type']}>" for part in content)


def prompt_pieces(text: str) -> list[str]:
    """The tokens of a prompt, which begin with `BOS` however it is written."""
    return [BOS, *pieces(text.removeprefix(BOS))]


def chat_prompt(body: Json, generation: Generation) -> str:
    """Render a chat as the fake model's template does."""
    turns = [BOS]
    if body.get("tools"):
        turns.append("<|tools|> " + json.dumps(body["tools"]))
    for message in body["messages"]:
        calls = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
        turns.append(f"<|{message['role']}|> {content_text(message.get('content'))}{calls}")
    # The newest server continues a trailing assistant message instead of answering it.
    if generation == "v0.4.2" or body["messages"][-1]["role"] != "assistant":
        turns.append("<|assistant|>")
    return " ".join(turns)


# --------------------------------------------------------------------------- default answers


def default_answer(turn: Turn) -> Answer:
    """Echo the last user message or the prompt, within `stop`, the limit and any schema."""
    body, limit = turn.body, turn.limit
    choice = forced_tool(body) if turn.generation == "newest" else None
    if choice is not None:
        arguments = instance(choice.get("parameters") or {}, choice.get("parameters") or {})
        call = tool_call({"name": choice["name"], "arguments": arguments})
        return Answer(tool_calls=[call], finish="tool_calls")
    schema = requested_schema(body)
    if schema is not None:
        return structured(schema, limit, turn.generation)
    elif turn.kind == "chat":
        users = [message for message in body["messages"] if message["role"] == "user"]
        last = (users or body["messages"])[-1]
        text = f"echo: {content_text(last.get('content'))}"
    else:
        text = f"echo: {body['prompt']}"
    # The older server takes `stop`, and does not look at it.
    stop = stops(body) if turn.generation == "newest" else []
    answer = within_limits(text, stop, limit, turn.generation)
    return dataclasses.replace(answer, text=repeated(turn) + answer.text)


EMPTY_MASK = (
    "Generation error: structured output: constrained-decoding error: structured-output matcher "
    "returned an empty mask: no token can extend the partial output without violating the schema. "
    "The model is stuck — this is usually a sign that the schema is too restrictive for the "
    "supplied prompt."
)


def structured(schema: Any, limit: int, generation: Generation) -> Answer:
    """The smallest answer that the schema accepts; what comes after it is `constrained`'s."""
    compact = (",", ":") if generation == "v0.4.2" else None
    text = json.dumps(instance(schema, schema), ensure_ascii=False, separators=compact)
    if generation == "newest":
        return within_limits(text, (), limit, generation)
    tokens = re.findall(r'\s+|[^\s"{}\[\]:,]+|.', text)
    finish = "length" if len(tokens) >= limit else "stop"
    return Answer("".join(tokens[:limit]), finish=finish, pieces=tokens[:limit])


def constrained(answer: Answer, turn: Turn) -> Answer:
    """The answer as the older server ends it when the request has a schema.

    Its grammar knows no end. After JSON that is whole it fails, or goes on with what the grammar
    still allows: more digits of a number, white space after an object that is not closed.
    """
    schema = requested_schema(turn.body)
    tokens = answer.tokens
    if turn.generation == "newest" or schema is None or answer.finish != "stop":
        return answer
    try:
        value = json.loads(answer.text)
    except ValueError:
        return answer
    more = "1" if is_number(value) and goes_on(schema, schema) else " " * goes_on(schema, schema)
    if not more:
        return dataclasses.replace(answer, finish="error", failure=EMPTY_MASK)
    limit = turn.limit - len(tokens)
    return dataclasses.replace(
        answer,
        text=answer.text + more * limit,
        pieces=[*tokens, *[more] * limit],
        finish="length",
    )


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def goes_on(schema: Any, root: Any) -> bool:
    """Whether the grammar of a schema allows more after a whole value."""
    if not isinstance(schema, dict):
        return True
    if "$ref" in schema:
        return goes_on(referenced(schema["$ref"], root), root)
    if "const" in schema or "enum" in schema:
        return False
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return any(goes_on(part, root) for part in schema[union])
    kinds = schema.get("type", "object" if "properties" in schema else "number")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    opened = "object" in kinds and schema.get("additionalProperties") is not False
    return opened or "integer" in kinds or "number" in kinds


def referenced(reference: str, root: Any) -> Any:
    """What a `$ref` inside of the schema means."""
    target = root
    for key in unquote(reference).split("/")[1:]:
        target = target[key.replace("~1", "/").replace("~0", "~")]
    return target


def repeated(turn: Turn) -> str:
    """The beginning of the answer that the request gave, if it wants to see it again."""
    if turn.generation == "v0.4.2" or not turn.body.get("echo") or turn.kind != "chat":
        return ""
    last = turn.body["messages"][-1]
    return content_text(last.get("content")) if last["role"] == "assistant" else ""


def within_limits(text: str, stop: Sequence[str], limit: int, generation: Generation) -> Answer:
    words = pieces(text)
    shown = "".join(words[:limit])
    found = [shown.index(word) for word in stop if word and word in shown]
    if found:
        return Answer(shown[: min(found)])
    # The older server calls an answer of exactly `limit` tokens cut as well.
    cut = len(words) > limit or (generation == "v0.4.2" and len(words) == limit)
    return Answer(shown, finish="length" if cut else "stop")


def stops(body: Json) -> list[str]:
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else stop


def forced_tool(body: Json) -> Json | None:
    """The function that `tool_choice` forces a call of."""
    functions: list[Json] = [tool["function"] for tool in body.get("tools") or []]
    choice = body.get("tool_choice")
    if choice == "required":
        return functions[0]
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        return next(function for function in functions if function["name"] == name)
    return None


def requested_schema(body: Json) -> Json | None:
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    schema: Json = wanted["json_schema"]["schema"]
    return schema


FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "x@example.org",
    "uri": "http://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any, root: Json, depth: int = 0) -> Any:
    """Build a small value that a JSON schema accepts; deep down, the smallest one."""
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        return instance(referenced(schema["$ref"], root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            last = depth > 4 and schema[union][-1].get("type") == "null"
            return instance(schema[union][-1 if last else 0], root, depth + 1)
    return of_type(schema, root, depth)


def of_type(schema: Json, root: Json, depth: int) -> Any:
    wanted = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(wanted, list):
        wanted = wanted[0]
    if wanted == "object":
        names = schema.get("properties", {})
        if depth > 4:
            names = {name: names[name] for name in schema.get("required", ())}
        return {name: instance(part, root, depth + 1) for name, part in names.items()}
    if wanted == "array":
        if "prefixItems" in schema:
            return [instance(part, root, depth + 1) for part in schema["prefixItems"]]
        count = schema.get("minItems", 0 if depth > 4 or schema.get("maxItems") == 0 else 1)
        return [instance(schema.get("items", {}), root, depth + 1)] * count
    if wanted == "string":
        length = min(max(1, schema.get("minLength", 1)), schema.get("maxLength", math.inf))
        return FORMATS.get(schema.get("format", ""), "x" * int(length))
    if wanted in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        return min(least, schema.get("maximum", math.inf))
    return {"boolean": True, "null": None}.get(wanted or "", {})


# --------------------------------------------------------------------------- answers on the wire


def completion_tokens(answer: Answer) -> int:
    texts = [answer.reasoning or ""]
    texts += [call["function"]["arguments"] for call in answer.tool_calls]
    return len(answer.tokens) + sum(len(pieces(text)) for text in texts)


def usage(answer: Answer, turn: Turn) -> Json:
    if answer.usage is not None:
        return answer.usage
    made = completion_tokens(answer)
    counts: Json = {
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": made,
        "total_tokens": turn.prompt_tokens + made,
    }
    if turn.kind == "chat" or turn.generation == "newest":
        counts["prompt_tokens_details"] = {"cached_tokens": 0}
    return counts


def chat_logprobs(answer: Answer, turn: Turn) -> list[Json] | None:
    """One entry for each token of the answer, when the request asks for them."""
    if not turn.body.get("logprobs"):
        return None
    if answer.logprobs is not None:
        return list(answer.logprobs)

    def entry(token: str, logprob: float) -> Json:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    top = turn.body.get("top_logprobs") or 0
    return [
        {
            **entry(token, -0.25),
            "top_logprobs": [
                entry(token if rank == 0 else f"{token}{rank}", -0.25 - rank) for rank in range(top)
            ],
        }
        for token in answer.tokens
    ]


def text_logprobs(turn: Turn, tokens: Sequence[str], offset: int = 0) -> Json | None:
    """The legacy shape of `/v1/completions`, whose offsets count bytes."""
    top = turn.body.get("logprobs")
    if top is None:
        return None
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.encode())
    return {
        "tokens": list(tokens),
        "token_logprobs": [-0.25] * len(tokens),
        "text_offset": offsets,
        "top_logprobs": [others(token, top) for token in tokens],
    }


def others(token: str, top: int) -> Json | None:
    """What the older shape has for each token: the likeliest ones, itself first."""
    return {f"{token}{rank or ''}": -0.25 - rank for rank in range(top)} or None


def head(prefix: str, kind: str, turn: Turn) -> Json:
    return {
        "id": f"{prefix}-{uuid.uuid4()}",
        "object": kind,
        "created": int(time.time()),
        "model": turn.model,
        "system_fingerprint": None,
    }


def only_reasoning(answer: Answer, turn: Turn) -> Json:
    silent = answer.reasoning and not answer.text and not answer.tool_calls
    return {"reasoning_only": True} if silent and turn.generation == "newest" else {}


def wants_usage(answer: Answer, turn: Turn) -> bool:
    asked = (turn.body.get("stream_options") or {}).get("include_usage")
    return bool(asked) and answer.finish != "error"


def chat_stream(answer: Answer, turn: Turn) -> Iterator[Json]:
    top = head("chatcmpl", "chat.completion.chunk", turn)

    def chunk(delta: Json, finish: str | None = None, logprobs: Json | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return {**top, "choices": [choice]}

    yield chunk({"role": "assistant"})
    for piece in pieces(answer.reasoning or ""):
        yield chunk({"reasoning_content": piece})
    entries = chat_logprobs(answer, turn)
    for index, piece in enumerate(answer.tokens):
        one = {"content": entries[index : index + 1]} if entries is not None else None
        yield chunk({"content": piece}, logprobs=one)
    for index, call in enumerate(answer.tool_calls):
        function = call["function"]
        named = {**call, "index": index, "function": {"name": function["name"]}}
        yield chunk({"tool_calls": [named]})
        arguments = {"index": index, "function": {"arguments": function["arguments"]}}
        yield chunk({"tool_calls": [arguments]})
    last = chunk({}, answer.finish)
    last["choices"][0].update(only_reasoning(answer, turn))
    yield last
    if wants_usage(answer, turn):
        yield {**top, "choices": [], "usage": usage(answer, turn)}


def chat_folded(answer: Answer, turn: Turn) -> Json:
    entries = chat_logprobs(answer, turn)
    message: Json = {"role": "assistant", "content": answer.text}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = list(answer.tool_calls)
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": answer.finish,
        "logprobs": {"content": entries} if entries is not None else None,
        **only_reasoning(answer, turn),
    }
    top = head("chatcmpl", "chat.completion", turn)
    return {**top, "choices": [choice], "usage": usage(answer, turn)}


def raw_tokens(answer: Answer) -> list[str]:
    """Completions do not parse reasoning: its markers stay in the text."""
    thoughts = f"<think>{answer.reasoning}</think>" * bool(answer.reasoning)
    return [*pieces(thoughts), *answer.tokens]


def text_choice(text: str, finish: str | None, logprobs: Json | None = None) -> Json:
    return {"index": 0, "text": text, "finish_reason": finish, "logprobs": logprobs}


def completion_stream(answer: Answer, turn: Turn) -> Iterator[Json]:
    top = head("cmpl", "text_completion", turn)
    offset = 0
    for piece in raw_tokens(answer):
        yield {**top, "choices": [text_choice(piece, None, text_logprobs(turn, [piece], offset))]}
        offset += len(piece.encode())
    yield {**top, "choices": [text_choice("", answer.finish)]}
    if wants_usage(answer, turn):
        yield {**top, "choices": [], "usage": usage(answer, turn)}


def completion_folded(answer: Answer, turn: Turn) -> Json:
    tokens = raw_tokens(answer)
    choice = text_choice("".join(tokens), answer.finish, text_logprobs(turn, tokens))
    top = head("cmpl", "text_completion", turn)
    return {**top, "choices": [choice], "usage": usage(answer, turn)}


def native_stream(answer: Answer, turn: Turn) -> Iterator[Json]:
    for piece in raw_tokens(answer):
        yield {"content": piece, "stop": False}
    # An internal error looks like an ordinary stop here.
    yield {
        "content": "",
        "stop": True,
        "stop_type": "limit" if answer.finish == "length" else "stop",
    }


def native_folded(answer: Answer, turn: Turn) -> Json:
    return {
        "content": "".join(raw_tokens(answer)),
        "stop": answer.finish == "stop",
        "generation_settings": {},
        "model": turn.model,
        "tokens_predicted": completion_tokens(answer),
        "tokens_evaluated": turn.prompt_tokens,
        "timings": {
            "prompt_n": turn.prompt_tokens,
            "prompt_ms": 1.0,
            "predicted_n": completion_tokens(answer),
            "predicted_ms": 1.0,
        },
    }


STREAMS: dict[Kind, Callable[[Answer, Turn], Iterator[Json]]] = {
    "chat": chat_stream,
    "completion": completion_stream,
    "native": native_stream,
}
FOLDED: dict[Kind, Callable[[Answer, Turn], Json]] = {
    "chat": chat_folded,
    "completion": completion_folded,
    "native": native_folded,
}
