"""Content of LangChain's messages, of any provider: text, thoughts, calls, results and media.

A conversation may have begun with another provider, and each has its own blocks. Blocks that
only that provider can read, such as its searches and signatures, are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import MlxcelError
from ..protocol.documents import titled
from ..protocol.messages import plain_content
from ..protocol.tools.tool_calls import tool_call
from ..protocol.validation import JsonObject
from .media import KINDS, Media

__all__ = ["Content", "as_error"]

Block = Mapping[str, Any]

MAX_NESTING = 16
"""Deepest nesting of blocks: results and documents hold further blocks."""


@dataclass
class Content:
    """The content of a message, sorted as OpenAI's messages hold it.

    Attributes:
        is_answer: Whether a model wrote it. Its texts are pieces of one text, and it may hold
            blocks of any kind.
        urls: Whether images and videos may be sent as addresses.
        parts: Texts and media.
        thoughts: The model's thinking.
        calls: Tool calls.
        results: Messages with the results of tool calls.
        has_refusal: Whether one of the texts is a refusal.
    """

    is_answer: bool
    urls: bool
    parts: list[JsonObject] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[JsonObject] = field(default_factory=list)
    results: list[JsonObject] = field(default_factory=list)
    has_refusal: bool = False
    _continues_text: bool = False

    def read(self, content: Any, place: str, levels: int = MAX_NESTING) -> None:
        """Add a text, a block, or a list of both.

        Args:
            content: The content.
            place: Its name in errors.
            levels: How many levels of nested blocks it may have.

        Raises:
            MlxcelError: A block cannot be sent.
        """
        if isinstance(content, str):
            self.add_text(content)
        elif not isinstance(content, list | tuple | Mapping):
            raise MlxcelError(
                f"{place} is {type(content).__name__}, not a text or a dictionary such as "
                '{"type": "text", "text": "..."}.'
            )
        elif levels <= 0:
            raise MlxcelError(
                f"{place} is nested too deeply: pass the text of the inner blocks instead."
            )
        elif not isinstance(content, Mapping):
            for position, block in enumerate(content):
                self.read(block, f"{place}[{position}]", levels - 1)
        else:
            try:
                self._read_block(content, place, levels)
            except (ValueError, TypeError, RecursionError) as error:
                message, _, name = place.partition(".")
                raise MlxcelError(
                    f"{message} cannot be sent: {name} {error}. Pass text, or a block with its "
                    'data, such as {"type": "image", "base64": ..., "mime_type": "image/png"}.'
                ) from error

    def add_text(self, text: str) -> None:
        """Add a text; in an answer, it continues a text right before it."""
        if text and self._continues_text:
            self.parts[-1]["text"] += text
        elif text:
            self.parts.append({"type": "text", "text": text})
            self._continues_text = self.is_answer

    def joined(self) -> str | list[JsonObject]:
        """Return one string, which every chat template takes, if there is only text; else parts."""
        return plain_content(self.parts)

    def _read_block(self, block: Block, place: str, levels: int) -> None:
        block = _with_type(block)
        kind = _block_type(block)
        if kind in _TEXT_READERS:
            text = _TEXT_READERS[kind](block)
            if not isinstance(text, str):
                raise ValueError(f"has the type {kind!r}, but no text")
            if kind == "refusal":
                self.has_refusal, self._continues_text = True, False
            self.add_text(text)
            return
        self._continues_text = False
        if kind in _THOUGHT_READERS:
            self.thoughts.append(_THOUGHT_READERS[kind](block))
        elif kind in _CALL_READERS:
            id_field, arguments_of = _CALL_READERS[kind]
            self.calls.append(
                tool_call(block.get("name"), arguments_of(block), block.get(id_field))
            )
        elif kind in _OUTPUT_TYPES:
            self.read(block.get("output") or "", place, levels - 1)
        elif kind == "non_standard":
            value = block.get("value")
            if isinstance(value, Mapping) and _block_type(_with_type(value)) in _KNOWN_TYPES:
                self.read(value, place, levels - 1)
        elif kind == "tool_result" and not self.is_answer:
            self._read_result(block, place, levels)
        elif kind in KINDS and (kind != "image_generation_call" or block.get("result")):
            self._read_media(block, kind, place, levels)
        elif not (self.is_answer or kind in _PROVIDER_ONLY):
            raise _not_accepted_error(place, kind)

    def _read_result(self, block: Block, place: str, levels: int) -> None:
        """Add the result of a tool, in Anthropic's form, as a separate message."""
        inner = self._read_inner(block.get("content"), place, levels)
        content = as_error(inner.joined()) if block.get("is_error") else inner.joined()
        call = block.get("tool_use_id") or ""
        self.results.append({"role": "tool", "tool_call_id": call, "content": content})

    def _read_media(self, block: Block, kind: str, place: str, levels: int) -> None:
        media = Media.read(block, kind)
        if media.content is not None:
            inner = self._read_inner(media.content, place, levels).joined()
            if isinstance(inner, str):
                self.add_text(titled(inner, *media.titles))
            else:
                self.add_text(titled("", *media.titles))
                self.parts += inner
        elif media.kind == "file":
            text = media.to_text()
            if text is None:
                raise _not_accepted_error(place, kind)
            self.add_text(titled(text, *media.titles))
        else:
            self.parts.append(self._checked_address(media.to_part(), place))
        self._continues_text = False

    def _read_inner(self, content: Any, place: str, levels: int) -> Content:
        inner = Content(is_answer=False, urls=self.urls)
        inner.read(content or "", f"{place}.content", levels - 1)
        return inner

    def _checked_address(self, part: JsonObject, place: str) -> JsonObject:
        address = str(part[part["type"]].get("url") or "data:")
        if self.urls or address.startswith("data:"):
            return part
        raise MlxcelError(
            f"{place} is the address {address!r}, which the server would read with its own rights. "
            "Pass the data in base64, or allow addresses with send_urls=True."
        )


