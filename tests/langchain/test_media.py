"""Media and documents, in the forms of all providers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.langchain.media import KINDS, Media
from mlxcel_integrations.langchain.messages import to_openai_messages
from mlxcel_integrations.protocol.messages import inspect

Json = dict[str, Any]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
NOTES = "Ships:\nbrig, bark"


def encoded(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def sent(*blocks: Any, **options: bool) -> Any:
    """Return the content that is sent for blocks of a user."""
    messages = to_openai_messages([HumanMessage(list(blocks))], **options)
    inspect(messages).check_media(None)
    (message,) = messages
    return message["content"]


URL = f"data:image/png;base64,{encoded(PNG)}"
IMAGES: list[Json] = [
    {"type": "image", "base64": encoded(PNG), "mime_type": "image/png"},
    {"type": "image", "url": URL},
    {"type": "image", "source_type": "base64", "data": encoded(PNG), "mime_type": "image/png"},
    {"type": "image_url", "image_url": {"url": URL}},
    {"type": "image_url", "image_url": URL},
    {"type": "input_image", "image_url": URL},
    {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": encoded(PNG)},
    },
    {"type": "image", "source": {"type": "url", "url": URL}},
    {"image": {"format": "png", "source": {"bytes": PNG}}},
    {"type": "media", "mime_type": "image/png", "data": PNG},
    {"type": "file", "base64": encoded(PNG), "mime_type": "image/png"},
    {"type": "non_standard", "value": {"image": {"format": "png", "source": {"bytes": PNG}}}},
]


@pytest.mark.parametrize("block", IMAGES)
def test_images_of_all_providers_are_sent(block: Json) -> None:
    assert [{"type": "image_url", "image_url": {"url": URL}}] == sent(block)


@pytest.mark.parametrize(
    ("start", "mime_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM", "image/bmp"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"\0\0\0\x1cftypheic", "image/heif"),
    ],
)
def test_an_image_without_a_media_type_is_known_by_its_beginning(
    start: bytes, mime_type: str
) -> None:
    (part,) = sent({"type": "image", "base64": encoded(start)})

    assert f"data:{mime_type};base64,{encoded(start)}" == part["image_url"]["url"]


def test_the_detail_of_an_image_is_kept() -> None:
    block = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}

    assert [block] == sent(block)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "media", "mime_type": "audio/wav", "data": "AAAA"},
    ],
)
def test_sounds_of_all_providers_are_sent(block: Json) -> None:
    assert [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}] == sent(
        block
    )


@pytest.mark.parametrize(
    "block",
    [
        {"type": "video", "base64": "AAAA", "mime_type": "video/mp4"},
        {"type": "video", "base64": "AAAA"},
        {
            "type": "video",
            "source": {"type": "base64", "media_type": "video/mp4", "data": "AAAA"},
        },
        {"video": {"format": "mp4", "source": {"bytes": b"\0\0\0"}}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
    ],
)
def test_videos_of_all_providers_are_sent(block: Json) -> None:
    url = "data:video/mp4;base64,AAAA"
    assert [{"type": "video_url", "video_url": {"url": url}}] == sent(block)


DOCUMENTS: list[Json] = [
    {"type": "text-plain", "text": NOTES, "title": "Notes", "mime_type": "text/plain"},
    {"type": "text-plain", "base64": encoded(NOTES), "title": "Notes"},
    {
        "type": "file",
        "base64": encoded(NOTES),
        "mime_type": "text/markdown; charset=utf-8",
        "extras": {"filename": "Notes"},
    },
    {
        "type": "file",
        "source_type": "base64",
        "data": encoded(NOTES),
        "mime_type": "text/plain",
        "filename": "Notes",
    },
    {
        "type": "file",
        "file": {"file_data": f"data:text/csv;base64,{encoded(NOTES)}", "filename": "Notes"},
    },
    {
        "type": "input_file",
        "file_data": f"data:text/plain;base64,{encoded(NOTES)}",
        "filename": "Notes",
    },
    {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": NOTES},
        "title": "Notes",
    },
    {
        "type": "document",
        "source": {"type": "content", "content": [{"type": "text", "text": NOTES}]},
        "title": "Notes",
        "citations": {"enabled": True},
    },
    {
        "type": "search_result",
        "source": "https://x.org",
        "title": "Notes",
        "content": [{"type": "text", "text": NOTES}],
    },
    {
        "type": "document",
        "document": {"format": "txt", "name": "Notes", "source": {"bytes": NOTES.encode()}},
    },
    {"document": {"format": "md", "name": "Notes", "source": {"text": NOTES}}},
    {"type": "media", "mime_type": "text/plain", "data": NOTES.encode(), "title": "Notes"},
]


@pytest.mark.parametrize("block", DOCUMENTS)
def test_documents_that_hold_text_are_sent_as_text_below_their_titles(block: Json) -> None:
    assert f"Notes\n{NOTES}" == sent(block)
    assert f"What is this?\nNotes\n{NOTES}" == sent("What is this?", block)


def test_a_document_may_have_no_title_or_a_context() -> None:
    plain = {"type": "text-plain", "text": NOTES}

    assert NOTES == sent(plain)
    assert NOTES == sent({**plain, "title": "LC_AUTOGENERATED"})
    assert f"Notes\nOld ones.\n{NOTES}" == sent({**plain, "title": "Notes", "context": "Old ones."})


def test_a_document_of_text_and_images_is_sent_in_parts() -> None:
    block = {
        "type": "document",
        "title": "Notes",
        "source": {"type": "content", "content": [{"type": "text", "text": NOTES}, IMAGES[0]]},
    }

    assert [
        {"type": "text", "text": "Notes"},
        {"type": "text", "text": NOTES},
        {"type": "image_url", "image_url": {"url": URL}},
    ] == sent(block)


PDF = encoded(b"%PDF-1.4")


@pytest.mark.parametrize(
    "block",
    [
        {"type": "file", "base64": PDF, "mime_type": "application/pdf"},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file_id": "file-1"},
        {"type": "file", "url": "https://x.org/a.pdf"},
        {"type": "text-plain", "url": "https://x.org/a.txt"},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        },
        {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF"}}},
        {"type": "container_upload", "file_id": "file-1"},
        {"type": "something"},
        {"type": ["a", "list"]},
        {},
    ],
)
def test_what_no_server_takes_is_named_with_its_message(block: Json) -> None:
    messages = [HumanMessage("hi"), HumanMessage(["What?", block])]

    with pytest.raises(MlxcelError, match=r"messages\[1\]\.content\[1\] has the type .* no server"):
        to_openai_messages(messages)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ({"type": "image", "file_id": "f"}, "neither data nor an address"),
        ({"type": "image", "base64": encoded(b"of no image")}, "no mime_type"),
        ({"type": "image", "base64": "/"}, "no mime_type"),
        ({"type": "image"}, "neither data nor an address"),
        ({"type": "audio", "url": "http://x"}, "no data"),
        ({"type": "file", "base64": "/", "mime_type": "text/plain"}, "not valid base64"),
        (
            {"type": "file", "base64": encoded(b"\xff\xfe"), "mime_type": "text/plain"},
            "not text in UTF-8",
        ),
    ],
)
def test_media_without_their_data_are_named_with_their_message(block: Json, reason: str) -> None:
    messages = [HumanMessage("hi"), HumanMessage(["What?", block])]

    with pytest.raises(
        MlxcelError, match=rf"messages\[1\] cannot be sent: content\[1\] .*{reason}"
    ):
        to_openai_messages(messages)


def test_a_file_is_what_its_media_type_says() -> None:
    block = {"type": "file", "base64": "AAAA", "mime_type": "video/webm"}

    assert "video" == Media.read(block, "file").kind
    assert {"image", "audio", "video", "file"} == set(KINDS.values())
