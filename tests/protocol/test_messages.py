"""Messages: what one walk over them finds, and what is refused before it is sent."""

from __future__ import annotations

import base64
import math
from types import MappingProxyType
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.messages import (
    MAX_MEDIA_BYTES,
    image_type,
    inspect,
    plain_content,
    with_text,
)
from tests.structured.labels import label

USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("hi", [USER]),
        ([USER], [USER]),
        ((USER,), [USER]),
        ([MappingProxyType(USER)], [USER]),
        ([{"role": "developer", "content": "x"}, USER], [{"role": "system", "content": "x"}, USER]),
        ([{"role": "tool", "content": "1", "tool_call_id": "c"}], None),
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}], None),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "n"}], None),
    ],
)
def test_messages_pass(given: Any, expected: Any) -> None:
    assert (given if expected is None else expected) == inspect(given).messages


def test_the_messages_of_the_user_are_left_alone() -> None:
    message = {"role": "developer", "content": "x"}
    inspect([message])

    assert {"role": "developer", "content": "x"} == message


SAID = {"type": "text", "text": "hi"}
BLANK = [
    {"role": "user", "content": ""},
    {"role": "user", "content": " \n"},
    {"role": "user", "content": [{"type": "text", "text": " "}]},
    {"role": "user", "content": []},
    {"role": "assistant"},
]


def test_messages_that_are_all_empty_are_refused() -> None:
    expected = "All messages are empty: write something into at least one of them."

    assert expected == inspect(BLANK).problem


@pytest.mark.parametrize(
    "message",
    [
        USER,
        {"role": "user", "content": [SAID]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "assistant", "content": "", "reasoning_content": "hm"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]},
    ],
)
def test_one_message_that_says_something_is_enough(message: dict[str, Any]) -> None:
    assert inspect([*BLANK, message]).problem is None


EXAMPLE = '{"role": "user", "content": "..."}'
PARTS = 'pass a text, or a list of parts such as {"type": "text", "text": "..."}.'
ELSE = "Pass messages of LangChain to ChatMlxcel, and those of LlamaIndex to Mlxcel."
KNOWN = "roles are system, user, assistant, tool"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "There are no messages to answer: pass at least one user message."),
        ((), "There are no messages to answer: pass at least one user message."),
        (USER, "messages= is a single message: put it into a list, [{...}]."),
        *(
            (
                given,
                f"messages={given!r} must be a text, or a list of messages such as {EXAMPLE}, "
                f"not {type(given).__name__}.",
            )
            for given in (None, 5, b"hi")
        ),
        (["hi"], f"messages[0] is str, not a dictionary such as {EXAMPLE}. {ELSE}"),
        ([USER, None], f"messages[1] is NoneType, not a dictionary such as {EXAMPLE}. {ELSE}"),
        (
            [USER, {"role": "asistant"}],
            f"messages[1] has the unknown role 'asistant'; {KNOWN}. Did you mean 'assistant'?",
        ),
        ([{"role": "function"}], f"messages[0] has the unknown role 'function'; {KNOWN}."),
        ([{"content": "hi"}], f"messages[0] has the unknown role None; {KNOWN}."),
        ([USER, {"role": "user", "content": 5}], f"messages[1].content is int: {PARTS}"),
        ([{"role": "user", "content": {"text": "a"}}], f"messages[0].content is dict: {PARTS}"),
        ([{"role": "user", "content": b"a"}], f"messages[0].content is bytes: {PARTS}"),
        *(
            (
                [USER, {"role": "user", "content": [SAID, {"type": "text", "text": text}]}],
                f"messages[1].content[1] has the type text, but its text is {name}: pass a string.",
            )
            for text, name in ((None, "NoneType"), (["a"], "list"), (5, "int"))
        ),
    ],
)
def test_messages_that_no_server_accepts_are_refused(given: Any, message: str) -> None:
    with pytest.raises(MlxcelError) as caught:
        inspect(given)

    assert message == str(caught.value)


CALLS = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1"}, {"id": "c2"}]}


def result(call: str | None) -> dict[str, Any]:
    return {"role": "tool", "content": "sunny", "tool_call_id": call}


