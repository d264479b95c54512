"""Readers of streamed chat answers: text, tool calls, and JSON that follows a schema."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from ..errors import MlxcelStreamError
from .call_reader import CallReader, call_in_json, cut_call, is_call, is_reply
from .json_end import JSONEnd
from .repetition import MOST_BLANK
from .stop import StopFilter
from .stream import BEYOND_JSON, CONNECTION_ENDED, CUT, Delta, DeltaStream
from .tool_calls import CallNumbering
from .validation import as_object, from_json

__all__ = [
    "CallStream",
    "ChatStream",
    "PromptedStream",
    "SchemaStream",
    "ToolStream",
    "tokens_in_piece",
]

CONTROL_TOKENS = 8
"""Most tokens of an answer that are not sent, such as ``<think>``; a call has more."""

HELD_BACK = re.compile(r"[<\[{|]")
"""How marks of calls begin: servers hold text back that may be one, and send it in one piece."""


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
        sent = "neither text nor a tool call" + (" after the thoughts" if self._thinking else "")
        if self._begun:
            sent = "no more than the text before a tool call, which is in .partial"
        raise MlxcelStreamError(
            f"The model generated {self._tokens} tokens, but {self._who} sent {sent}: it drops a "
            "call that is cut off or malformed. Ask again, or raise max_tokens.",
            partial=self.text,
        )

    def _dropped_a_call(self) -> bool:
        """Tell whether more tokens were generated than an answer without calls has."""
        if self._finish == "tool_calls":
            return True
        if self._begun and not self._drops_calls:
            # Other servers may send several tokens in a piece.
            return False
        sent = (self._reported or self._thinking) + self._written
        if sent:
            return self._tokens - sent > CONTROL_TOKENS
        # A model that has nothing to say generates one token, which not all servers count.
        return self._tokens > (0 if self._drops_calls else 1)


def _most_tokens(text: str) -> int:
    """Return the most tokens that a piece may have, if the server sends each as it comes."""
    if HELD_BACK.search(text):
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
        required: Whether the answer must be a call.
        may_repeat: Whether an answer that repeats itself is read to its end.
        must_end: Whether JSON that ends too early, and is no call, is an error.
    """

    def __init__(
        self,
        names: frozenset[str],
        *,
        required: bool = False,
        may_repeat: bool = False,
        must_end: bool = False,
    ) -> None:
        super().__init__(may_repeat=may_repeat, must_end=must_end)
        self._names = names
        self._required = required
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
        call = from_json(self.text)
        if self._called:
            delta.text = self.text
        elif is_call(call, self._names):
            delta.tool_calls, delta.finish_reason = [call_in_json(0, call)], "tool_calls"
        elif cut := cut_call(self.text, self._names, required=self._required):
            delta.tool_calls = [cut]
        else:
            delta.text = self.text
        self._must_end = self._must_end and not delta.tool_calls

    def _is_whole(self) -> bool:
        if self._required:
            return is_call(from_json(self.text), self._names)
        return super()._is_whole()


class PromptedStream(SchemaStream):
    """Read an answer that is a call of prompted tools, or a final text, in JSON.

    Args:
        names: The tools that may be called.
        stops: Stop texts that end the final text.
        required: Whether the answer must be a call.
        may_repeat: Whether an answer that repeats itself is read to its end.
    """

    _broken_off = False

    def __init__(
        self,
        names: frozenset[str],
        stops: Sequence[str] = (),
        *,
        required: bool = False,
        may_repeat: bool = False,
    ) -> None:
        super().__init__(may_repeat=may_repeat)
        self._names = names
        self._required = required
        self._reader = CallReader(names)
        self._stop_text = StopFilter(stops)
        self._shown = io.StringIO()
        self._ended = False

    @property
    def shown(self) -> str:
        """The final text that has come so far; without any, the JSON that has come."""
        return self._shown.getvalue() or self.text

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
            unfinished = self._reader.unfinished and not self._stop_text.stopped
            rest, more = self._reader.close()
            text += self._stop_text.feed(rest) + self._stop_text.close()
            parts += more
            cut = cut_call(self.text, self._names, required=True) if self._required else None
            if unfinished and cut is not None:
                parts.append(cut)
            elif delta.finish_reason not in CUT:
                self._broken_off = unfinished
                delta.finish_reason = "tool_calls" if self._reader.called else "stop"
        delta.text, delta.tool_calls = text, parts or None
        self._shown.write(text)
        return delta if delta != Delta() else None

    def close(self, reason: str = CONNECTION_ENDED, log: str = "") -> None:
        """Take note that no more bytes come; see ``DeltaStream.close``.

        Raises:
            MlxcelStreamError: The answer is not complete.
        """
        super().close(reason, log)
        if self._broken_off:
            raise MlxcelStreamError(
                f"The answer ended too early: {self._who} ended it in the middle of its JSON. The "
                "text so far is in .partial; ask again, or change the prompt.",
                partial=self.shown,
            )

    def _is_whole(self) -> bool:
        return is_reply(from_json(self.text), self._names)

    def _leave_at(self, delta: Delta, data: bytes) -> None:
        """End the answer with an event, although the server goes on."""
        if not delta.finish_reason:
            self._leave(delta)
            if self.thought_tokens:
                self._count_thoughts(delta)
            event = as_object(from_json(data))
            self.model = delta.model = event.get("model")
            delta.id = event.get("id")
