"""Media and documents in LangChain's messages, in the forms of all providers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..protocol.documents import decoded_text, holds_text
from ..protocol.messages import image_type
from ..protocol.validation import JsonObject

__all__ = ["KINDS", "Media"]

Block = Mapping[str, Any]

KINDS = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "image_generation_call": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "file": "file",
    "input_file": "file",
    "media": "file",
    "text-plain": "file",
    "document": "file",
    "search_result": "file",
}
"""Types of blocks with media or documents, and what they hold; a file may hold anything."""

_TEXT_FORMATS = {"txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "html": "text/html"}
"""Formats of Bedrock's documents that are text."""


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, sound, video or document.

    Attributes:
        kind: ``image``, ``audio``, ``video`` or ``file``.
        mime_type: Media type, None if unknown.
        data: The data in base64, None if there is only an address or text.
        url: The address, None without one.
        text: The text of a document that holds text, None otherwise.
        content: The blocks of a document that is made of blocks, None otherwise.
        titles: Title and context of a document.
        more: OpenAI's fields beside an address, such as ``detail``.
    """

    kind: str
    mime_type: str | None
    data: str | None
    url: str | None
    text: str | None
    content: Any
    titles: tuple[str, ...]
    more: Mapping[str, Any]

    @classmethod
    def read(cls, block: Block, kind: str) -> Media:
        """Read a block of one of ``KINDS``.

        Args:
            block: The block.
            kind: Its type.
        """
        fields = _flattened(block, kind)
        mime_type = _first_present(fields, "mime_type", "media_type") or _mime_type(fields, kind)
        data = _first_present(fields, "base64", "data", "bytes", "file_data", "result")
        text = fields.get("text")
        if text is None and "text" in (fields.get("source_type"), fields.get("type")):
            text, data = data, None
        if isinstance(data, bytes):
            data = base64.b64encode(data).decode()
        elif isinstance(data, str) and data.startswith("data:"):
            header, _, data = data.partition(",")
            mime_type = header.removeprefix("data:").partition(";")[0] or mime_type
        url = _first_present(fields, "url", "file_url", "file_uri", "image_url", "video_url")
        holds = KINDS[kind]
        if holds == "file" and (major := (mime_type or "").partition("/")[0]) in _TO_PART:
            holds = major
        return cls(
            kind=holds,
            mime_type=mime_type,
            data=data if isinstance(data, str) else None,
            url=url if isinstance(url, str) else None,
            text=text if isinstance(text, str) else None,
            content=fields.get("content") if holds == "file" else None,
            titles=_titles(fields),
            more={name: fields[name] for name in ("detail", "fps") if fields.get(name) is not None},
        )

    def to_text(self) -> str | None:
        """Return the text of a document, None if it holds something else.

        Raises:
            ValueError: It cannot be decoded.
        """
        if self.text is None and self.data is not None and holds_text(self.mime_type):
            return decoded_text(self.data)
        return self.text

    def to_part(self) -> JsonObject:
        """Return a picture, sound or video as a part of OpenAI's content.

        Raises:
            ValueError: Its data or its media type is missing.
        """
        return _TO_PART[self.kind](self)


def _flattened(block: Block, kind: str) -> JsonObject:
    """Return the fields of a block together with those of its nested dictionaries.

    Providers keep the data in the block itself, under its type, or in its ``source``.
    """
    fields = dict(block)
    for name in (kind, "source"):
        if isinstance(inner := fields.get(name), Mapping):
            fields |= inner
    extras = fields.get("extras")
    return {**extras, **fields} if isinstance(extras, Mapping) else fields


def _first_present(fields: JsonObject, *names: str) -> Any:
    return next((fields[name] for name in names if fields.get(name)), None)


def _mime_type(fields: JsonObject, kind: str) -> str | None:
    """Return the media type of a block's format, which Bedrock and OpenAI name instead."""
    name = fields.get("format")
    if not isinstance(name, str):
        return "text/plain" if kind == "text-plain" else None
    if KINDS[kind] == "file":
        return _TEXT_FORMATS.get(name, f"application/{name}")
    return f"{KINDS[kind]}/{name}"


def _titles(fields: JsonObject) -> tuple[str, ...]:
    title = _first_present(fields, "title", "filename", "name")
    # LangChain's name for a file that has none.
    found = (None if title == "LC_AUTOGENERATED" else title, fields.get("context"))
    return tuple(text for text in found if text and isinstance(text, str))


def _image(media: Media) -> JsonObject:
    # OpenAI's pictures come without a media type.
    found = None if media.mime_type else image_type(media.data or "")
    if media.url is None and media.data and not (media.mime_type or found):
        raise ValueError("has data, but no mime_type")
    return {"type": "image_url", "image_url": {"url": _address(media, found or ""), **media.more}}


def _video(media: Media) -> JsonObject:
    return {"type": "video_url", "video_url": {"url": _address(media, "video/mp4"), **media.more}}


def _audio(media: Media) -> JsonObject:
    if media.data is None:
        raise ValueError("has no data, and no server fetches sound from an address")
    form = (media.mime_type or "audio/wav").partition("/")[2]
    return {"type": "input_audio", "input_audio": {"data": media.data, "format": form}}


def _address(media: Media, mime_type: str) -> str:
    if media.url is not None:
        return media.url
    if media.data is None:
        raise ValueError("has neither data nor an address")
    return f"data:{media.mime_type or mime_type};base64,{media.data}"


_TO_PART = {"image": _image, "audio": _audio, "video": _video}
