"""Media and documents in LlamaIndex's messages."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    VideoBlock,
)

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index.messages import to_openai_messages
from mlxcel_integrations.protocol.messages import inspect

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
WAV = b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(24)
MP4 = struct.pack(">I", 24) + b"ftypmp42" + bytes(4) + b"mp42isom" + bytes(8)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("source", ["bytes", "base64", "stream", "path", "data URL"])
def test_media_become_data(tmp_path: Path, source: str) -> None:
    def given(name: str, data: bytes, mime: str) -> dict[str, Any]:
        path = tmp_path / f"file.{mime.partition('/')[2]}"
        path.write_bytes(data)
        return {
            "bytes": {name: data},
            "base64": {name: encoded(data).encode()},
            "stream": {name: io.BytesIO(data)},
            "path": {"path": path},
            "data URL": {"url": f"data:{mime};base64,{encoded(data)}"},
        }[source]

    message = ChatMessage(
        [
            TextBlock(text="What is this?"),
            ImageBlock(**given("image", PNG, "image/png"), detail="low"),
            AudioBlock(**given("audio", WAV, "audio/wav")),
            VideoBlock(**given("video", MP4, "video/mp4"), fps=2),
        ]
    )

    (wire,) = to_openai_messages([message])

    image = {"url": f"data:image/png;base64,{encoded(PNG)}", "detail": "low"}
    video = {"url": f"data:video/mp4;base64,{encoded(MP4)}", "fps": 2}
    assert [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": image},
        {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "wav"}},
        {"type": "video_url", "video_url": video},
    ] == wire["content"]
    inspect([wire]).check_media(None)


ADDRESSES = [
    (ImageBlock(url="https://x.org/a.png"), {"image_url": {"url": "https://x.org/a.png"}}),
    (AudioBlock(url="https://x.org/a.wav"), {"input_audio": {"data": "https://x.org/a.wav"}}),
    (VideoBlock(url="https://x.org/a.mp4"), {"video_url": {"url": "https://x.org/a.mp4"}}),
]


@pytest.mark.parametrize(("block", "expected"), ADDRESSES, ids=lambda given: type(given).__name__)
def test_addresses_are_sent_only_if_that_is_allowed(block: Any, expected: dict[str, Any]) -> None:
    message = ChatMessage([TextBlock(text="x"), block])

    with pytest.raises(MlxcelError, match=r"messages\[0\]\.blocks\[1\].*send_urls"):
        to_openai_messages([message])
    (wire,) = to_openai_messages([message], urls=True)
    inspect([wire]).check_media(None)
    assert {"type": next(iter(expected)), **expected} == wire["content"][1]


# --------------------------------------------------------------------------- documents

NOTES = "Ships:\nbrig, bark"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (DocumentBlock(data=NOTES.encode(), title="Notes"), f"Notes\n{NOTES}"),
        (DocumentBlock(data=io.BytesIO(NOTES.encode()), title="Notes"), f"Notes\n{NOTES}"),
        (DocumentBlock(data=NOTES.encode()), NOTES),
        (
            DocumentBlock(data=NOTES.encode(), title="Notes", document_mimetype="text/markdown"),
            f"Notes\n{NOTES}",
        ),
        (
            DocumentBlock(url=f"data:text/plain;base64,{encoded(NOTES.encode())}", title="Notes"),
            f"Notes\n{NOTES}",
        ),
        (CitableBlock(title="Notes", source="s", content=NOTES), f"Notes\n{NOTES}"),
        (
            CitableBlock(
                title="Notes",
                source="s",
                content=[TextBlock(text="Ships:"), DocumentBlock(data=b"brig, bark")],
            ),
            f"Notes\n{NOTES}",
        ),
        (
            CitationBlock(
                cited_content=NOTES, title="Notes", source="s", additional_location_info={}
            ),
            f"Notes\n{NOTES}",
        ),
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
def test_a_document_that_holds_text_is_text_below_its_title(
    role: str, block: Any, expected: str
) -> None:
    message = ChatMessage(role=role, blocks=[TextBlock(text="This:"), block])

    assert f"This:\n{expected}" == to_openai_messages([message])[0]["content"]


def test_a_document_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(NOTES, encoding="utf-8")

    (wire,) = to_openai_messages([ChatMessage([DocumentBlock(path=path)])])

    assert NOTES == wire["content"]


def test_a_citable_picture_stays_below_its_title() -> None:
    block = CitableBlock(title="Map", source="s", content=[ImageBlock(image=PNG)])

    (wire,) = to_openai_messages([ChatMessage([block])])

    url = f"data:image/png;base64,{encoded(PNG)}"
    assert [
        {"type": "text", "text": "Map"},
        {"type": "image_url", "image_url": {"url": url}},
    ] == wire["content"]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_a_mark_for_the_cache_of_another_provider_is_left_out(role: str) -> None:
    point = CachePoint(cache_control={"type": "ephemeral"})
    message = ChatMessage(role=role, blocks=[TextBlock(text="hi"), point])

    assert [{"role": role, "content": "hi"}] == to_openai_messages([message])
