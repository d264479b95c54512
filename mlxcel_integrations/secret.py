"""Secrets: keys and header values that nothing shows by accident, and texts without them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, Self, SupportsIndex, TypeVar
from weakref import WeakKeyDictionary

from .errors import MlxcelError
from .forks import fork_safe_lock

__all__ = [
    "KEY_FLAGS",
    "STARS",
    "NotPicklable",
    "Secret",
    "hidden",
    "hidden_values",
    "key_flag",
    "key_prefix_start",
    "redacted",
    "with_hidden_key",
    "with_secrets",
    "without_password",
]

STARS = b"***"

_MIN_KEY_LENGTH = 6
"""Characters of the shortest key that is searched for; a shorter one is part of many words."""

_SPACE = b" \t\r\n\v\f"
_GAP_BYTES = 256
"""Spaces that may interrupt a key of which only the first part has come."""

KEY_FLAGS = {
    "--api-key": "pass the key as api_key=",
    "--hf-token": "set HF_TOKEN in the environment",
    "-hft": "set HF_TOKEN in the environment",
}
"""Flags of servers that are followed by a key, and what to do instead."""

_SCHEME = r"(?i)(?:basic|bearer|token)\s+(?=\S)"
"""The word before the key in the value of a header."""

_NO_PASSWORD = r"(?is)https?://(\[[0-9a-f:.%]+\]|[^/@:?#\s]+)(:\d*)?([/?#].*)?|unix:/.*"
"""An address that certainly has no user name and no password."""

_ENTITIES = {b"&": "&amp;", b"<": "&lt;", b">": "&gt;", b'"': "&quot;", b"'": "&apos;"}
"""Names of characters in HTML, beside their numbers."""

Text = TypeVar("Text", str, bytes)


class NotPicklable:
    """An object that holds a key, or connections, and refuses to be pickled."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled, since it holds a key: make a new one in the "
            "other process, and set MLXCEL_API_KEY there."
        )

    def __reduce__(self) -> NoReturn:
        self.__reduce_ex__(0)

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(0)


class Secret(NotPicklable):
    """A key that no repr, no traceback with locals and no pickle shows.

    Args:
        value: The key.
    """

    __slots__ = ("__weakref__",)

    def __init__(self, value: str) -> None:
        # Not in an attribute or a closure, where debuggers and pickling would find it.
        with _lock:
            _held[self] = _Key(value)

    def reveal(self) -> str:
        """Return the key. Do not put it into a variable: a traceback would show that."""
        return _held[self].value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class _Key:
    """A key, and the forms in which a text may show it."""

    def __init__(self, value: str) -> None:
        self.value = value
        self._forms: list[bytes] | None = None
        self._patterns: list[re.Pattern[bytes]] = []

    @property
    def forms(self) -> list[bytes]:
        """The key, its hexadecimal digits and its Base64 encodings, without white space."""
        if self._forms is None:
            plain = re.sub(_SCHEME, "", str(self.value), count=1).encode("utf-8", "surrogatepass")
            digits = plain.hex().encode()
            forms = [plain.translate(None, _SPACE), *_base64_forms(plain), digits, digits.upper()]
            self._patterns = [_pattern(form) for form in forms if form]
            self._forms = [form for form in forms if form]
        return self._forms

    def hide(self, raw: bytes) -> bytes:
        """Replace the key in all of its forms."""
        if self.forms:
            for pattern in self._patterns:
                raw = pattern.sub(_stars, raw)
        return raw


_held: WeakKeyDictionary[Secret, _Key] = WeakKeyDictionary()
# Reentrant, since the garbage collector may run code that makes a secret.
_lock = fork_safe_lock()


def hidden(key: Any) -> Secret | None:
    """Return a key as a secret, without the line end that keys from files have.

    Args:
        key: A string, a ``Secret``, or a secret of Pydantic; None for no key.

    Raises:
        MlxcelError: It is of another type.
    """
    if isinstance(key, Secret):
        return key
    if hasattr(key, "get_secret_value"):
        return hidden(key.get_secret_value())
    _check_key(key)
    return Secret(key.strip()) if key else None