@pytest.mark.parametrize(
    "messages",
    [
        [CALLS, result("c2")],
        [CALLS, result("c2"), result("c1"), result("c1")],
        [CALLS, USER, result("c1")],
    ],
)
def test_a_result_follows_its_call(messages: list[Any]) -> None:
    assert inspect(messages).problem is None


@pytest.mark.parametrize(
    ("messages", "index", "call"),
    [
        ([result("c1")], 0, "c1"),
        ([result("c1"), CALLS], 0, "c1"),
        ([CALLS, result("c3"), result("c4")], 1, "c3"),
        ([{"role": "tool", "content": "sunny"}], 0, None),
        ([CALLS, *[{"role": "tool", "content": "sunny"}] * 3], 3, None),
        ([{**CALLS, "role": "user"}, result("c1")], 1, "c1"),
    ],
)
def test_a_result_without_its_call_is_refused(
    messages: list[Any], index: int, call: str | None
) -> None:
    assert (
        f"messages[{index}] is the result of the tool call {call!r}, but no message before it "
        "makes this call. Keep the assistant message that does, with its tool_calls."
    ) == inspect(messages).problem


@pytest.mark.parametrize("calls", [{"id": "c1"}, "c1", ["c1"], [None], 5])
def test_calls_that_are_not_a_list_of_dictionaries_are_named(calls: Any) -> None:
    with pytest.raises(MlxcelError) as caught:
        inspect([USER, {"role": "assistant", "content": "", "tool_calls": calls}])

    assert (
        'messages[1] has tool_calls that are not a list such as [{"id": ..., "type": "function", '
        '"function": {"name": ..., "arguments": ...}}].'
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("messages", "characters"),
    [
        ("hello", 5),
        ([USER, USER], 4),
        ([{"role": "assistant", "content": None}], 0),
        ([{"role": "user", "content": [{"type": "text", "text": "abc"}, SAID]}], 5),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "abc"}}]}], 0),
    ],
)
def test_the_characters_of_all_texts_are_counted(messages: Any, characters: int) -> None:
    assert characters == inspect(messages).characters


# --------------------------------------------------------------------------- media

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(60)).decode()
WEBP = base64.b64encode(b"RIFF\x00\x00\x00\x00WEBPVP8 ").decode()
TEXT = base64.b64encode(b"this is text").decode()


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def sound(data: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def video(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def user(*parts: Any) -> list[dict[str, Any]]:
    text = {"type": "text", "text": "What is this?"}
    return [{"role": "user", "content": "hi"}, {"role": "user", "content": [text, *parts]}]


def server(*modalities: str, build: str | None = "mlxcel-0.5.0") -> ServerFeatures:
    return ServerFeatures("mlxcel", build, (), None, None, None, frozenset(modalities))


ALL = server("vision", "audio", "video")


@pytest.mark.parametrize(
    "part",
    [
        image(f"data:image/png;base64,{PNG}"),
        image(f"data:image/jpeg;base64,{JPEG}"),
        image(f"data:image/webp;base64,{WEBP}"),
        image("data:image/png;base64,iVBORw0KGgo"),
        image("https://example.org/x.png"),
        sound(TEXT),
        sound(f"data:audio/wav;base64,{TEXT}"),
        sound("https://example.org/x.wav"),
        video(f"data:video/mp4;base64,{TEXT}"),
    ],
)
@pytest.mark.parametrize("features", [None, ALL, server(build=None)])
def test_what_servers_take_passes(features: ServerFeatures | None, part: Any) -> None:
    conversation = inspect(user(part))

    assert {"messages[1].content[1]": part} == conversation.media
    conversation.check_media(features)


@pytest.mark.parametrize("messages", ["hi", user()])
def test_text_is_not_a_medium(messages: Any) -> None:
    conversation = inspect(messages)

    assert {} == conversation.media
    conversation.check_media(server())


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (image(f"data:image/png;base64,{TEXT}"), r"not an image: it begins with b'this is '"),
        (image(f"data:text/plain;base64,{PNG}"), "not an image"),
        (image("data:image/png;base64,%%%%"), "not valid base64"),
        (image(f"data:image/png;base64,{PNG[:76]}\n{PNG[76:]}"), "not valid base64"),
        (image(f"data:image/png;base64,{PNG[:-8]}%%%%"), "not valid base64"),
        (image("data:image/png,abc"), "not base64-encoded: encode it in base64"),
        (image("data:image/png;base64"), "not an image"),
        (image(""), r"has nothing in image_url\.url"),
        ({"type": "image_url"}, "has nothing in"),
        (sound("%%%%"), "not valid base64"),
        ({"type": "file", "file": {}}, "'file', which no .* image_url, video_url or input_audio"),
        ({"type": "refusal"}, "the type 'refusal'"),
        ("text", "the type None"),
    ],
    ids=lambda value: label(value) if isinstance(value, str) else "part",
)
def test_what_no_server_takes_is_refused_with_its_place(part: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=rf"messages\[1\]\.content\[1\].*{message}"):
        inspect(user(part)).check_media(ALL)


