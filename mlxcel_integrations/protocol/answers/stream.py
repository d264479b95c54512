"""Streamed answers of chats and completions: bytes in, deltas out, and a verdict at the end.

An answer is complete once a finish reason or ``[DONE]`` has come, unless the latter stands alone
right after something that is no part of an answer. Any other end of a stream is an error that keeps
the text so far.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import MlxcelStreamError, StructuredOutputTruncated
from ...secret import redacted
from ..validation import (
    are_calls,
    are_logprobs,
    are_timings,
    error_text,
    from_json,
    is_usage,
)
from .delta import CUT_REASONS, Delta, with_thoughts_counted
from .json_end import JSONEnd
from .repetition import RepetitionDetector
from .sse import END_OF_STREAM, SSEDecoder
from .stop import StopFilter

if TYPE_CHECKING:
    from .prompt_progress import PromptProgress

__all__ = ["CONNECTION_ENDED", "MAX_PIECES_AFTER_JSON", "DeltaStream"]


CONNECTION_ENDED = "the connection ended"

FAILURE_REASONS = ("error", "abort")
"""Finish reasons of answers that the server gave up: mlxcel's, and that of vLLM and SGLang."""

MAX_PIECES_AFTER_JSON = 2
"""Pieces after its JSON that an answer may have: the grammar of llama.cpp allows a line break."""