def hidden_values(values: Mapping[str, Any] | None) -> dict[str, Secret]:
    """Return a dictionary with its values, strings or secrets of Pydantic, as secrets.

    Raises:
        MlxcelError: It is not a dictionary.
    """
    _check_headers(values)
    return {
        name: Secret(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
        for name, value in (values or {}).items()
    }


def _check_key(key: Any) -> None:
    if hasattr(key, "get_secret_value"):
        _check_key(key.get_secret_value())
    elif not isinstance(key, str | Secret | None):
        raise MlxcelError(f"api_key= must be a str, not {type(key).__name__}.")


def _check_headers(values: Any) -> None:
    if not isinstance(values, Mapping | None):
        raise MlxcelError(
            'default_headers= must be a dictionary such as {"x-team": "blue"}, not '
            f"{type(values).__name__}."
        )


def with_hidden_key(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a client without any secret in plain text.

    Raises:
        MlxcelError: The key or the headers are of another type.
    """
    key, headers = options.get("api_key"), options.get("default_headers")
    hidden_ones = {"api_key": hidden(key), "default_headers": hidden_values(headers)}
    return with_secrets({**options, **hidden_ones})


def with_secrets(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with the key, header values, passwords and keys of arguments hidden.

    Raises:
        MlxcelError: The key or the headers are of another type, whose value Pydantic would show.
    """
    options = dict(options)
    _check_key(options.get("api_key"))
    if isinstance(options.get("api_key"), str):
        options["api_key"] = _pydantic_secret(options["api_key"])
    _check_headers(options.get("default_headers"))
    if isinstance(options.get("default_headers"), Mapping):
        headers = options["default_headers"].items()
        options["default_headers"] = {
            name: value if _is_secret(value) else _pydantic_secret(value) for name, value in headers
        }
    if isinstance(options.get("base_url"), str):
        options["base_url"] = without_password(options["base_url"])
    if isinstance(options.get("extra_args"), list | tuple):
        options["extra_args"] = tuple(_without_keys(options["extra_args"]))
    return options


def _is_secret(value: object) -> bool:
    return isinstance(value, Secret) or hasattr(value, "get_secret_value")


def key_flag(word: object) -> str | None:
    """Return the flag in a word of a command line if a key follows it, else None."""
    # llama-server takes underscores for dashes.
    flag = str(word).partition("=")[0].replace("_", "-")
    return flag if flag in KEY_FLAGS else None


def without_password(url: str) -> str:
    """Return an address with stars in place of what may be a password or a key in it."""
    before, at, host = url.rpartition("@")
    # There may be one in a path, too.
    if at and not re.fullmatch(_NO_PASSWORD, url):
        scheme = re.match(r"[a-z]*:?/*", before, re.IGNORECASE)
        kept = scheme.group() if scheme and scheme.group().endswith("/") else ""
        url = f"{kept}***@{host}"
    # No request keeps a query or a fragment, which may hold a key.
    shown = re.match(r"(?i)https?://[^?#]*[?#]", url)
    return f"{shown.group()}***" if shown else url


def redacted(text: Text, own: Secret | None = None) -> Text:
    """Return a text with stars in place of every key that this process holds.

    Keys are also found in Base64, in hexadecimal digits, percent-encoded, with escapes of JSON or
    entities of HTML, and split over lines; each line keeps its stars.

    Args:
        text: The text, or its bytes.
        own: A key that is searched for even if it is very short.
    """
    if isinstance(text, str):
        # Surrogates come from file names; they are not what is searched for.
        raw = redacted(text.encode("utf-8", "surrogatepass"), own)
        return raw.decode("utf-8", "surrogatepass")
    for key in _keys(own):
        text = key.hide(text)
    return text


def key_prefix_start(raw: bytes, own: Secret | None = None, least: int = 1) -> int:
    """Return where the first part of a key begins at the end of bytes; their length without one.

    Args:
        raw: The bytes.
        own: A key that is searched for even if it is very short.
        least: Bytes of this key that are needed to recognize it; of others it takes more.
    """
    value = own.reveal() if own is not None else None
    begins = [
        _prefix_start(raw, form, least if key.value == value else max(least, _MIN_KEY_LENGTH))
        for key in _keys(own)
        for form in key.forms
    ]
    return min(begins, default=len(raw))


def _keys(own: Secret | None) -> Iterator[_Key]:
    """Yield the keys to search for, the longest first: one may be part of another."""
    with _lock:
        held = list(_held.values())
    # Header values of a wrong type are held, too, until they are refused.
    known = {text: key for key in held if len(text := str(key.value)) >= _MIN_KEY_LENGTH}
    if own is not None:
        known[own.reveal()] = _held[own]
    yield from sorted(known.values(), key=lambda key: -len(str(key.value)))


def _base64_forms(plain: bytes) -> Iterator[bytes]:
    """Yield the characters that depend on a key alone, wherever it begins in the encoded bytes."""
    for shift, first in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(shift) + plain)
        form = encoded[first : (shift + len(plain)) * 8 // 6]
        if len(form) >= _MIN_KEY_LENGTH:
            yield form


def _pattern(form: bytes) -> re.Pattern[bytes]:
    """Return a pattern for a form of a key, with white space and escapes anywhere inside."""
    # Not nested, and each with one way to match: the time is proportional to the text's length.
    gap = rb"(?:\s|\\[nrt\\\"'/]?)*"
    return re.compile(gap.join(_character(form[i : i + 1]) for i in range(len(form))))


def _character(byte: bytes) -> bytes:
    """Return a pattern for a character as it is, percent-encoded, escaped, or an HTML entity."""
    high, low = (f"[{digit}{digit.upper()}]" for digit in byte.hex())
    number, zeros = str(byte[0]), r"(?:0\s*)*"
    encoded = [
        ["%", r"(?:2\s*5\s*)*" + high, low],
        [r"\\", "u", "0", "0", high, low],
        [r"\\", "x", high, low],
        ["&", "#", zeros + number[0], *number[1:], ";"],
        ["&", "#", "[xX]", zeros + high, low, ";"],
        [*_ENTITIES.get(byte, ())],
    ]
    # A line may end within them.
    spread = [r"\s*".join(parts).encode() for parts in encoded if parts]
    # Base64 for URLs has other characters than the usual one.
    literal = {b"+": rb"\+|-", b"/": rb"/|_"}.get(byte, re.escape(byte))
    return rb"(?:%b)" % b"|".join([literal, *spread])


def _prefix_start(raw: bytes, form: bytes, least: int) -> int:
    tail = raw[-2 * len(form) - _GAP_BYTES :].translate(None, _SPACE)
    at = tail.find(form[:1], max(0, len(tail) - len(form) + 1))
    while at >= 0 and not form.startswith(tail[at:]):
        at = tail.find(form[:1], at + 1)
    missing = len(tail) - at
    if at < 0 or missing < least:
        return len(raw)
    position = len(raw)
    while missing:
        position -= 1
        missing -= raw[position] not in _SPACE
    return position


def _pydantic_secret(value: str) -> Any:
    # The core does without Pydantic until it needs it.
    from pydantic import SecretStr

    return SecretStr(value)


def _without_keys(words: Iterable[Any]) -> Iterator[Any]:
    """Yield the words of a command line, with stars in place of keys."""
    follows_flag = False
    for word in words:
        flag = key_flag(word)
        if flag is not None:
            yield f"{flag}=***" if "=" in word else flag
        else:
            yield "***" if follows_flag else word
        follows_flag = flag is not None and "=" not in word


def _stars(found: re.Match[bytes]) -> bytes:
    return b"\n".join([STARS] * (found.group().count(b"\n") + 1))