def test_a_file_may_be_as_large_as_servers_take() -> None:
    # Four characters are three bytes, and as many fewer as there are signs at the end.
    characters = math.ceil(MAX_MEDIA_BYTES / 3) * 4

    inspect(user(sound("==".rjust(characters, "A")))).check_media(ALL)
    with pytest.raises(
        MlxcelError, match="has 67,108,865 bytes, but a server accepts at most 67,108,864"
    ):
        inspect(user(sound("=".rjust(characters, "A")))).check_media(ALL)


IMAGES, SOUNDS = [image(f"data:image/png;base64,{PNG}")], [sound(TEXT)]


def test_as_many_images_and_sounds_pass_as_servers_take() -> None:
    inspect(user(*IMAGES * 16, *SOUNDS * 16)).check_media(ALL)


@pytest.mark.parametrize(
    ("parts", "message"),
    [(IMAGES * 17, "17 images and 0 sounds"), (SOUNDS * 17, "0 images and 17 sounds")],
    ids=["images", "sounds"],
)
def test_too_many_images_or_sounds_are_refused(parts: list[Any], message: str) -> None:
    with pytest.raises(MlxcelError, match=f"{message}, but a server accepts at most 16 of each"):
        inspect(user(*parts)).check_media(ALL)


@pytest.mark.parametrize(
    ("part", "features", "takes"),
    [
        (image(f"data:image/png;base64,{PNG}"), server(), "only text"),
        (image(f"data:image/png;base64,{PNG}"), server("audio"), "audio"),
        (sound(TEXT), server("vision"), "vision"),
        (video(f"data:video/mp4;base64,{TEXT}"), server("audio"), "audio"),
        (image(f"data:image/png;base64,{PNG}"), server("video", "audio"), "audio, video"),
    ],
)
def test_what_the_model_cannot_take_is_refused(
    part: Any, features: ServerFeatures, takes: str
) -> None:
    with pytest.raises(
        MlxcelError,
        match=rf"^messages\[1\]\.content\[1\] .* this model accepts {takes}\. Leave it out",
    ):
        inspect(user(part)).check_media(features)


def test_content_of_only_text_becomes_one_string() -> None:
    texts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    mixed = [*texts, {"type": "image_url", "image_url": {"url": "data:"}}]

    assert ["", "a\nb", mixed] == [plain_content([]), plain_content(texts), plain_content(mixed)]


PIECE = {"type": "text", "text": "Be brief."}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "Be brief."),
        ("", "Be brief."),
        ("Hi", "Hi\n\nBe brief."),
        ([], [PIECE]),
        ([{"type": "text", "text": None}], [PIECE]),
        ([{"type": "text", "text": "Hi"}], [{"type": "text", "text": "Hi\n\nBe brief."}]),
        (IMAGES, [*IMAGES, PIECE]),
    ],
    ids=["none", "empty", "a text", "no parts", "no text", "a part", "an image"],
)
def test_a_text_at_the_end_of_content_stands_behind_a_blank_line(
    content: Any, expected: Any
) -> None:
    assert expected == with_text(content, "Be brief.")


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [(PNG, "image/png"), (TEXT, None), ("", None), ("A", None), ("é" * 16, None)],
    ids=["an image", "a text", "empty", "no base64", "no ASCII"],
)
def test_the_type_of_an_image_is_known_by_how_it_begins(encoded: str, expected: str | None) -> None:
    assert expected == image_type(encoded)
