"""Answers on the wire: whole, or as the events of a stream."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

from tests.fakes import markup
from tests.fakes.answers import Answer, Json, Kind, Turn
from tests.fakes.markup import Delta
from tests.fakes.text import pieces

SSE = "text/event-stream"


def dumps(value: object) -> bytes:
    """Encode as the server does: compact, with non-ASCII text as UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


DONE = event(b"[DONE]")


LLAMA_CPP: Json = {
    "default_generation_settings": {"n_ctx": 4096},
    "total_slots": 2,
    "build_info": "b0-unknown",
    "is_sleeping": False,
}
"""The part of its ``/props`` by which a llama.cpp is known that reports progress."""


def progress(processed: int, total: int = 2000, cache: int = 0) -> Json:
    """Return an event of llama.cpp while it reads a prompt."""
    told = {"total": total, "cache": cache, "processed": processed, "time_ms": 10 * processed}
    first = {"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}
    return {"choices": [first], "prompt_progress": told}


def completion_tokens(answer: Answer) -> int:
    if answer.raw is not None:
        return len(answer.raw)
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
    if turn.cache and (turn.kind == "chat" or turn.generation == "newest"):
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
        for token in (answer.tokens if answer.raw is None else answer.raw)
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


def deltas(answer: Answer, turn: Turn) -> tuple[list[Delta], Answer]:
    """The texts of a streamed message, and the answer that ends it."""
    if answer.raw is not None:
        return markup.streamed(answer.raw, answer, turn.body)
    thoughts = [Delta("reasoning_content", piece) for piece in pieces(answer.reasoning or "")]
    return [*thoughts, *(Delta("content", piece, piece) for piece in answer.tokens)], answer


def chat_stream(answer: Answer, turn: Turn) -> Iterator[Json]:
    top = head("chatcmpl", "chat.completion.chunk", turn)

    def chunk(delta: Json, finish: str | None = None, logprobs: Json | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return {**top, "choices": [choice]}

    yield chunk({"role": "assistant"})
    parts, answer = deltas(answer, turn)
    # The tokens of thoughts and of calls have none in a stream.
    entries = iter(chat_logprobs(answer, turn) or ())
    for part in parts:
        one = None
        if part.token is not None and turn.body.get("logprobs"):
            one = next(entry for entry in entries if entry["token"] == part.token)
        if part.text or one is not None:
            logprobs = {"content": [one]} if one is not None else None
            yield chunk({part.field: part.text}, logprobs=logprobs)
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
    if answer.raw is not None:
        answer = markup.whole(answer.raw, answer, turn.body)
    elif turn.generation == "v0.4.2":
        answer = dataclasses.replace(answer, text=answer.text.strip(), pieces=answer.tokens)
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
    if answer.raw is not None:
        return list(answer.raw)
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
            **timings("prompt", turn.prompt_tokens),
            **timings("predicted", completion_tokens(answer)),
        },
    }


def timings(name: str, count: int) -> Json:
    """How long so many tokens took, which is always one millisecond each."""
    total = float(count)
    return {
        f"{name}_n": count,
        f"{name}_ms": total,
        f"{name}_per_token_ms": 1.0,
        f"{name}_per_second": 1000.0,
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
