"""What a request is, and the answer that a model makes to it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.fakes.text import pieces

Json = dict[str, Any]
Generation = Literal["v0.4.2", "newest"]
Kind = Literal["chat", "completion", "native"]


@dataclass(frozen=True)
class Answer:
    """One generated answer, before it is known whether the request wants a stream.

    Attributes:
        text: What is visible of it.
        reasoning: The thinking before it.
        tool_calls: The calls in it.
        finish: Why it ended.
        usage: Sent instead of the counted usage.
        logprobs: One entry a token, sent instead of made-up ones.
        pieces: The tokens of the text, if they are not its words.
        raw: The tokens as the model wrote them, with the marks of thoughts and calls, which the
            server reads; text, reasoning and calls are left out then.
        failure: What a whole answer says if it ended in "error".
    """

    text: str = ""
    reasoning: str | None = None
    tool_calls: Sequence[Json] = ()
    finish: str = "stop"
    usage: Json | None = None
    logprobs: Sequence[Json] | None = None
    pieces: Sequence[str] | None = None
    raw: Sequence[str] | None = None
    failure: str = "Generation failed"

    @property
    def tokens(self) -> Sequence[str]:
        """The tokens of the text."""
        return pieces(self.text) if self.pieces is None else self.pieces


@dataclass(frozen=True)
class Turn:
    """The request an `Answer` is rendered for.

    Attributes:
        generation: Which server generation answers.
        model: The id of its model.
        body: The request.
        prompt_tokens: How many tokens the prompt has.
        kind: The shape of the answer.
        limit: How many tokens the answer may have.
        cache: Whether the server keeps prompts, and tells how much of one it had.
    """

    generation: Generation
    model: str
    body: Json
    prompt_tokens: int = 0
    kind: Kind = "chat"
    limit: int = 4096
    cache: bool = True


def tool_call(call: Json) -> Json:
    arguments = call.get("arguments", {})
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call.get("id", f"call_{uuid.uuid4().hex[:24]}"),
        "type": "function",
        "function": {"name": call["name"], "arguments": arguments},
    }
