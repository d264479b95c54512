"""Documents that hold text."""

from __future__ import annotations

import base64

import pytest

from mlxcel_integrations.protocol.documents import decoded_text, holds_text, titled


@pytest.mark.parametrize(
    ("mime_type", "expected"),
    [
        ("text/plain", True),
        ("text/markdown; charset=utf-8", True),
        (" TEXT/CSV", True),
        ("application/json", True),
        ("application/ld+json", True),
        ("image/svg+xml", True),
        ("application/yaml", True),
        ("application/pdf", False),
        ("image/png", False),
        ("", False),
        (None, False),
    ],
)
def test_media_types_tell_what_is_text(mime_type: str | None, expected: bool) -> None:
    assert expected is holds_text(mime_type)


@pytest.mark.parametrize("text", ["", "Größe: 5 €\n", "a\r\nb"])
def test_text_is_decoded(text: str) -> None:
    assert text == decoded_text(text.encode())
    assert text == decoded_text("\ufeff".encode() + text.encode())
    assert text == decoded_text(base64.b64encode(text.encode()).decode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("***", "is not valid base64"),
        ("a", "is not valid base64"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"a\0b", "is not text in UTF-8"),
    ],
)
def test_what_is_not_text_is_refused(data: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decoded_text(data)


def test_titles_stand_before_the_text() -> None:
    assert "Notes\nof 1900\nx" == titled("x", "Notes", "of 1900")
    assert "x" == titled("x", "") == titled("x")
    assert "Notes" == titled("", "Notes")
