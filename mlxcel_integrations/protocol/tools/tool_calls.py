"""Tool calls: each gets a unique id and index, and each result gets the id of its call.

Servers and other providers leave ids out, or give the same one to several calls.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import MlxcelError
from ..answers.json_end import JSONEnd
from ..answers.repetition import MAX_BLANK
from ..body import as_plain
from ..validation import JsonMapping, JsonObject, are_calls, call_arguments

__all__ = ["CallIds", "CallNumbering", "CallParts", "new_id", "tool_call"]


def tool_call(name: Any, arguments: Any, call_id: Any) -> dict[str, Any]:
    """Return a tool call in OpenAI's form.

    llama.cpp answers 500 to arguments that are not JSON, so these are sent as a JSON string.

    Args:
        name: Name of the tool.
        arguments: The arguments: an object, its JSON, or a text that is not JSON; None for none.
        call_id: The call's id, None without one.

    Raises:
        TypeError: The arguments hold something that is not JSON.
        ValueError: The same.
    """
    if isinstance(arguments, str):
        arguments = _object_in(arguments)
    text = _to_json({} if arguments is None else arguments)
    function = {"name": str(name or ""), "arguments": text}
    return {"type": "function", "id": str(call_id or ""), "function": function}


def _object_in(arguments: str) -> dict[str, Any] | str:
    """Return the object that JSON holds, or the text itself."""
    value = call_arguments(arguments)
    return arguments if value is None else value


def _to_json(arguments: Any) -> str:
    try:
        return json.dumps(arguments, ensure_ascii=False, allow_nan=False, default=as_plain)
    except ValueError:
        # NaN and the infinities, which models write and Python reads, are not JSON.
        text = json.dumps(arguments, ensure_ascii=False, default=as_plain)
        return json.dumps(text, ensure_ascii=False)


def _with_json(call: JsonMapping) -> JsonMapping:
    """Return a call whose arguments are JSON; Ollama and others have an object there."""
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), Mapping):
        return call
    arguments = _to_json(function["arguments"])
    return {**call, "function": {**function, "arguments": arguments}}


# --------------------------------------------------------------------------- conversations


class _PendingCall(NamedTuple):
    """A call that has no result yet: its id as given, its name, and its id as sent."""

    given: Any
    name: Any
    sent: str


class CallIds:
    """Ids of the calls in a conversation, given to its messages one after the other."""

    def __init__(self) -> None:
        self._sent: dict[Any, str] = {}
        self._used: set[str] = set()
        self._open: list[_PendingCall] = []

    def with_ids(self, index: int, message: JsonMapping) -> JsonMapping:
        """Return an assistant message whose calls have unique ids.

        Args:
            index: Its place in the conversation, for errors.
            message: The message.

        Raises:
            MlxcelError: A call is not a dictionary, or its arguments are not JSON.
        """
        calls = message["tool_calls"]
        if not isinstance(calls, Sequence) or not all(isinstance(call, Mapping) for call in calls):
            raise MlxcelError(
                f'messages[{index}] has tool_calls that are not a list such as [{{"id": ..., '
                '"type": "function", "function": {"name": ..., "arguments": ...}}].'
            )
        self._open = []
        try:
            named = [self._with_id(_with_json(call)) for call in calls]
        except (ValueError, TypeError, RecursionError) as error:
            raise MlxcelError(
                f"messages[{index}] has a tool call whose arguments cannot be written as JSON: "
                f"{error}."
            ) from error
        if all(new is call for new, call in zip(named, calls, strict=True)):
            return message
        return {**message, "tool_calls": named}

    def _with_id(self, call: Mapping[str, Any]) -> Mapping[str, Any]:
        given = call.get("id")
        if isinstance(given, str) and given.strip() and given not in self._used:
            sent = given
        else:
            sent = self._new_id()
        self._used.add(sent)
        if given:
            self._sent[str(given)] = sent
        function = call.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        self._open.append(_PendingCall(given, name, sent))
        return call if sent is given else {**call, "id": sent}

    def _new_id(self) -> str:
        """Return an id that is the same whenever the conversation is sent.

        Mistral's chat templates demand nine letters and digits.
        """
        number = len(self._used)
        while (name := f"call{number:05}") in self._used:
            number += 1
        return name

    def of_result(self, message: JsonMapping) -> JsonMapping | None:
        """Return the result of a tool with the id of its call, None if there is no such call."""
        given = message.get("tool_call_id")
        sent = self._find_pending(given, message.get("name"))
        if sent is None:
            return None
        return message if sent == given else {**message, "tool_call_id": sent}

    def _find_pending(self, given: Any, name: Any) -> str | None:
        for number, call in enumerate(self._open):
            if given and given == call.given:
                return self._open.pop(number).sent
        if given and str(given) in self._sent:
            return self._sent[str(given)]
        # Ollama and Vertex know no ids: some adapters put the name of the tool in their place, or
        # give an id to the result alone.
        without = [call for call in self._open if not (given and call.given)]
        named = [call for call in self._open if call.name == given]
        named += [call for call in without if call.name == name]
        found = next(iter(named or without), None)
        if found is None:
            return None
        self._open.remove(found)
        return found.sent


# --------------------------------------------------------------------------- answers


class _StartedCall:
    """A call of an answer, of which parts have come."""

    def __init__(self, index: int, given: str) -> None:
        self.index = index
        self.given = given
        self.name = ""
        self.arguments = JSONEnd()
        self._blank = 0

    def add(self, piece: str) -> str:
        """Take a piece of its arguments, and return it without endless white space.

        Some models go on with nothing else, and LangChain takes quadratic time for it.
        """
        self.arguments.feed(piece)
        if self.arguments.in_string or self.arguments.endless:
            self._blank = 0
            return piece
        text = piece.rstrip()
        before = 0 if text else self._blank
        self._blank = before + len(piece) - len(text)
        return piece[: len(text) + max(MAX_BLANK - before, 0)]


class CallNumbering:
    """Ids and indices of the calls in one answer, given to their parts as they come.

    In OpenAI's form an index in each part says which call it belongs to, and the first part has
    the id. Older servers leave out either, or send the same for several calls.
    """

    def __init__(self) -> None:
        self._by_index: dict[int, _StartedCall] = {}
        self._by_id: dict[str, _StartedCall] = {}
        self._last: _StartedCall | None = None
        self._used: set[int] = set()
        self._next = 0

    def number(self, parts: Sequence[JsonMapping]) -> list[JsonObject]:
        """Return the parts, each with the index of its call, and the first with the call's id.

        Parts that have nothing but endless white space are left out.

        Raises:
            TypeError: They are not parts of calls.
        """
        if not are_calls(parts):
            raise TypeError
        return [found for part in parts if (found := self._numbered(part)) is not None]

    def _numbered(self, part: JsonMapping) -> JsonObject | None:
        function: Mapping[str, Any] = part.get("function") or {}
        given, index = (part.get("id") or "").strip(), part.get("index")
        name = function.get("name") or ""
        call = self._call_of(given, index)
        numbered = dict(part)
        if call is None or _is_another(call, given, name):
            call = self._begin(given, index)
            numbered["id"] = self._own_id(call)
        elif "id" in numbered:
            # Frameworks would join the ids of all parts.
            del numbered["id"]
        if name and call.name:
            function = {**function, "name": None}
        call.name = call.name or name
        piece = function.get("arguments") or ""
        if (short := call.add(piece)) != piece:
            function = {**function, "arguments": short}
        if function:
            numbered["function"] = function
        self._last = call
        numbered["index"] = call.index
        adds = short or not piece or "id" in numbered or function.get("name")
        return numbered if adds else None

    def _call_of(self, given: str, index: int | None) -> _StartedCall | None:
        """Return the call that a part belongs to, unless it begins one."""
        if index is not None:
            return self._by_index.get(index)
        return self._by_id.get(given) if given else self._last

    def _begin(self, given: str, index: int | None) -> _StartedCall:
        own = self._next if index is None or index in self._used else index
        self._used.add(own)
        self._next = max(self._next, own + 1)
        call = _StartedCall(own, given)
        self._by_index[own if index is None else index] = call
        return call

    def _own_id(self, call: _StartedCall) -> str:
        own = call.given
        if not own or own in self._by_id:
            own = new_id()
        self._by_id[own] = call
        if call.given:
            self._by_id[call.given] = call
        return own


def new_id() -> str:
    """Return the id of a call to which the server has given none."""
    return f"call_{os.urandom(16).hex()}"


def _is_another(call: _StartedCall, given: str, name: str) -> bool:
    """Return whether a part begins another call than the one that its index or id names."""
    if given and given == call.given:
        # Some servers repeat id and name in each part of a call.
        return bool(name and call.name) and (call.arguments.complete or name != call.name)
    return bool((given and call.given) or (name and call.name))


class CallParts:
    """Tool calls that arrive in numbered parts, in time proportional to their length.

    Attributes:
        length: Number of characters in the names and arguments of all calls.
    """

    def __init__(self) -> None:
        self.length = 0
        self._calls: dict[int, _Parts] = {}

    def add(self, parts: Iterable[JsonMapping]) -> None:
        """Add parts to the calls that their indices name."""
        for part in parts:
            call = self._calls.setdefault(part["index"], _Parts())
            call.id = part.get("id") or call.id
            function = part.get("function") or {}
            if function.get("name"):
                self.length += len(function["name"]) - len(call.name)
                call.name = function["name"]
            if function.get("arguments"):
                self.length += len(function["arguments"])
                call.arguments.append(function["arguments"])

    def __len__(self) -> int:
        """Return the number of calls."""
        return len(self._calls)

    def joined(self) -> list[dict[str, Any]]:
        """Return the calls so far, in the order of their indices."""
        return [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            for _, call in sorted(self._calls.items())
        ]


class _Parts:
    """One tool call, in parts."""

    def __init__(self) -> None:
        self.id = self.name = ""
        self.arguments: list[str] = []
