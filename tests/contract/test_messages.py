"""Messages of a chat request: roles, contents, calls of tools, images, sound and video."""

from __future__ import annotations

from typing import Any

import pytest

from .servers import CHAT, Json, Server, ask, error, is_text

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "4"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def user(content: Any, **more: Any) -> Json:
    return {"role": "user", "content": content, **more}


def turn(**more: Any) -> list[Json]:
    """A conversation with a turn of the assistant in it."""
    return [user("q"), {"role": "assistant", "content": "x", **more}, user("q")]


def without(value: Json, name: str) -> Json:
    return {key: one for key, one in value.items() if key != name}


# Messages; the status of v0.4.2, of newest, of llama.cpp.
ROLES: list[tuple[list[Json], int, int, int]] = [
    ([{"role": "system", "content": "x"}, user("x")], 200, 200, 200),
    ([user("q"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT], *[200] * 3),
    ([user("q"), {"role": "assistant", "tool_calls": [CALL]}, RESULT], 200, 200, 200),
    # llama.cpp passes any word to the template, which drops what it does not know.
    ([{"role": "developer", "content": "x"}], 422, 422, 200),
    ([{"role": "robot", "content": "x"}], 422, 422, 200),
    ([{"role": "User", "content": "x"}], 422, 422, 200),
    ([{"content": "x"}], 422, 422, 500),
]
CONTENTS: list[tuple[Any, int, int, int]] = [
    ([user("x", name="me")], 200, 200, 200),
    ([user("x", name=5)], 422, 422, 500),
    ([user([{"type": "text", "text": "x"}, {"type": "text", "text": "y"}])], 200, 200, 200),
    ([user(5)], 422, 422, 400),
    ([user([{"type": "text"}])], 422, 422, 500),
    ([{"role": "tool", "tool_call_id": 5, "content": "x"}], 422, 422, 500),
    # llama.cpp answers nothing with something.
    ([], 400, 400, 200),
    ([user(" \n")], 400, 400, 200),
    ([user(None)], 400, 400, 200),
    ([{"role": "user"}], 400, 400, 400),
    ([user([])], 400, 400, 200),
    ([user([{"type": "text", "text": " "}])], 400, 400, 200),
    (None, 422, 422, 400),
    ("Hi", 422, 422, 400),
]
PARTS: list[tuple[Any, int, int, int]] = [
    *[
        ([user([{"type": kind, kind: {}}])], 422, 422, 400)
        for kind in ("file", "refusal", "image", "tool_use", "document")
    ],
    # llama.cpp says that its model sees no images before it looks closer.
    ([user([{"type": "image_url", "image_url": PIXEL}])], 422, 422, 500),
    ([user([{"type": "image_url", "image_url": {}}])], 422, 422, 500),
    ([user([{"type": "video_url", "video_url": "x.mp4"}])], 422, 422, 500),
    ([user([{"type": "input_audio", "input_audio": "AAAA"}])], 422, 422, 500),
    ([user([{"type": "input_audio", "input_audio": {"format": "wav"}}])], 422, 422, 500),
]
CALLS: list[tuple[Any, int, int, int]] = [
    (turn(tool_calls=[CALL]), 200, 200, 200),
    (turn(tool_calls=[without(CALL, "id")]), 422, 422, 200),
    (turn(tool_calls=[without(CALL, "type")]), 422, 422, 500),
    (turn(tool_calls=[without(CALL, "function")]), 422, 422, 500),
    (turn(tool_calls=[{**CALL, "function": {"arguments": "{}"}}]), 422, 422, 500),
    (turn(tool_calls=[{**CALL, "function": {"name": "f"}}]), 422, 422, 500),
    # llama.cpp takes arguments that are no text.
    (turn(tool_calls=[{**CALL, "function": {"name": "f", "arguments": {}}}]), 422, 422, 200),
]
THOUGHTS: list[tuple[Any, int, int, int]] = [
    (turn(reasoning="r"), 200, 200, 200),
    (turn(reasoning_content="r"), 200, 200, 200),
    (turn(reasoning="r", reasoning_content="r"), 422, 200, 200),
    (turn(reasoning="r", reasoning_content="s"), 422, 422, 200),
]


@pytest.mark.parametrize(
    ("messages", "old", "newest", "llama_cpp"),
    ROLES + CONTENTS + PARTS + CALLS + THOUGHTS,
    ids=lambda value: repr(value)[:70] if not isinstance(value, int) else "",
)
def test_what_is_taken_and_what_refused(
    server: Server, messages: Any, old: int, newest: int, llama_cpp: int
) -> None:
    """A wrong shape is 422 with a plain text; messages that say nothing are 400."""
    response = server.post(CHAT, ask(messages=messages, max_tokens=1))

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == response.status_code
    assert (response.status_code == 422) == is_text(response)


@pytest.mark.parametrize("name", ["messages", "model"])
def test_what_a_chat_needs(scripted: Server, name: str) -> None:
    """The text of a 422 names what is missing."""
    response = scripted.post(CHAT, without(ask(), name))

    assert 422 == response.status_code
    assert f"missing field `{name}`" in response.text


def image(**more: Any) -> Json:
    return {"type": "image_url", "image_url": {"url": PIXEL, **more}}


VIDEO = {"type": "video_url", "video_url": {"url": "file:///tmp/x.mp4", "fps": 1}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA"}}


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([image()], 200),
        ([image(detail="low"), image(detail="low"), image(detail="auto")], 200),
        ([image(detail="sharp")], 400),
        ([image(max_soft_tokens=280)], 200),
        ([image(max_soft_tokens=281)], 400),
        ([image(detail="low"), image(detail="high")], 400),  # all images have one budget
        ([image()] * 16, 200),
        ([image()] * 17, 400),
        ([SOUND], 200),
        ([SOUND] * 17, 400),
        ([VIDEO], 400),  # a file of the server, which allows no folder
    ],
    ids=lambda value: repr(value)[:40],
)
def test_media_for_a_model_that_takes_them_have_limits(
    scripted: Server, parts: Any, status: int
) -> None:
    """Images, sound and video have limits, which are told as JSON."""
    scripted.fake.media = {"image_url", "video_url", "input_audio"}

    response = scripted.post(CHAT, ask(messages=[user([{"type": "text", "text": "x"}, *parts])]))

    assert status == response.status_code
    if status == 400:
        assert "invalid_request_error" == error(response)["type"]


@pytest.mark.parametrize("part", [image(), SOUND, VIDEO], ids=lambda part: part["type"])
def test_media_for_a_model_that_reads_text_are_refused(scripted: Server, part: Json) -> None:
    """Newest refuses them before it fetches anything, v0.4.2 only videos."""
    scripted.fake.media = set()

    response = scripted.post(CHAT, ask(messages=[user([part])]))

    old = 400 if part is VIDEO else 200
    assert scripted.choose(old=old, newest=400) == response.status_code
    if scripted.dialect == "newest":
        assert "input is not supported" in error(response)["message"]


def test_only_the_older_server_refuses_large_requests(server: Server) -> None:
    """v0.4.2 takes no more than 2 MiB, which is one image, and says so in plain text."""
    response = server.post(CHAT, ask(max_tokens=1, metadata="x" * 2**21))

    assert server.choose(old=413, newest=200, llama_cpp=200) == response.status_code
    if response.status_code == 413:
        assert is_text(response)
