"""Readers of streamed chat answers: text, tool calls, and JSON that follows a schema."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from ..errors import MlxcelStreamError
from .call_reader import CallReader, call_in_json, is_call, new_call
from .json_end import JSONEnd
from .repetition import MOST_BLANK
from .stop import StopFilter
from .stream import BEYOND_JSON, CONNECTION_ENDED, CUT, Delta, DeltaStream
from .tool_calls import CallNumbering
from .validation import NOT_JSON, as_object, from_json

__all__ = [
    "CallStream",
    "ChatStream",
    "PromptedStream",
    "SchemaStream",
    "ToolStream",
    "tokens_in_piece",
]

CONTROL_TOKENS = 8
"""Most tokens around thoughts that are not sent, such as ``<think>``; a call has more."""

CUT_CALL = re.compile(
    r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"(?:\s*,\s*"arguments"\s*:\s*(.*))?', re.DOTALL
)
"""The beginning of a call in JSON, with its properties in the order of the schema."""


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
        text = part.get("content") or part.get("refusal") or ""
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
        if part.get("refusal"):
            self._refused = True
        if choice.get("finish_reason"):
            delta.finish_reason = "refusal" if self._refused else choice["finish_reason"]
        if choice.get("logprobs"):
            delta.logprobs = choice["logprobs"]
        return delta


class ToolStream(ChatStream):
    """Read an answer that may contain tool calls.

    mlxcel up to v0.4.2 drops a call that is cut off or malformed, and ends as if the model had said
    nothing, or nothing after its thoughts.
    """

    _silent = True
    _tokens = 0
    _thinking = 0
    _reported: int | None = None
    _finish: str | None = None

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is not None:
            if delta.text or delta.tool_calls:
                self._silent = False
            if delta.reasoning:
                self._thinking += tokens_in_piece(delta.reasoning)
            if delta.usage:
                self._tokens = delta.usage.get("completion_tokens") or 0
                details = delta.usage.get("completion_tokens_details") or {}
                self._reported = details.get("reasoning_tokens")
            self._finish = delta.finish_reason or self._finish
        return delta

    def close(self, reason: str = CONNECTION_ENDED, log: str = "") -> None:
        """Take note that no more bytes come; see ``DeltaStream.close``.

        Raises:
            MlxcelStreamError: The answer is not complete, or the server dropped all of it.
        """
        super().close(reason, log)
        if self._silent and not self.left and self._finish != "length" and self._dropped_a_call():
            after = " after the thoughts" if self._thinking else ""
            raise MlxcelStreamError(
                f"The model generated {self._tokens} tokens, but {self._who} sent neither text nor "
                f"a tool call{after}: it drops a call that is cut off or malformed. Ask again, or "
                "raise max_tokens."
            )

    def _dropped_a_call(self) -> bool:
        """Tell whether more tokens were generated than an answer without text and calls has."""
        if not self._thinking:
            # A model that has nothing to say generates one token, which ends the answer.
            return self._tokens > 1
        return self._tokens - (self._reported or self._thinking) > CONTROL_TOKENS


class SchemaStream(ChatStream):
    """Read an answer that follows a schema.

    A model whose prompt ends in an open ``<think>`` writes its JSON as thoughts, which become the
    text at the end of the answer, or as soon as the JSON is complete.

    Args:
        may_repeat: Whether an answer that repeats itself is read to its end.
    """

    def __init__(self, *, may_repeat: bool = False) -> None:
        super().__init__(has_schema=True, may_repeat=may_repeat)
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
        elif self._blank > MOST_BLANK and not self._begun and self._repetition is not None:
            self._leave(delta, "repetition")
        if delta.finish_reason and self._thoughts and not (self.text + delta.text).strip():
            thoughts = "".join(self._thoughts)
            if self._is_answer(thoughts):
                delta.text = thoughts
        return delta

    def _is_answer(self, thoughts: str) -> bool:
        """Tell whether the JSON of an answer without text has come as its thoughts."""
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
            if self._beyond_thought > BEYOND_JSON and not self.text:
                self._leave(delta)
        elif not end.complete and self._repeats(delta.reasoning, end):
            self._leave(delta, "repetition")


class CallStream(SchemaStream):
    """Read an answer that may be a tool call in JSON.

    This is decided at the end of the answer, when mlxcel sends its own tool calls, too.

    Args:
        names: The tools that may be called.
        may_repeat: Whether an answer that repeats itself is read to its end.
    """

    def __init__(self, names: frozenset[str], *, may_repeat: bool = False) -> None:
        super().__init__(may_repeat=may_repeat)
        self._names = names
        self._called = self._told = False

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is None:
            return None
        delta.text = ""
        self._called = self._called or bool(delta.tool_calls)
        if delta.finish_reason and not self._told:
            self._told = True
            self._tell(delta)
        return delta if delta != Delta() else None

    def _tell(self, delta: Delta) -> None:
        """Put the whole answer into the last delta: a call, a cut call, or text."""
        call = None if self._called else self._call(self.text)
        cut = None if self._called or call else self._cut_call(self.text)
        if call is not None:
            delta.tool_calls, delta.finish_reason = [call], "tool_calls"
        elif cut is not None:
            delta.tool_calls = [cut]
        else:
            delta.text = self.text

    def _call(self, text: str) -> dict[str, Any] | None:
        call = from_json(text)
        return call_in_json(0, call) if is_call(call, self._names) else None

    def _cut_call(self, text: str) -> dict[str, Any] | None:
        """Return a call that was cut, with arguments that are not JSON; None for another text."""
        begun = CUT_CALL.match(text)
        if begun is None or begun[1] not in self._names or from_json(text) is not NOT_JSON:
            return None
        return new_call(0, begun[1], begun[2] or "{")


class PromptedStream(SchemaStream):
    """Read an answer that is a call of prompted tools, or a final text, in JSON.

    Args:
        names: The tools that may be called.
        stops: Stop texts that end the final text.
        may_repeat: Whether an answer that repeats itself is read to its end.
    """

    def __init__(
        self, names: frozenset[str], stops: Sequence[str] = (), *, may_repeat: bool = False
    ) -> None:
        super().__init__(may_repeat=may_repeat)
        self._reader = CallReader(names)
        self._stop_text = StopFilter(stops)
        self._shown = io.StringIO()
        self._ended = False

    @property
    def shown(self) -> str:
        """The final text that has come so far."""
        return self._shown.getvalue()

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is None:
            return None
        text, parts = self._reader.feed(delta.text)
        text = self._stop_text.feed(text)
        if (self._reader.repeats or self._stop_text.stopped) and not (self.left or self._ended):
            self._leave_at(delta, data)
        if delta.finish_reason and not self._ended:
            self._ended = True
            rest, more = self._reader.close(cut=delta.finish_reason in CUT)
            text += self._stop_text.feed(rest) + self._stop_text.close()
            parts += more
            if delta.finish_reason not in CUT:
                delta.finish_reason = "tool_calls" if self._reader.called else "stop"
        delta.text, delta.tool_calls = text, parts or None
        self._shown.write(text)
        return delta if delta != Delta() else None

    def _leave_at(self, delta: Delta, data: bytes) -> None:
        """End the answer with an event, although the server goes on."""
        if not delta.finish_reason:
            self._leave(delta)
            if self.thought_tokens:
                self._count_thoughts(delta)
            event = as_object(from_json(data))
            self.model = delta.model = event.get("model")
            delta.id = event.get("id")
