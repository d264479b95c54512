"""Reader of answers in JSON that are calls of prompted tools, or a final text.

The forms are ``{"name": ..., "arguments": ...}``, ``{"calls": [...]}`` of these, and
``{"answer": ...}``. Any other text, as of a server that ignores the schema, is the answer itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..answers.json_end import JSONEnd, is_begun
from ..validation import NOT_JSON, from_json
from .tool_calls import new_id

__all__ = ["CallReader", "call_in_json", "cut_call", "is_call", "is_reply"]

CallPart = dict[str, Any]

JSON_STRING = r'"(?:[^"\\]|\\.)*"'
CALL_START = re.compile(
    rf'[\s,}}]*\{{\s*"name"\s*:\s*({JSON_STRING})\s*,\s*"arguments"\s*:\s*(?=\{{)'
)
"""The beginning of a call, after the end of another one."""

CUT_CALL = re.compile(
    r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"(?:\s*,\s*"arguments"\s*:\s*(.*))?', re.DOTALL
)
"""The beginning of a call in JSON, with its properties in the order of the schema."""

CALLS_START = re.compile(r'\s*\{\s*"calls"\s*:\s*\[')
ANSWER_START = re.compile(r'\s*\{\s*"answer"\s*:\s*(?=["{[])')

MAX_CALL_START = 4096
"""Characters after which the beginning of a call is taken for text; names of tools are shorter."""

WHOLE_CHARACTERS = re.compile(
    r'(?:[^"\\]+|\\[^u]|\\u(?![dD][89abAB])[^"]{4}'
    r'|\\u[^"]{4}(?:\\u[^"]{4}|(?=[^\\]|\\[^u])))*'
)
"""The complete characters of a JSON string; two escapes may stand for one of them."""

MAX_UNIT_CHARACTERS = 12


class CallReader:
    """Reads an answer that arrives in pieces, as text and as parts of calls.

    A small model often repeats a call to the end of its answer. So a call that is equal to an
    earlier one is left out, and held back until it differs.

    Args:
        names: The tools that may be called.

    Attributes:
        called: Whether a whole call has come.
        repeats: Whether the answer has begun to repeat itself.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.called = False
        self.repeats = False
        self._names = names
        self._read: Callable[[], bool] = self._read_beginning
        self._pending = ""
        self._text: list[str] = []
        self._parts: list[CallPart] = []
        self._end = JSONEnd()
        self._count = 0
        self._whole: list[tuple[str, str]] = []
        self._name = ""
        self._arguments: list[str] = []
        self._length = 0
        self._equal: list[str] = []

    def feed(self, piece: str) -> tuple[str, list[CallPart]]:
        """Take the next piece, and return the text and the parts of calls that it brings."""
        self._pending += piece
        while self._pending and self._read():
            pass
        return self._take_parts()

    @property
    def unfinished(self) -> bool:
        """Whether an answer that ended now would be cut off, but not within a call."""
        if self._read == self._read_beginning:
            return is_begun(self._pending)
        return self._read in (self._read_answer_text, self._read_answer_value)

    def close(self) -> tuple[str, list[CallPart]]:
        """Take note that the answer has ended, and return what was held back.

        The beginning of a call that was cut off is left out.
        """
        if self._read == self._read_beginning and not self.unfinished:
            self._read_reordered(self._pending)
        self._pending = ""
        return self._take_parts()

    def _take_parts(self) -> tuple[str, list[CallPart]]:
        text, parts = "".join(self._text), self._parts
        self._text, self._parts = [], []
        return text, parts

    # ----------------------------------------------------------------------- states
    # Each takes what it can from the pending text, and returns whether there may be more to do.

    def _read_beginning(self) -> bool:
        """Read the beginning of the answer, which shows its form."""
        if self._open_call():
            return True
        if begun := CALLS_START.match(self._pending):
            return self._switch_to(self._find_next_call, begun)
        if begun := ANSWER_START.match(self._pending):
            first = self._pending[begun.end()]
            return self._switch_to(
                self._read_answer_text if first == '"' else self._read_answer_value,
                begun,
                begun.end() + (first == '"'),
            )
        text = self._pending.lstrip()
        if (text and text[0] != "{") or len(text) > MAX_CALL_START:
            self._read = self._pass_on_text
            return True
        return False

    def _find_next_call(self) -> bool:
        """Read the beginning of one call in a list."""
        if self._open_call():
            return True
        if len(self._pending) > MAX_CALL_START:
            self._read = self._ignore_rest
        return False

    def _open_call(self) -> bool:
        begun = CALL_START.match(self._pending)
        if begun is None:
            return False
        name = from_json(begun[1])
        if name not in self._names:
            self._read = self._pass_on_text
            return True
        self._end = JSONEnd()
        self._name, self._arguments, self._length = name, [], 0
        self._equal = [arguments for called, arguments in self._whole if called == name]
        if not self._equal:
            self._add_call(name)
        return self._switch_to(self._read_arguments, begun)

    def _read_arguments(self) -> bool:
        """Read the arguments of a call."""
        length = self._end.feed(self._pending)
        piece, self._pending = self._pending[:length], self._pending[length:]
        self._arguments.append(piece)
        if self._equal:
            self._hold_back_repeat(piece)
        else:
            self._add_arguments(piece)
        self._length += length
        if self._end.complete:
            self.called = True
            self._whole.append((self._name, "".join(self._arguments)))
            self._read = self._ignore_rest if self.repeats else self._find_next_call
        return True

    def _hold_back_repeat(self, piece: str) -> None:
        """Hold a call back as long as it may turn out to be equal to an earlier one."""
        place = self._length
        self._equal = [each for each in self._equal if each.startswith(piece, place)]
        if self._end.complete:
            self._equal = [each for each in self._equal if len(each) == place + len(piece)]
            self.repeats = bool(self._equal)
        if not self._equal:
            self._add_call(self._name, "".join(self._arguments))

    def _read_answer_text(self) -> bool:
        """Read the text of an answer."""
        units = WHOLE_CHARACTERS.match(self._pending)
        length = units.end() if units is not None else 0
        if not length and self._pending[0] != '"':
            if len(self._pending) < MAX_UNIT_CHARACTERS:
                return False
            length = 1  # not a valid escape
        self._text.append(_string_text(self._pending[:length]))
        self._pending = self._pending[length:]
        if self._pending[:1] == '"':
            self._read = self._ignore_rest
        return True

    def _read_answer_value(self) -> bool:
        """Read the object or list of an answer, as it is."""
        length = self._end.feed(self._pending)
        self._text.append(self._pending[:length])
        self._pending = self._pending[length:]
        if self._end.complete:
            self._read = self._ignore_rest
        return True

    def _pass_on_text(self) -> bool:
        self._text.append(self._pending)
        self._pending = ""
        return False

    def _ignore_rest(self) -> bool:
        self._pending = ""
        return False

    # ----------------------------------------------------------------------- steps

    def _switch_to(
        self, read: Callable[[], bool], begun: re.Match[str], length: int | None = None
    ) -> bool:
        self._read = read
        self._pending = self._pending[begun.end() if length is None else length :]
        return True

    def _add_call(self, name: str, arguments: str = "") -> None:
        self._parts.append(_new_call(self._count, name, arguments))
        self._count += 1

    def _add_arguments(self, piece: str) -> None:
        """Add to the last part, or make a new one."""
        if not self._parts:
            self._parts.append({"index": self._count - 1, "function": {"arguments": ""}})
        self._parts[-1]["function"]["arguments"] += piece

    def _read_reordered(self, text: str) -> None:
        """Read an answer whose properties are in another order."""
        calls = _calls_in(from_json(text), self._names)
        if not calls:
            self._text.append(text)
            return
        self.called = True
        self._parts += [call_in_json(number, call) for number, call in enumerate(calls)]


