"""Events of LangChain's protocol, version 3, made from the deltas of an answer.

LangChain would make them from chunks of messages, which takes longer and loses the log
probabilities of all tokens but the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from langchain_core.callbacks import BaseRunManager
from langchain_core.messages import AIMessage
from langchain_core.utils.utils import LC_ID_PREFIX
from langchain_protocol.protocol import MessagesData

from ..protocol.answers.delta import Delta
from ..protocol.answers.reply import fold
from .content_blocks import PROVIDER
from .replies import to_result

__all__ = ["MessageEvents"]

Event = dict[str, Any]


class MessageEvents:
    """Makes the events of one message: its blocks as they grow, and each block whole at the end.

    Args:
        run: The run of the answer, whose id the message gets.
    """

    def __init__(self, run: BaseRunManager | None) -> None:
        self._message_id = f"{LC_ID_PREFIX}-{run.run_id}" if run is not None else ""
        self._deltas: list[Delta] = []
        # The number of each block: of the thoughts, the text, and each call by its index.
        self._blocks: dict[str | int, int] = {}

    def add(self, delta: Delta) -> Iterator[MessagesData]:
        """Yield the events of a delta."""
        if not self._deltas:
            about = {"provider": PROVIDER, **({"model": delta.model} if delta.model else {})}
            yield _event("message-start", role="ai", id=self._message_id, metadata=about)
        self._deltas.append(delta)
        if delta.reasoning:
            yield from self._grow_block("reasoning", delta.reasoning)
        if delta.text:
            yield from self._grow_block("text", delta.text)
        for part in delta.tool_calls or ():
            yield from self._grow_call(part)

    def finish(self, *, usage: bool) -> Iterator[MessagesData]:
        """Yield the events that end the message.

        Args:
            usage: Whether to include the token counts.
        """
        reply = fold(self._deltas)
        if not usage:
            reply.usage = None
        message = cast("AIMessage", to_result(reply).generations[0].message)
        calls = iter(sorted(key for key in self._blocks if isinstance(key, int)))
        whole: dict[str | int, Any] = {
            "reasoning": {"type": "reasoning", "reasoning": reply.reasoning},
            "text": {"type": "text", "text": reply.text},
        }
        for call in reply.tool_calls or ():
            whole[next(calls)] = _call_block(message, call["id"])
        for key, number in self._blocks.items():
            yield _event("content-block-finish", index=number, content=whole[key])
        end: Event = {"metadata": message.response_metadata}
        if message.usage_metadata:
            end["usage"] = message.usage_metadata
        if message.additional_kwargs:
            end["additional_kwargs"] = message.additional_kwargs
        yield _event("message-finish", **end)

    def _grow_block(self, kind: str, text: str) -> Iterator[MessagesData]:
        number = self._blocks.get(kind)
        if number is None:
            number = self._blocks[kind] = len(self._blocks)
            yield _event("content-block-start", index=number, content={"type": kind, kind: ""})
        delta = {"type": f"{kind}-delta", kind: text}
        yield _event("content-block-delta", index=number, delta=delta)

    def _grow_call(self, part: Mapping[str, Any]) -> Iterator[MessagesData]:
        function = part.get("function") or {}
        index = part["index"]
        number = self._blocks.get(index)
        if number is None:
            number = self._blocks[index] = len(self._blocks)
            block = {
                "type": "tool_call_chunk",
                "id": part.get("id"),
                "name": function.get("name"),
                "args": "",
                # Of string indexes, LangChain merges those with this prefix; integers number
                # blocks.
                "index": f"lc_tool_call_{index}",
            }
            yield _event("content-block-start", index=number, content=block)
        if function.get("arguments"):
            delta = {"type": "tool-call-delta", "args": function["arguments"]}
            yield _event("content-block-delta", index=number, delta=delta)


def _call_block(message: AIMessage, call_id: str) -> Mapping[str, Any]:
    """Return the call of a message that has this id, with its type."""
    for call in message.tool_calls:
        if call["id"] == call_id:
            return {**call, "type": "tool_call"}
    invalid = next(call for call in message.invalid_tool_calls if call["id"] == call_id)
    return {**invalid, "type": "invalid_tool_call"}


def _event(kind: str, **fields: Any) -> MessagesData:
    return cast("MessagesData", {"event": kind, **fields})
