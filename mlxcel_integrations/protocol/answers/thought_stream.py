"""Thoughts that are streamed before an answer, which is asked for in a separate request."""

from __future__ import annotations

import re
from typing import Any

from .chat_streams import ChatStream, tokens_in_piece
from .delta import Delta

__all__ = ["ThoughtStream"]

_JSON = re.compile(r'[\["\d-]|true|false|null')
"""The beginning of an answer that is nothing but JSON."""

_BLOCK = re.compile(r"\{|```")
"""The beginning of JSON, or of a block of code, behind text."""


class ThoughtStream(ChatStream):
    """Read the thoughts before an answer, and leave the stream when the answer begins.

    Only the thoughts are passed on: finish reason, token counts and the rest come with the answer.

    Args:
        separates: Whether the server tells thoughts from the answer. mlxcel up to v0.4.2 does not
            if the prompt ends in an open ``<think>``; everything up to JSON is a thought there.

    Attributes:
        thoughts: The thoughts so far.
        tokens: Tokens that were generated.
    """

    def __init__(self, *, separates: bool = True) -> None:
        super().__init__()
        self.tokens = 0
        self._separates = separates
        self._separated = False
        self._parts: list[str] = []

    @property
    def thoughts(self) -> str:
        """The thoughts so far."""
        return "".join(self._parts)

    def _read_event(self, data: bytes) -> Delta | None:
        delta = super()._read_event(data)
        if delta is None:
            return None
        if delta.usage and not self.left:
            self.tokens = delta.usage.get("completion_tokens") or self.tokens
        return Delta(reasoning=delta.reasoning) if delta.reasoning else None

    def _read_choice(self, choice: dict[str, Any]) -> Delta:
        delta = super()._read_choice(choice)
        if delta.reasoning:
            self._separated = True
        elif delta.text and not (self._separates or self._separated):
            json = None if self._parts else _JSON.match(delta.text)
            begins = json or _BLOCK.search(delta.text)
            delta.reasoning = delta.text[: begins.start()] if begins else delta.text
            delta.text = delta.text[begins.start() :] if begins else ""
        if delta.reasoning:
            self.tokens += tokens_in_piece(delta.reasoning)
            self._parts.append(delta.reasoning)
        if (delta.text or delta.tool_calls) and not delta.finish_reason:
            self._leave(delta)
        return delta
