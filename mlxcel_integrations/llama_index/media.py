"""Media and documents in LlamaIndex's messages."""

from __future__ import annotations

import base64

from llama_index.core.base.llms.types import AudioBlock, DocumentBlock, ImageBlock, VideoBlock

from ..errors import MlxcelError
from ..protocol.documents import decoded_text, holds_text
from ..protocol.validation import JsonObject

__all__ = ["Media", "document_text", "media_part"]

Media = ImageBlock | AudioBlock | VideoBlock


def document_text(place: str, block: DocumentBlock) -> str | None:
    """Return the text of a document, None if it holds something else.

    Raises:
        MlxcelError: It cannot be read.
    """
    is_local = block.data or block.path or str(block.url or "").startswith("data:")
    if not is_local or not (block.document_mimetype is None or holds_text(block.document_mimetype)):
        return None
    try:
        data: bytes = block.resolve_document().read()
    except (ValueError, OSError) as error:
        raise MlxcelError(f"{place} cannot be read: {error}.") from error
    try:
        return decoded_text(data)
    except ValueError:
        return None


def media_part(place: str, block: Media, urls: bool) -> JsonObject:
    """Return a picture, sound or video as a part of OpenAI's content.

    Args:
        place: Name of the block in errors.
        block: The block.
        urls: Whether its address may be sent.

    Raises:
        MlxcelError: Its address may not be sent, or its data cannot be read.
    """
    url = str(block.url or "")
    if url and not url.startswith("data:"):
        if not urls:
            raise MlxcelError(
                f"{place} is the address {url!r}, which the server would read with its own "
                "rights. Pass the data or a path, or allow addresses with send_urls=True."
            )
        return _media_part(block, url)
    return _data_part(place, block)


def _data_part(place: str, block: Media) -> JsonObject:
    try:
        data = _read(block)
        # A block made of bytes detects their format.
        if isinstance(block, AudioBlock):
            kind = block.format or AudioBlock(audio=data).format
        elif isinstance(block, ImageBlock):
            kind = block.image_mimetype or ImageBlock(image=data).image_mimetype
        else:
            kind = block.video_mimetype or VideoBlock(video=data).video_mimetype or "video/mp4"
    except (ValueError, OSError) as error:
        raise MlxcelError(f"{place} cannot be read: {error}.") from error
    encoded = base64.b64encode(data).decode()
    if isinstance(block, AudioBlock):
        return {"type": "input_audio", "input_audio": {"data": encoded, "format": kind or "wav"}}
    return _media_part(block, f"data:{kind or 'application/octet-stream'};base64,{encoded}")


def _read(block: Media) -> bytes:
    """Return the bytes of a block, its file or its data URL."""
    if isinstance(block, ImageBlock):
        stream = block.resolve_image()
    elif isinstance(block, AudioBlock):
        stream = block.resolve_audio()
    else:
        stream = block.resolve_video()
    data: bytes = stream.read()
    return data


def _media_part(block: Media, url: str) -> JsonObject:
    if isinstance(block, AudioBlock):
        return {"type": "input_audio", "input_audio": {"data": url}}
    kind = "image_url" if isinstance(block, ImageBlock) else "video_url"
    names = ("detail",) if isinstance(block, ImageBlock) else ("fps",)
    more = {name: value for name in names if (value := getattr(block, name)) is not None}
    return {"type": kind, kind: {"url": url, **more}}
