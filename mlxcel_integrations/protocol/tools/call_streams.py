"""Readers of streamed chat answers that may be tool calls in JSON."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ...errors import MlxcelStreamError
from ..answers.chat_streams import SchemaStream
from ..answers.delta import CUT_REASONS, Delta
from ..answers.stop import StopFilter
from ..answers.stream import CONNECTION_ENDED
from ..validation import as_object, from_json
from .call_reader import CallReader, call_in_json, cut_call, is_call, is_reply

__all__ = ["CallStream", "PromptedStream"]


class CallStream(SchemaStream):
    """Read an answer that may be a tool call in JSON.

    This is decided at the end of the answer, when mlxcel sends its own tool calls, too.

    Args:
        names: The tools that may be called.
        required: Whether the answer must be a call.
        may_repeat: Whether an answer that repeats itself is read to its end.
        must_end: Whether JSON that ends too early, and is not a call, is an error.
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
            self._fill_last_delta(delta)
        return delta if delta != Delta() else None

    def _fill_last_delta(self, delta: Delta) -> None:
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
        self._must_end = self._must_end and not (self._called or delta.tool_calls)

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
        """The final text so far; if there is none yet, the JSON so far."""
        return self._shown.getvalue() or self.text

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is None:
            return None
        text, parts = self._reader.feed(delta.text)
        text = self._stop_text.feed(text)
        goes_on = not (self.left or self._ended or delta.finish_reason)
        if goes_on and (self._reader.repeats or self._stop_text.stopped):
            self._leave_with_event(delta, data)
        if delta.finish_reason and not self._ended:
            self._ended = True
            unfinished = self._reader.unfinished and not self._stop_text.stopped
            rest, more = self._reader.close()
            text += self._stop_text.feed(rest) + self._stop_text.close()
            parts += more
            cut = cut_call(self.text, self._names, required=True) if self._required else None
            if unfinished and cut is not None:
                parts.append(cut)
            elif delta.finish_reason not in CUT_REASONS:
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
                f"The answer ended too early: {self._server_name} ended it in the middle of its "
                "JSON. The text so far is in .partial; ask again, or change the prompt.",
                partial=self.shown,
            )

    def _is_whole(self) -> bool:
        return is_reply(from_json(self.text), self._names)

    def _leave_with_event(self, delta: Delta, data: bytes) -> None:
        """End the answer with an event, although the server goes on."""
        self._leave(delta)
        if self.thought_tokens:
            self._count_thoughts(delta)
        event = as_object(from_json(data))
        self.model = delta.model = event.get("model")
        delta.id = event.get("id")
