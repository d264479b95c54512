"""LlamaIndex's own forms of messages.

What both frameworks have in common is in ``tests/adapters``.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ToolCallBlock,
)

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index.messages import to_openai_messages
from mlxcel_integrations.protocol.messages import inspect
from tests.llama_index.histories import NAME

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
        (lambda _: DocumentBlock(data=b"a\0b"), "DocumentBlock, which no server accepts"),
        (lambda _: DocumentBlock(url="https://x.org/a.txt"), "DocumentBlock, which no server"),
        (lambda _: DocumentBlock(), "DocumentBlock, which no server accepts"),
        (lambda _: DocumentBlock(path="/gone.txt"), "cannot be read: .*gone.txt"),
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


# --------------------------------------------------------------------------- other providers


def test_a_refusal_beside_the_blocks_is_text() -> None:
    message = ChatMessage("Hm.", role="assistant", additional_kwargs={"refusal": "No."})

    assert [{"role": "assistant", "content": "Hm.\nNo."}] == to_openai_messages([message])


def test_a_stored_call_may_have_its_name_anywhere() -> None:
    call = {"function": "f", "tool_name": NAME, "tool_kwargs": {"city": "Paris"}}
    message = ChatMessage(role="assistant", additional_kwargs={"tool_calls": [call]})

    (sent,) = to_openai_messages([message])[0]["tool_calls"]

    assert {"name": NAME, "arguments": '{"city": "Paris"}'} == sent["function"]


@pytest.mark.parametrize("calls", ["x", [5], [["f", "{}"]], [{"id": "c", "input": {"a": {1, 2}}}]])
def test_stored_calls_that_cannot_be_sent_are_named(calls: Any) -> None:
    message = ChatMessage(role="assistant", additional_kwargs={"tool_calls": calls})

    with pytest.raises(MlxcelError, match=r"messages\[1\] has a tool call that cannot be sent"):
        to_openai_messages([ChatMessage("hi"), message])