def is_call(value: Any, names: Collection[str]) -> bool:
    """Return whether a value is a call of one of the tools with these names."""
    return (
        isinstance(value, dict)
        and value.keys() == {"name", "arguments"}
        and isinstance(value["name"], str)
        and value["name"] in names
        and isinstance(value["arguments"], dict)
    )


def is_reply(value: Any, names: Collection[str]) -> bool:
    """Return whether a value has one of the forms of an answer: calls of these tools, or a text."""
    return bool(_calls_in(value, names)) or (isinstance(value, dict) and value.keys() == {"answer"})


def _calls_in(value: Any, names: Collection[str]) -> list[Mapping[str, Any]]:
    """Return the calls that a value holds, an empty list if it holds anything else."""
    calls = value.get("calls", [value]) if isinstance(value, dict) else None
    if not isinstance(calls, list) or not all(is_call(call, names) for call in calls):
        return []
    return calls


def cut_call(text: str, names: Collection[str], *, required: bool) -> CallPart | None:
    """Return the call in an answer in JSON that was cut off, None if it was not a call.

    Its arguments are not JSON. Its name is empty if it is not known.

    Args:
        text: The answer.
        names: The tools that may be called.
        required: Whether nothing but a call was allowed.
    """
    begun = CUT_CALL.match(text)
    if begun is not None and begun[1] in names and from_json(text) is NOT_JSON:
        return _new_call(0, begun[1], begun[2] or "{")
    if required and is_begun(text):
        return _new_call(0, next(iter(names)) if len(names) == 1 else "", text.lstrip() or "{")
    return None


def call_in_json(index: int, call: Mapping[str, Any]) -> CallPart:
    """Return the part of an answer for a call as the model has written it."""
    return _new_call(index, call["name"], json.dumps(call["arguments"], ensure_ascii=False))


def _new_call(index: int, name: str, arguments: str) -> CallPart:
    """Return the part of an answer that begins a call."""
    return {
        "index": index,
        "id": new_id(),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _string_text(text: str) -> str:
    """Return the text in the inside of a JSON string; unchanged if that is not valid JSON."""
    if "\\" not in text:
        return text
    value = from_json(f'"{text}"')
    return text if value is NOT_JSON else value