class DeltaStream:
    """Read one streamed answer.

    ``feed`` it the bytes as they come, and ``close`` it when they end, or when it is ``done``.

    An answer that follows a schema is complete when its JSON is. mlxcel up to v0.4.2 does not stop
    there: it generates white space up to ``max_tokens``, which is not waited for, or reports a
    failed generation, which is ignored. If a model finds no end of its JSON and repeats itself, the
    answer is left, too, with the finish reason ``repetition``.

    Args:
        stops: Stop texts that end the answer here if the server ignores them.
        has_schema: Whether the answer follows a schema.
        may_repeat: Whether JSON that repeats itself is read to its end.
        must_end: Whether JSON that ends too early is an error, since nobody checks it later.

    Attributes:
        done: Whether nothing is left to read.
        gave_up: Whether the server has reported that it cannot go on.
        broke_off: Whether it has done so with a finish reason, as mlxcel does.
        failed: Whether its generation failed after JSON that is complete.
        left: Whether it is done before the server, which may still be generating.
        model: Name of the model that answered, known at the end.
        prompt_tokens: Tokens of the prompt, known at the end if the server reports them.
        thought_tokens: Tokens that the model has thought in a request before this one.
        server: Name of the server that answers, for errors, None if unknown.
        stands_still: Whether the server has reported progress of the prompt that had not moved, and
            nothing else since then.
    """

    def __init__(
        self,
        stops: Sequence[str] = (),
        *,
        has_schema: bool = False,
        may_repeat: bool = False,
        must_end: bool = False,
    ) -> None:
        self.done = False
        self.left = False
        self.gave_up = self.broke_off = self.failed = False
        self.model: str | None = None
        self.prompt_tokens: int | None = None
        self.thought_tokens = 0
        self.server: str | None = None
        self.stands_still = False
        self._processed = -1
        self._finish: str | None = None
        self._must_end = must_end
        self._failure: MlxcelStreamError | None = None
        self._stray_event = b""
        self._stop = StopFilter(stops) if stops else None
        self._json = JSONEnd() if has_schema else None
        self._repetition = RepetitionDetector() if has_schema and not may_repeat else None
        self._pieces = self._pieces_after_json = 0
        self._decoder = SSEDecoder()
        # A list of strings would take 60 bytes for each token.
        self._text = io.StringIO()

    @property
    def text(self) -> str:
        """The text that has come so far."""
        return self._text.getvalue() + (self._stop.held if self._stop is not None else "")

    @property
    def shown(self) -> str:
        """The text that has come so far, as its reader gets it."""
        return self.text

    def feed(self, piece: bytes) -> list[Delta]:
        """Take the next bytes and return the deltas that they complete.

        ``close`` raises any error in them, so that the deltas before it are not lost.
        """
        deltas: list[Delta] = []
        try:
            for data in self._decoder.feed(piece):
                if data == END_OF_STREAM:
                    self.done = True
                    break
                delta = self._read_event(data)
                if delta is not None:
                    deltas.append(delta)
                if self.left:
                    break
        except MlxcelStreamError as error:
            error.partial = self.shown
            self.done, self._failure = True, error
        if deltas:
            self.stands_still = False
        return deltas

    def close(self, reason: str = CONNECTION_ENDED, log: str = "") -> None:
        """Take note that no more bytes come, or that no more are needed.

        Args:
            reason: Why, for the error.
            log: The output of a managed server that has failed.

        Raises:
            MlxcelStreamError: The answer is not complete, an event is invalid, or the server gave
                up.
            StructuredOutputTruncated: It has ended before its JSON.
        """
        if self._failure is not None:
            raise MlxcelStreamError(
                str(self._failure), partial=self._failure.partial, stderr=log
            ) from None
        if not (self.done or self._finish):
            raise MlxcelStreamError(
                f"The answer was cut short: {reason} before {self._server_name} had finished it. "
                "The text so far is in .partial; check the server's log, and send the request "
                "again.",
                partial=self.shown,
                stderr=log,
            )
        odd = self._stray_event or self._decoder.stray
        if odd and not (self._finish or self.left):
            raise MlxcelStreamError(
                f"{self._gave_up} without a finish reason. It sent {_sample(odd)}, which is "
                "not part of an answer. The text so far is in .partial; check the server's log.",
                partial=self.shown,
                stderr=log,
            )
        end = self._json if self._must_end and self._finish not in CUT_REASONS else None
        if end is not None and not (end.complete or end.endless):
            raise StructuredOutputTruncated(
                "The server ended the answer before its JSON did (finish_reason "
                f"{self._finish!r}). Its text is in .raw; ask again, or change the prompt or "
                "stop=.",
                raw=self.text,
                finish_reason=self._finish,
            )

    @property
    def _server_name(self) -> str:
        return f"the server {self.server!r}" if self.server else "the server"

    def _read_event(self, data: bytes) -> Delta | None:
        event = from_json(data)
        if not isinstance(event, dict):
            raise _unreadable_event(
                "that is not a JSON object",
                data,
                "check any proxy between this program and the server",
            )
        choices = event.get("choices")
        try:
            delta = self._read_choice(choices[0]) if choices else None
            usage = event.get("usage")
            timings = event.get("timings")
            error = event.get("error") or (
                choices[0].get("error") if choices else _bare_error(event)
            )
            if error:
                raise self._gave_up_error(error_text(error))
            if delta is None:
                delta = Delta()
                if event and not event.keys() & _EVENT_KEYS:
                    self._stray_event = data
            else:
                self._stray_event = b""
            if self._stop is not None:
                self._cut_at_stop(self._stop, delta)
            if self._json is not None:
                self._cut_after_json(self._json, delta)
            if usage or timings:
                delta.usage, delta.timings = usage or delta.usage, timings or None
            if event.get("prompt_progress"):
                # Imported here since most answers report none.
                from .prompt_progress import progress_of

                delta.prompt_progress = self._if_moved(progress_of(event))
            if delta.finish_reason:
                delta.model, delta.id = event.get("model"), event.get("id")
            if self.thought_tokens and (delta.finish_reason or delta.usage):
                self._count_thoughts(delta)
            if not (isinstance(delta.text, str) and isinstance(delta.reasoning, str)):
                raise TypeError
            # Nearly all deltas hold nothing else.
            holds_more = bool(
                delta.finish_reason
                or delta.tool_calls
                or delta.logprobs
                or delta.usage
                or delta.timings
            )
            if holds_more:
                _check_types(delta)
            if usage:
                self.prompt_tokens = usage.get("prompt_tokens")
            if delta.text:
                self._text.write(delta.text)
            if delta.finish_reason:
                if delta.finish_reason in FAILURE_REASONS:
                    self._ignore_failure_if_whole()
                self._finish = delta.finish_reason
                self.model = delta.model
        except (AttributeError, KeyError, TypeError, IndexError):
            raise _unreadable_event(
                "of an unknown shape", data, "check that the address is that of an mlxcel server"
            ) from None
        # Comparing it with an empty delta would take four times as long, for every piece.
        adds = delta.text or delta.reasoning or holds_more or delta.prompt_progress
        return delta if adds else None

    def _if_moved(self, progress: PromptProgress | None) -> PromptProgress | None:
        """Return a progress; None instead of one that stands still or goes backwards."""
        if progress is None or progress.processed <= self._processed:
            self.stands_still = True
            return None
        self._processed = progress.processed
        return progress

    def _cut_at_stop(self, stop: StopFilter, delta: Delta) -> None:
        """Cut the answer before a stop text that the server ignored, and stop reading there."""
        if delta.text:
            self._pieces += 1
            delta.text = stop.feed(delta.text)
        elif delta.reasoning:
            self._pieces += 1
        if stop.stopped:
            self._leave(delta)
        elif delta.finish_reason:
            delta.text += stop.close()

    def _cut_after_json(self, end: JSONEnd, delta: Delta) -> None:
        """Cut off what follows the JSON of the answer, and leave it if the server goes on."""
        self._pieces += bool(delta.text or delta.reasoning)
        if not delta.text:
            return
        length = end.feed(delta.text)
        if not (end.complete or delta.finish_reason) and self._repeats(delta.text, end):
            self._leave(delta, "repetition")
        if length < len(delta.text):
            delta.text = delta.text[:length]
            self._pieces_after_json += 1
            if self._pieces_after_json > MAX_PIECES_AFTER_JSON and not delta.finish_reason:
                self._leave(delta)

    def _repeats(self, piece: str, end: JSONEnd) -> bool:
        repetition = self._repetition
        return repetition is not None and repetition.feed(piece, in_string=end.in_string)

    def _leave(self, delta: Delta, reason: str = "stop") -> None:
        """End the answer with this delta, although the server goes on.

        The server sends the usage at its own end, so the pieces that have come are counted: each
        is at least one token.
        """
        delta.finish_reason = reason
        delta.usage = {"completion_tokens": self._pieces}
        self.done = self.left = True

    def _count_thoughts(self, delta: Delta) -> None:
        """Add the tokens that were thought in a request before this one."""
        # A generation that has failed after its JSON sends no counts.
        own = delta.usage or {"completion_tokens": self._pieces}
        delta.usage = with_thoughts_counted(own, self.thought_tokens)

    def _ignore_failure_if_whole(self) -> None:
        """Ignore that the generation failed if the answer is whole nevertheless."""
        if not self._is_whole():
            self.broke_off = True
            raise self._gave_up_error("the generation failed; the reason is in the server's log")
        self.failed = True

    def _is_whole(self) -> bool:
        """Return whether the answer is whole although its generation failed.

        Numbers are not: more digits might have come.
        """
        if self._json is None:
            return False
        value = from_json(self.text)
        return isinstance(value, dict | list | str | bool | None)

    def _gave_up_error(self, reason: str) -> MlxcelStreamError:
        self.gave_up = True
        return MlxcelStreamError(f"{self._gave_up}: {reason}. The text so far is in .partial.")

    @property
    def _gave_up(self) -> str:
        return f"{self._server_name[0].upper()}{self._server_name[1:]} gave up on the answer"

    def _read_choice(self, choice: dict[str, Any]) -> Delta | None:
        raise NotImplementedError


