"""Readers of streamed chat answers: text, tool calls of the server, and JSON by a schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...errors import MlxcelStreamError
from ..tools.tool_calls import CallNumbering
from ..validation import from_json
from .delta import Delta
from .json_end import JSONEnd
from .repetition import MAX_BLANK
from .stream import CONNECTION_ENDED, MAX_PIECES_AFTER_JSON, DeltaStream

__all__ = ["ChatStream", "SchemaStream", "ToolStream", "tokens_in_piece"]

MAX_CONTROL_TOKENS = 8
"""Most tokens of an answer that are not sent, such as ``<think>``; a call has more."""

CALL_MARKS = re.compile(r"[<\[{|]")
"""How markers of calls begin: servers hold back text that may be one, and send it in one piece."""


def tokens_in_piece(text: str) -> int:
    """Return the tokens in a piece of a stream: one, or one for each byte of its characters."""
    return 1 + len(text.encode(errors="surrogatepass")) - len(text)


class ChatStream(DeltaStream):
    """Read a streamed chat answer.

    White space before its text is left out, as servers do with whole answers: templates and
    thoughts leave some there. A refusal, which gateways pass on from other models, is a text whose
    finish reason is ``refusal``.
    """

    _begun = False
    _refused = False
    _numbering: CallNumbering | None = None
    _blank = 0

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        part = choice["delta"]
        text = part.get("content") or ""
        if not text and part.get("refusal"):
            text, self._refused, self._must_end = part["refusal"], True, False
        if not self._begun and text:
            length = len(text)
            text = text.lstrip()
            self._begun = bool(text)
            self._blank += length - len(text)
        delta = Delta(text)
        # Servers use one of two names for the thinking; some send it under both.
        reasoning = part.get("reasoning_content") or part.get("reasoning")
        if reasoning:
            delta.reasoning = reasoning
        if part.get("tool_calls"):
            self._numbering = self._numbering or CallNumbering()
            delta.tool_calls = self._numbering.number(part["tool_calls"])
        if choice.get("finish_reason"):
            delta.finish_reason = "refusal" if self._refused else choice["finish_reason"]
        if choice.get("logprobs"):
            delta.logprobs = choice["logprobs"]
        return delta


class ToolStream(ChatStream):
    """Read an answer that may contain tool calls.

    mlxcel up to v0.4.2 drops a call that is cut off or malformed, and ends as if the model had said
    nothing after its thoughts, or after the text before the call.

    Args:
        stops: See ``DeltaStream``.
        drops_calls: Whether it is such a server, each piece of whose text is a token.
    """

    _called = False
    _tokens = 0
    _thinking = 0
    _written = 0
    _reported: int | None = None

    def __init__(self, stops: Sequence[str] = (), *, drops_calls: bool = False) -> None:
        super().__init__(stops)
        self._drops_calls = drops_calls

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        delta = super()._read_choice(choice)
        if text := choice["delta"].get("content"):
            self._written += _most_tokens(text)
        return delta

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is not None:
            if delta.tool_calls:
                self._called = True
            if delta.reasoning:
                self._thinking += tokens_in_piece(delta.reasoning)
            if delta.usage:
                self._tokens = delta.usage.get("completion_tokens") or 0
                details = delta.usage.get("completion_tokens_details") or {}
                self._reported = details.get("reasoning_tokens")
        return delta

    def close(self, reason: str = CONNECTION_ENDED, log: str = "") -> None:
        """Take note that no more bytes come; see ``DeltaStream.close``.

        Raises:
            MlxcelStreamError: The answer is not complete, or the server dropped a call.
        """
        super().close(reason, log)
        if self.left or self._called or self._finish == "length" or not self._dropped_a_call():
            return
        did = "sent neither text nor a tool call" + " after the thoughts" * bool(self._thinking)
        if self._begun:
            did = "sent no more than the text before a tool call, which is in .partial"
        raise MlxcelStreamError(
            f"The model generated {self._tokens} tokens, but {self._server_name} {did}: it drops a "
            "call that is cut off or malformed. Ask again, or raise max_tokens.",
            partial=self.text,
        )

    def _dropped_a_call(self) -> bool:
        """Return whether more tokens were generated than an answer without calls has."""
        if self._finish == "tool_calls":
            return True
        if self._begun and not self._drops_calls:
            # Other servers may send several tokens in a piece.
            return False
        sent = (self._reported or self._thinking) + self._written
        if sent:
            return self._tokens - sent > MAX_CONTROL_TOKENS
        # A model that has nothing to say generates one token, which not all servers count.
        return self._tokens > (0 if self._drops_calls else 1)


def _most_tokens(text: str) -> int:
    """Return the most tokens that a piece may have, if the server sends each as it comes."""
    if CALL_MARKS.search(text):
        return len(text.encode(errors="surrogatepass"))
    return tokens_in_piece(text)


class SchemaStream(ChatStream):
    """Read an answer that follows a schema.

    A model whose prompt ends in an open ``<think>`` writes its JSON as thoughts, which become the
    text at the end of the answer, or as soon as the JSON is complete.

    Args:
        may_repeat: Whether an answer that repeats itself is read to its end.
        must_end: Whether JSON that ends too early is an error.
    """

    def __init__(self, *, may_repeat: bool = False, must_end: bool = False) -> None:
        super().__init__(has_schema=True, may_repeat=may_repeat, must_end=must_end)
        self._thoughts: list[str] = []
        self._thinks = False
        self._thought_json: JSONEnd | None = JSONEnd()
        self._beyond_thought = 0

    def expect_thoughts(self) -> None:
        """Take JSON in thoughts for thoughts, since the model was asked to think."""
        self._thinks, self._thought_json = True, None

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        delta = super()._read_choice(choice)
        if delta.reasoning:
            self._thoughts.append(delta.reasoning)
            if self._thought_json is not None and not delta.finish_reason:
                self._read_thought(self._thought_json, delta)
        elif self._blank > MAX_BLANK and not self._begun and self._repetition is not None:
            self._leave(delta, "repetition")
        if delta.finish_reason and self._thoughts and not (self.text + delta.text).strip():
            thoughts = "".join(self._thoughts)
            if self._is_answer(thoughts):
                delta.text = thoughts
        return delta

    def _is_answer(self, thoughts: str) -> bool:
        """Return whether the JSON of an answer without text has come as its thoughts."""
        if self._thinks:
            return isinstance(from_json(thoughts), dict | list)
        return thoughts.lstrip().startswith(("{", "["))

    def _read_thought(self, end: JSONEnd, delta: Delta) -> None:
        """Leave an answer whose thoughts are complete JSON, followed only by white space."""
        length = end.feed(delta.reasoning)
        if end.endless or (end.complete and delta.reasoning[length:].strip()):
            self._thought_json = None  # the model only thinks
        elif length < len(delta.reasoning):
            self._beyond_thought += 1
            if self._beyond_thought > MAX_PIECES_AFTER_JSON and not self.text:
                self._leave(delta)
        elif not end.complete and self._repeats(delta.reasoning, end):
            self._leave(delta, "repetition")