def _not_accepted_error(place: str, kind: str | None) -> MlxcelError:
    return MlxcelError(
        f"{place} has the type {kind!r}, which no server accepts: send text, images, sound or "
        "video. Extract the text of a document before you send it."
    )


def as_error(content: str | list[JsonObject]) -> str | list[JsonObject]:
    """Mark the result of a tool as an error, for which OpenAI's messages have no field."""
    if isinstance(content, list):
        return [{"type": "text", "text": "Error:"}, *content]
    return content if content.lower().startswith("error") else f"Error: {content}"


def _joined_thoughts(thoughts: Any, separator: str = "") -> str:
    """Return thoughts as one text: Mistral, OpenAI and Bedrock keep them in blocks of text."""
    if isinstance(thoughts, str):
        return thoughts
    blocks = thoughts if isinstance(thoughts, list) else [thoughts]
    texts = [block.get("text") if isinstance(block, Mapping) else block for block in blocks]
    return separator.join(text for text in texts if text and isinstance(text, str))


# --------------------------------------------------------------------------- types of blocks

_BEDROCK_TYPES = {
    "text": "text",
    "image": "image",
    "document": "document",
    "video": "video",
    "audio": "audio",
    "json": "json",
    "guard_content": "guard_content",
    "guardContent": "guard_content",
    "searchResult": "search_result",
    "cachePoint": "cache_point",
}
"""Types for the blocks of Bedrock, which have none, by the key that holds their content."""

_TEXT_READERS: Mapping[Any, Callable[[Block], Any]] = {
    "text": lambda block: block.get("text"),
    "input_text": lambda block: block.get("text"),
    "output_text": lambda block: block.get("text"),
    "refusal": lambda block: block.get("refusal") or "",
    "json": lambda block: json.dumps(block.get("json")),
    "guard_content": lambda block: _guarded_text(block.get("guard_content")),
}

_THOUGHT_READERS: Mapping[Any, Callable[[Block], str]] = {
    # OpenAI's summaries are paragraphs.
    "reasoning": lambda block: (
        _joined_thoughts(block.get("reasoning") or block.get("content"))
        or _joined_thoughts(block.get("summary"), "\n\n")
    ),
    "reasoning_content": lambda block: _joined_thoughts(block.get("reasoning_content")),
    "thinking": lambda block: _joined_thoughts(block.get("thinking")),
}

_CALL_READERS: Mapping[Any, tuple[str, Callable[[Block], Any]]] = {
    "tool_call": ("id", lambda block: block.get("args")),
    "invalid_tool_call": ("id", lambda block: block.get("args")),
    "tool_use": ("id", lambda block: block.get("input") or block.get("partial_json")),
    "function_call": ("call_id", lambda block: block.get("arguments")),
    # LangChain's own name for an input that is one text.
    "custom_tool_call": ("call_id", lambda block: {"__arg1": block.get("input")}),
}
"""For each type of call, the field of its id, and how to read its arguments."""

_OUTPUT_TYPES = frozenset(
    {"function_call_output", "custom_tool_call_output", "computer_call_output"}
)
"""OpenAI's results of tools, within the message of the result."""

_KNOWN_TYPES = frozenset(
    {
        *_TEXT_READERS,
        *_THOUGHT_READERS,
        *_CALL_READERS,
        *_OUTPUT_TYPES,
        *KINDS,
        "non_standard",
        "tool_result",
    }
)

_PROVIDER_ONLY = frozenset(
    {
        "cache_point",
        "mcp_approval_response",
        "redacted_thinking",
        "server_tool_call",
        "server_tool_result",
        "tool_reference",
    }
)
"""Blocks that only other providers can read, also in messages of users and tools."""


def _with_type(block: Block) -> Block:
    """Return a block with its type, which only the blocks of Bedrock lack."""
    key = next((key for key in _BEDROCK_TYPES if key in block), None)
    if key is None or "type" in block:
        return block
    return {**block, "type": _BEDROCK_TYPES[key], _BEDROCK_TYPES[key]: block[key]}


def _block_type(block: Block) -> str | None:
    kind = block.get("type")
    return kind if isinstance(kind, str) else None


def _guarded_text(content: Any) -> Any:
    text = content.get("text") if isinstance(content, Mapping) else None
    return text.get("text") if isinstance(text, Mapping) else text