def _check_types(delta: Delta) -> None:
    """Check the types of what a delta holds besides texts.

    Raises:
        TypeError: One is wrong.
    """
    if (
        (delta.tool_calls is not None and not are_calls(delta.tool_calls))
        or (delta.logprobs is not None and not are_logprobs(delta.logprobs))
        or (delta.usage is not None and not is_usage(delta.usage))
        or (delta.timings is not None and not are_timings(delta.timings))
        or not all(isinstance(t, str | None) for t in (delta.finish_reason, delta.model, delta.id))
    ):
        raise TypeError


def _bare_error(event: Mapping[str, Any]) -> Any:
    """Return the error of an event that is nothing but an error, None for other events."""
    if isinstance(event.get("message"), str):
        return event
    if event.get("error") == {}:
        return "an error without a message"
    # As web frameworks write them.
    return event.get("detail") or event.get("errors")


_EVENT_KEYS = {"choices", "usage", "timings", "prompt_progress"}
"""Keys of events: every event that says anything has at least one of them."""


def _unreadable_event(form: str, data: bytes, advice: str) -> MlxcelStreamError:
    return MlxcelStreamError(
        f"The server sent an event {form}: {_sample(data)}. The text so far is in .partial; "
        f"{advice}."
    )


def _sample(data: bytes) -> str:
    # Before it is cut, since half of a key would not be recognized.
    data = redacted(data)
    text = data[:200].decode(errors="replace")
    return repr(text if len(data) <= 200 else text + "…")
