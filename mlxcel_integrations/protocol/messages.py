"""Messages of a conversation, checked in one walk: roles, content, media, tool results, length."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import MlxcelError
from .arguments import shown
from .tools.tool_calls import CallIds

if TYPE_CHECKING:
    from .features import ServerFeatures

__all__ = [
    "Conversation",
    "Message",
    "Messages",
    "as_list",
    "image_type",
    "inspect",
    "plain_content",
    "with_text",
    "with_text_at_end",
]

Message = Mapping[str, Any]
Messages = str | Iterable[Message]
"""OpenAI messages, or one user message as plain text."""

ROLES = ("system", "user", "assistant", "tool")

MAX_MEDIA_BYTES = 64 * 1024 * 1024
MAX_IMAGES = 16
MAX_SOUNDS = 16

_ADDRESSES = {"image_url": "url", "video_url": "url", "input_audio": "data"}
"""Types of media that servers accept, and the fields of their data or address."""

_NEEDS = {"image_url": {"vision"}, "video_url": {"video", "vision"}, "input_audio": {"audio"}}
"""Modalities of which a model needs one; some servers show single images of a video."""

_IMAGE_MARKS = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftyp", "image/heif"),
)
"""Bytes that identify an image file, their positions, and the media type of such files."""


class Conversation(NamedTuple):
    """Messages that every server version accepts, and what one walk over them has found.

    Attributes:
        messages: The messages.
        media: The parts that are not text, by their places.
        characters: Length of all text in content.
        problem: Why no server answers the conversation, although its tokens can be counted: all
            messages are empty, which mlxcel refuses, or a tool result has no call. None if servers
            answer it.
        has_calls: Whether a message calls tools, or is the result of one.
    """

    messages: list[Message]
    media: dict[str, Any]
    characters: int
    problem: str | None
    has_calls: bool = False

    def check_media(self, features: ServerFeatures | None) -> None:
        """Check the parts that are not text.

        Args:
            features: The server's features, None if unknown.

        Raises:
            MlxcelError: No server or not this model accepts a part, it is too large, or it is not
                the image that it claims to be.
        """
        counts = dict.fromkeys(_ADDRESSES, 0)
        for place, part in self.media.items():
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind not in _ADDRESSES:
                raise MlxcelError(
                    f"{place} has the type {kind!r}, which no server accepts: send text, "
                    "image_url, video_url or input_audio. Extract the text of a document before "
                    "you send it."
                )
            content = part.get(kind)
            address = content.get(_ADDRESSES[kind]) if isinstance(content, Mapping) else None
            if not (address and isinstance(address, str)):
                raise MlxcelError(
                    f"{place} has nothing in {kind}.{_ADDRESSES[kind]}: put the data there, or an "
                    "address."
                )
            _check_data(place, kind, address)
            _check_modality(place, kind, features)
            counts[kind] += 1
        if counts["image_url"] > MAX_IMAGES or counts["input_audio"] > MAX_SOUNDS:
            raise MlxcelError(
                f"There are {counts['image_url']} images and {counts['input_audio']} sounds, but a "
                f"server accepts at most {MAX_IMAGES} of each: send fewer."
            )


def as_list(messages: Messages) -> Sequence[Message]:
    """Return messages as a list.

    Raises:
        MlxcelError: They are neither text nor an iterable of messages.
    """
    if isinstance(messages, list | tuple):
        return messages
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if isinstance(messages, Mapping):
        raise MlxcelError("messages= is a single message: put it into a list, [{...}].")
    if not isinstance(messages, Iterable) or isinstance(messages, bytes | bytearray):
        raise MlxcelError(
            f"messages={shown(messages)} must be a text, or a list of messages such as "
            f'{{"role": "user", "content": "..."}}, not {type(messages).__name__}.'
        )
    return list(messages)


def plain_content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return one string if there is only text, which every chat template takes, else the parts."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def with_text_at_end(messages: Sequence[Message], text: str) -> Sequence[Message]:
    """Return messages with a text at the end of the last message that the model answers.

    Servers reuse what they have computed for the beginning of a prompt, up to the first difference.
    With the text of one request at the end, everything before it stays cheap. It is added to a tool
    result, too, since many templates refuse a user message after one.
    """
    # An assistant's message at the end is the beginning of the answer.
    answered = [at for at, message in enumerate(messages) if message.get("role") != "assistant"]
    if not answered:
        return [*messages, {"role": "user", "content": text}]
    last = answered[-1]
    content = with_text(messages[last].get("content"), text)
    return [*messages[:last], {**messages[last], "content": content}, *messages[last + 1 :]]


def with_text(content: Any, text: str) -> Any:
    """Return the content of a message with a text at its end."""
    if not isinstance(content, list):
        return f"{content or ''}\n\n{text}".lstrip()
    *parts, last = content or [None]
    if isinstance(last, Mapping) and last.get("type") == "text":
        # Not as another part, since servers differ in how they join parts.
        return [*parts, {**last, "text": f"{last.get('text') or ''}\n\n{text}".lstrip()}]
    return [*content, {"type": "text", "text": text}]


def inspect(messages: Messages) -> Conversation:
    """Walk over messages once, check them, and note what requests depend on.

    The role ``developer`` becomes ``system``: mlxcel answers 422 to the former, and templates of
    llama-server silently drop unknown roles.

    Raises:
        MlxcelError: There is no message, or one has no known role.
    """
    messages = as_list(messages)
    if not messages:
        raise MlxcelError("There are no messages to answer: pass at least one user message.")
    checked: list[Message] = []
    media: dict[str, Any] = {}
    texts: list[str] = []
    calls = problem = None
    says_more = False
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            message = _with_known_role(index, message)
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif content is not None:
            _split_parts(index, content, texts, media)
        tool_calls = message.get("tool_calls")
        says_more = says_more or bool(tool_calls or message.get("reasoning_content"))
        if tool_calls and message["role"] == "assistant":
            calls = calls or CallIds()
            message = calls.with_ids(index, message)
        elif message["role"] == "tool":
            calls = calls or CallIds()
            result = calls.of_result(message)
            if result is None and problem is None:
                problem = _missing_call(index, message)
            message = result or message
        checked.append(message)
    if not (media or says_more) and all(not text or text.isspace() for text in texts):
        problem = "All messages are empty: write something into at least one of them."
    has_calls = calls is not None
    return Conversation(checked, media, sum(map(len, texts)), problem, has_calls)


def _missing_call(index: int, message: Message) -> str:
    return (
        f"messages[{index}] is the result of the tool call {message.get('tool_call_id')!r}, but no "
        "message before it makes this call. Keep the assistant message that does, with its "
        "tool_calls."
    )


def _with_known_role(index: int, message: Message) -> Message:
    if not isinstance(message, Mapping):
        raise MlxcelError(
            f"messages[{index}] is {type(message).__name__}, not a dictionary such as "
            '{"role": "user", "content": "..."}. Pass messages of LangChain to ChatMlxcel, and '
            "those of LlamaIndex to Mlxcel."
        )
    role = message.get("role")
    if role == "developer":
        return {**message, "role": "system"}
    import difflib  # slow to import, and only this error needs it

    near = difflib.get_close_matches(str(role), ROLES)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MlxcelError(
        f"messages[{index}] has the unknown role {role!r}; roles are {', '.join(ROLES)}.{hint}"
    )


def _split_parts(index: int, content: Any, texts: list[str], media: dict[str, Any]) -> None:
    """Append the texts among the parts of a message to ``texts``, and the rest to ``media``."""
    if not isinstance(content, list | tuple):
        raise MlxcelError(
            f"messages[{index}].content is {type(content).__name__}: pass a text, or a list of "
            'parts such as {"type": "text", "text": "..."}.'
        )
    for position, part in enumerate(content):
        place = f"messages[{index}].content[{position}]"
        if not (isinstance(part, Mapping) and part.get("type") == "text"):
            media[place] = part
        elif isinstance(text := part.get("text"), str):
            texts.append(text)
        else:
            raise MlxcelError(
                f"{place} has the type text, but its text is {type(text).__name__}: pass a string."
            )


# --------------------------------------------------------------------------- media


def _check_data(place: str, kind: str, address: str) -> None:
    header, _, encoded = address.partition(",")
    if not header.startswith("data:"):
        if kind != "input_audio" or "://" in address:
            return
        encoded = address
    elif not header.endswith(";base64"):
        raise MlxcelError(f"{place} is a data URL that is not base64-encoded: encode it in base64.")
    size = len(encoded) * 3 // 4 - encoded.count("=", -2)
    if size > MAX_MEDIA_BYTES:
        raise MlxcelError(
            f"{place} has {size:,} bytes, but a server accepts at most {MAX_MEDIA_BYTES:,}: make "
            "it smaller."
        )
    try:
        # Some servers do without the padding.
        start = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)[:64]
    except (ValueError, binascii.Error):
        raise MlxcelError(f"{place} is not valid base64: use base64.b64encode.") from None
    if kind == "image_url" and not (header.startswith("data:image/") and image_type(encoded)):
        raise MlxcelError(
            f"{place} is not an image: it begins with {start[:8]!r}. Send PNG, JPEG, WebP or GIF."
        )


def image_type(encoded: str) -> str | None:
    """Return the media type of an image in base64, by its first bytes; None if it is unknown."""
    try:
        # Enough for all marks. Decoding ignores padding beyond what is needed.
        start = base64.b64decode(encoded[:16] + "==")
    except ValueError:
        return None
    return next((kind for at, mark, kind in _IMAGE_MARKS if start.startswith(mark, at)), None)


def _check_modality(place: str, kind: str, features: ServerFeatures | None) -> None:
    # Only servers that name their build list all their modalities.
    known = features is not None and (features.build or features.only_text)
    if features is not None and known and not _NEEDS[kind] & features.modalities:
        accepted = ", ".join(sorted(features.modalities)) or "only text"
        raise MlxcelError(
            f"{place} has the type {kind}, but this model accepts {accepted}. Leave it out, or "
            "use a model that reads it."
        )
