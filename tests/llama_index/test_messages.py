"""LlamaIndex's own forms of messages.

What both frameworks have in common is in ``tests/adapters``.
"""

from __future__ import annotations

import base64
import copy
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
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ToolCallBlock,
    VideoBlock,
)

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index.messages import to_openai_messages
from mlxcel_integrations.protocol.messages import inspect

CALL = ToolCallBlock(tool_call_id="call_1", tool_name="get_weather", tool_kwargs={"city": "Paris"})
WIRE_CALL = {
    "type": "function",
    "id": "call_1",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ChatMessage("be brief", role="developer"), {"role": "system", "content": "be brief"}),
        (ChatMessage("hello", role="chatbot"), {"role": "assistant", "content": "hello"}),
        (ChatMessage("hello", role="model"), {"role": "assistant", "content": "hello"}),
        (
            ChatMessage("hi", additional_kwargs={"name": "Ann", "session_id": "s"}),
            {"role": "user", "content": "hi", "name": "Ann"},
        ),
        (
            ChatMessage([TextBlock(text="a"), TextBlock(text="b")]),
            {"role": "user", "content": "a\nb"},
        ),
        (
            ChatMessage("done", role="assistant", additional_kwargs={"tool_call_id": "call_1"}),
            {"role": "assistant", "content": "done"},
        ),
        (
            ChatMessage(role="assistant", additional_kwargs={"tool_calls": [WIRE_CALL]}),
            {"role": "assistant", "content": "", "tool_calls": [WIRE_CALL]},
        ),
        (
            ChatMessage(
                role="assistant", blocks=[CALL], additional_kwargs={"tool_calls": [WIRE_CALL]}
            ),
            {"role": "assistant", "content": "", "tool_calls": [WIRE_CALL]},
        ),
    ],
)
def test_messages_become_openai_messages(message: ChatMessage, expected: dict[str, Any]) -> None:
    before = copy.deepcopy(message)

    assert [expected] == to_openai_messages([message])
    assert before == message


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", "{}"), ('{"a": 1}', '{"a": 1}'), ('{"a": 1', '"{\\"a\\": 1"'), ({"a": 1}, '{"a": 1}')],
)
def test_arguments_are_always_json(given: Any, expected: str) -> None:
    call = ToolCallBlock(tool_name="f", tool_kwargs=given)

    (wire,) = to_openai_messages([ChatMessage(role="assistant", blocks=[call])])

    assert expected == wire["tool_calls"][0]["function"]["arguments"]


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


def gone(tmp_path: Path) -> ImageBlock:
    path = tmp_path / "gone.png"
    path.write_bytes(PNG)
    block = ImageBlock(path=path)
    path.unlink()
    return block


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: DocumentBlock(data=b"%PDF-1.4"), "DocumentBlock, which no server accepts"),
        (lambda _: CitableBlock(title="t", source="s", content="x"), "CitableBlock, which no"),
        (lambda _: CachePoint(cache_control={"type": "ephemeral"}), "CachePoint, which no server"),
        (lambda _: CALL, "ToolCallBlock, which no server accepts"),
        (lambda _: ImageBlock(), "cannot be read"),
        (lambda _: ImageBlock(image=io.BytesIO()), "cannot be read: resolve_image returned zero"),
        (gone, "cannot be read: .*gone.png"),
    ],
)
def test_blocks_that_cannot_be_sent_are_named(tmp_path: Path, make: Any, reason: str) -> None:
    message = ChatMessage([TextBlock(text="x"), make(tmp_path)])

    with pytest.raises(MlxcelError, match=rf"messages\[1\]\.blocks\[1\] (is a )?{reason}"):
        to_openai_messages([ChatMessage("x"), message])


def test_what_is_no_image_is_refused() -> None:
    wire = to_openai_messages([ChatMessage([ImageBlock(image=b"this is no image at all")])])

    with pytest.raises(MlxcelError, match="is not an image"):
        inspect(wire).check_media(None)


def test_what_is_no_message_is_named() -> None:
    with pytest.raises(MlxcelError, match=r"messages\[0\] is dict, not a ChatMessage"):
        to_openai_messages([{"role": "user", "content": "hi"}])  # type: ignore[list-item]  # the point
