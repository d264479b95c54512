"""Images, sound and video in messages: what no server takes is refused before it is sent."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import MlxcelError
from .features import ServerFeatures

__all__ = ["check_media", "has_media"]

MOST_BYTES = 64 * 1024 * 1024
MOST_IMAGES = 16
MOST_SOUNDS = 16

_ADDRESSES = {"image_url": "url", "video_url": "url", "input_audio": "data"}
"""The media that servers take, and where their data or address is."""

_WANTS = {"image_url": {"vision"}, "video_url": {"video", "vision"}, "input_audio": {"audio"}}
"""What a model must be able to do; some servers show single images of a video."""

_IMAGE_MARKS = (
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"\xff\xd8\xff"),
    (0, b"GIF8"),
    (8, b"WEBP"),
    (0, b"BM"),
    (0, b"II*\x00"),
    (0, b"MM\x00*"),
    (4, b"ftyp"),
)
"""Where in a file which bytes say that it is an image."""


def has_media(messages: str | Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether there is more than text."""
    return not isinstance(messages, str) and any(True for _ in _media(messages))


def _media(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the parts of messages that are no text, and where they are."""
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, list):
            for position, part in enumerate(content):
                if not (isinstance(part, Mapping) and part.get("type") == "text"):
                    yield f"messages[{index}].content[{position}]", part


def check_media(messages: Sequence[Mapping[str, Any]], features: ServerFeatures | None) -> None:
    """Check the parts of messages that are no text.

    Args:
        messages: OpenAI messages.
        features: What serves the model, None if unknown.

    Raises:
        MlxcelError: One is of an unknown kind, is too large, is no image though it says so, or
            is of a kind that the model cannot take.
    """
    counts = dict.fromkeys(_ADDRESSES, 0)
    for place, part in _media(messages):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in _ADDRESSES:
            raise MlxcelError(
                f"{place} is of the kind {kind!r}, which no server takes: send text, or one of "
                f"{', '.join(_ADDRESSES)}. The text of a document must be read out of it first."
            )
        content = part.get(kind)
        address = content.get(_ADDRESSES[kind]) if isinstance(content, Mapping) else None
        if not (address and isinstance(address, str)):
            raise MlxcelError(f"{place} holds nothing in {kind}.{_ADDRESSES[kind]}.")
        _check_data(place, kind, address)
        _check_model(place, kind, features)
        counts[kind] += 1
    if counts["image_url"] > MOST_IMAGES or counts["input_audio"] > MOST_SOUNDS:
        raise MlxcelError(
            f"There are {counts['image_url']} images and {counts['input_audio']} sounds, but a "
            f"server takes {MOST_IMAGES} of each."
        )


def _check_data(place: str, kind: str, address: str) -> None:
    header, _, encoded = address.partition(",")
    if not header.startswith("data:"):
        if kind != "input_audio" or "://" in address:
            return
        encoded = address
    elif not header.endswith(";base64"):
        raise MlxcelError(f"{place} is a data URL that is not in base64.")
    size = len(encoded) * 3 // 4 - encoded.count("=", -2)
    if size > MOST_BYTES:
        raise MlxcelError(f"{place} has {size:,} bytes, but a server takes {MOST_BYTES:,}.")
    try:
        start = base64.b64decode(encoded[:64], validate=True)
    except (ValueError, binascii.Error):
        raise MlxcelError(f"{place} is not in base64.") from None
    if kind == "image_url" and not _is_image(header, start):
        raise MlxcelError(
            f"{place} is no image: it begins with {start[:8]!r}. Send PNG, JPEG, WebP or GIF."
        )


def _is_image(header: str, start: bytes) -> bool:
    if not header.startswith("data:image/"):
        return False
    return any(start[at : at + len(mark)] == mark for at, mark in _IMAGE_MARKS)


def _check_model(place: str, kind: str, features: ServerFeatures | None) -> None:
    # Only servers that name their build tell of all they take.
    if features is not None and features.build and not _WANTS[kind] & features.modalities:
        takes = ", ".join(sorted(features.modalities)) or "text alone"
        raise MlxcelError(f"{place} is of the kind {kind}, but this model takes {takes}.")
