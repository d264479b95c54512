"""Images, sound and video: what is refused before it is sent."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.features import ServerFeatures
from mlxcel_integrations.protocol.messages import MOST_BYTES, check_media, has_media
from tests.structured.labels import label

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
        image("https://example.org/x.png"),
        sound(TEXT),
        sound(f"data:audio/wav;base64,{TEXT}"),
        sound("https://example.org/x.wav"),
        video(f"data:video/mp4;base64,{TEXT}"),
    ],
)
@pytest.mark.parametrize("features", [None, ALL, server(build=None)])
def test_what_servers_take_passes(features: ServerFeatures | None, part: Any) -> None:
    assert has_media(user(part))
    check_media(user(part), features)


def test_text_is_no_medium() -> None:
    assert not has_media("hi")
    assert not has_media(user())
    # What is no message at all is told where messages are checked.
    assert not has_media(["hi"])  # type: ignore[list-item]  # the mistake


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (image(f"data:image/png;base64,{TEXT}"), r"no image: it begins with b'this is '"),
        (image(f"data:text/plain;base64,{PNG}"), "no image"),
        (image("data:image/png;base64,%%%%"), "not in base64"),
        (image("data:image/png,abc"), "not in base64"),
        (image("data:image/png;base64"), "no image"),
        (image(""), r"holds nothing in image_url\.url"),
        ({"type": "image_url"}, "holds nothing"),
        (sound("%%%%"), "not in base64"),
        ({"type": "file", "file": {}}, "'file', which no .* image_url, video_url, input_audio"),
        ({"type": "refusal"}, "the kind 'refusal'"),
        ("text", "the kind None"),
    ],
    ids=lambda value: label(value) if isinstance(value, str) else "part",
)
def test_what_no_server_takes_is_refused_with_its_place(part: Any, message: str) -> None:
    with pytest.raises(MlxcelError, match=rf"messages\[1\]\.content\[1\].*{message}"):
        check_media(user(part), ALL)


def test_a_file_may_be_as_large_as_servers_take() -> None:
    # Four characters are three bytes, and as many fewer as there are signs at the end.
    characters = math.ceil(MOST_BYTES / 3) * 4

    check_media(user(sound("==".rjust(characters, "A"))), ALL)
    with pytest.raises(MlxcelError, match="has 67,108,865 bytes, but a server takes 67,108,864"):
        check_media(user(sound("=".rjust(characters, "A"))), ALL)


IMAGES, SOUNDS = [image(f"data:image/png;base64,{PNG}")], [sound(TEXT)]


def test_as_many_images_and_sounds_pass_as_servers_take() -> None:
    check_media(user(*IMAGES * 16, *SOUNDS * 16), ALL)


@pytest.mark.parametrize(
    ("parts", "message"),
    [(IMAGES * 17, "17 images and 0 sounds"), (SOUNDS * 17, "0 images and 17 sounds")],
    ids=["images", "sounds"],
)
def test_too_many_images_or_sounds_are_refused(parts: list[Any], message: str) -> None:
    with pytest.raises(MlxcelError, match=f"{message}, but a server takes 16 of each"):
        check_media(user(*parts), ALL)


@pytest.mark.parametrize(
    ("part", "features", "takes"),
    [
        (image(f"data:image/png;base64,{PNG}"), server(), "text alone"),
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
        MlxcelError, match=rf"^messages\[1\]\.content\[1\] .* this model takes {takes}\.$"
    ):
        check_media(user(part), features)
