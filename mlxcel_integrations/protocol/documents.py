"""Documents in messages: those that hold text are sent as text, with their title before it."""

from __future__ import annotations

import base64
import binascii

__all__ = ["decoded_text", "holds_text", "titled"]

TEXT_TYPES = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/sql",
        "application/toml",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
    }
)
"""Media types of text that do not begin with ``text/``."""


def holds_text(mime_type: str | None) -> bool:
    """Return whether documents of a media type are text."""
    name = (mime_type or "").partition(";")[0].strip().lower()
    return name.startswith("text/") or name in TEXT_TYPES or name.endswith(("+json", "+xml"))


def decoded_text(data: str | bytes) -> str:
    """Return the text of a document, given in base64 or as bytes.

    Raises:
        ValueError: It is not base64, or not text in UTF-8.
    """
    if isinstance(data, str):
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error:
            raise ValueError("is not valid base64") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("is not text in UTF-8")
    return text


def titled(text: str, *titles: str) -> str:
    """Return the text of a document below its titles."""
    return "\n".join(filter(None, [*titles, text]))
