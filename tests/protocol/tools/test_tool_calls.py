"""Tool calls: their ids and indices, and the results that belong to them."""

from __future__ import annotations

import json
import math
from array import array
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.messages import inspect
from mlxcel_integrations.protocol.tools.tool_calls import (
    CallIds,
    CallNumbering,
    CallParts,
    tool_call,
)
from tests.fakes.call_parts import LACKING, PARIS, ROME, WAYS, Json, Parts, part

# --------------------------------------------------------------------------- one call


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"city": "Zürich"}, '{"city": "Zürich"}'),
        ('{"a": 1}', '{"a": 1}'),
        ('{"a":1}', '{"a": 1}'),
        ("", "{}"),
        (None, "{}"),
        ({}, "{}"),
        ({"a": array("d", [1, 2])}, '{"a": [1.0, 2.0]}'),
        ('{"a": 1', '"{\\"a\\": 1"'),
        ("[1]", '"[1]"'),
        ("1", '"1"'),
    ],
)
def test_arguments_are_always_json(arguments: Any, expected: str) -> None:
    function = {"name": "f", "arguments": expected}

    assert {"type": "function", "id": "c", "function": function} == tool_call("f", arguments, "c")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_arguments_with_a_number_that_json_lacks_are_a_json_string(number: float) -> None:
    np = pytest.importorskip("numpy")
    given = {"n": number, "city": "Zürich", "m": np.int64(3)}
    made = tool_call("f", given, None)["function"]["arguments"]

    assert '"{' == made[:2]
    assert "Zürich" in made
    assert json.dumps({**given, "m": 3}, ensure_ascii=False) == json.loads(made)


def test_arguments_that_are_nested_too_deeply_are_a_json_string() -> None:
    text = '{"a": ' * 100_000

    assert text == json.loads(tool_call("f", text, None)["function"]["arguments"])


def test_a_call_may_lack_a_name_and_an_id() -> None:
    empty = {"type": "function", "id": "", "function": {"name": "", "arguments": "{}"}}

    assert empty == tool_call(None, None, None)


# --------------------------------------------------------------------------- conversations

USER = {"role": "user", "content": "hi"}


def asked(*calls: str | tuple[Any, str] | None) -> Json:
    """Return an answer with calls, by their ids, or by their ids and names."""
    made: list[Json] = []
    for call in calls:
        identity, name = call if isinstance(call, tuple) else (call, "f")
        function = {"name": name, "arguments": "{}"}
        made.append({"id": identity, "type": "function", "function": function})
    return {"role": "assistant", "content": "", "tool_calls": made}


def result(call: Any = None, name: str | None = None) -> Json:
    more = {} if name is None else {"name": name}
    return {"role": "tool", "content": "x", "tool_call_id": call, **more}


CONVERSATIONS: dict[str, tuple[list[Json], list[list[str]]]] = {
    "as they should be": ([asked("a", "b"), result("a"), result("b")], [["a", "b"], ["a"], ["b"]]),
    "in another order": ([asked("a", "b"), result("b"), result("a")], [["a", "b"], ["b"], ["a"]]),
    "one result twice": (
        [asked("a", "b"), result("a"), result("a")],
        [["a", "b"], ["a"], ["a"]],
    ),
    "much later": (
        [asked("a"), asked("b"), result("b"), result("a")],
        [["a"], ["b"], ["b"], ["a"]],
    ),
    "no results": ([asked("a", "b")], [["a", "b"]]),
    "no ids": (
        [asked(None, None), result(), result()],
        [["call00000", "call00001"], ["call00000"], ["call00001"]],
    ),
    "empty ids": (
        [asked("", ""), result(""), result("")],
        [["call00000", "call00001"], ["call00000"], ["call00001"]],
    ),
    "the same id twice": (
        [asked("a", "a"), result("a"), result("a")],
        [["a", "call00001"], ["a"], ["call00001"]],
    ),
    "the same id in each turn": (
        [asked("0"), result("0"), asked("0"), result("0")],
        [["0"], ["0"], ["call00001"], ["call00001"]],
    ),
    "names as the ids of results": (
        [asked((None, "f"), (None, "g"), (None, "f")), result("g"), result("f"), result("f")],
        [
            ["call00000", "call00001", "call00002"],
            ["call00001"],
            ["call00000"],
            ["call00002"],
        ],
    ),
    "names as all ids": (
        [asked(("f", "f"), ("f", "f")), result("f"), result("f")],
        [["f", "call00001"], ["f"], ["call00001"]],
    ),
    "names beside the results": (
        [asked((None, "f"), (None, "g")), result(None, "g"), result("", "f")],
        [["call00000", "call00001"], ["call00001"], ["call00000"]],
    ),
    "a name that no call has": (
        [asked((None, "f")), result(None, "other")],
        [["call00000"], ["call00000"]],
    ),
    "an id that a new one might have": (
        [asked("call00001", None), result("call00001"), result()],
        [["call00001", "call00002"], ["call00001"], ["call00002"]],
    ),
    "ids of results alone": (
        [asked(None, None), result("x"), result("y")],
        [["call00000", "call00001"], ["call00000"], ["call00001"]],
    ),
    "ids and names of results alone": (
        [asked((None, "f"), (None, "g")), result("x", "g"), result("y", "f")],
        [["call00000", "call00001"], ["call00001"], ["call00000"]],
    ),
    "an id that is a number": ([asked((5, "f")), result(5)], [["call00000"], ["call00000"]]),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_results_find_their_calls(name: str) -> None:
    messages, expected = CONVERSATIONS[name]

    conversation = inspect([USER, *messages])

    assert conversation.problem is None
    assert expected == [
        [call["id"] for call in message["tool_calls"]]
        if "tool_calls" in message
        else [message["tool_call_id"]]
        for message in conversation.messages[1:]
    ]


def test_messages_whose_ids_are_right_are_passed_on_as_they_are() -> None:
    messages = [asked("a"), result("a")]

    for before, after in zip(messages, inspect(messages).messages, strict=True):
        assert before is after


def test_arguments_that_are_an_object_become_json() -> None:
    """Ollama's own messages have objects there, which mlxcel answers with 422."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"city": "Köln"}}}
    before = {**call, "function": dict(call["function"])}  # type: ignore[call-overload]  # a dict

    (message,) = inspect([{"role": "assistant", "content": "", "tool_calls": [call]}]).messages

    assert '{"city": "Köln"}' == message["tool_calls"][0]["function"]["arguments"]
    assert before == call


def test_arguments_that_cannot_be_json_are_named() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": {"day": object()}}}

    with pytest.raises(MlxcelError, match=r"messages\[1\] has a tool call whose arguments"):
        inspect([USER, {"role": "assistant", "content": "", "tool_calls": [call]}])


def test_the_messages_of_the_user_are_left_alone() -> None:
    messages = [asked(None), result()]
    inspect(messages)

    assert [asked(None), result()] == messages


def test_ids_stay_when_a_conversation_grows() -> None:
    messages = [asked(None, "a"), result(), result("a"), asked("a"), result("a")]

    assert inspect(messages).messages[:3] == inspect(messages[:3]).messages


def test_new_ids_are_such_that_mistral_s_templates_take_them() -> None:
    (call,) = CallIds().with_ids(0, asked(None))["tool_calls"]

    assert 9 == len(call["id"])
    assert call["id"].isalnum()


# --------------------------------------------------------------------------- answers


def joined(deltas: Parts) -> list[tuple[str, str, str]]:
    """Return the id, name and arguments of each call."""
    numbering, parts = CallNumbering(), CallParts()
    for delta in deltas:
        parts.add(numbering.number(delta))
    return [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in parts.joined()
    ]


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("way", WAYS)
def test_calls_do_not_flow_into_each_other(name: str, way: str) -> None:
    given = LACKING[name]

    calls = joined(WAYS[way](*given))

    assert [("f", PARIS), ("f", ROME)] == [call[1:] for call in calls]
    ids = [call[0] for call in calls]
    assert 2 == len(set(ids))
    assert all(ids)
    for identity, more in zip(ids, given, strict=True):
        if more.get("id", "").strip() if isinstance(more.get("id"), str) else False:
            assert identity == more["id"] or more["id"] in ids


@pytest.mark.parametrize("repeated", [{"id": "a"}, {"id": ""}, {"id": None}])
def test_an_id_that_each_part_repeats_is_passed_on_once(repeated: Json) -> None:
    numbering = CallNumbering()
    deltas = [numbering.number([part(letter, index=0, **repeated)])[0] for letter in PARIS]

    assert deltas[0]["id"]
    assert not any("id" in delta for delta in deltas[1:])


def test_a_name_that_each_part_repeats_is_passed_on_once() -> None:
    numbering = CallNumbering()
    deltas = [numbering.number([part(letter, "f", index=0, id="a")])[0] for letter in PARIS]

    assert ["f"] == [name for delta in deltas if (name := delta["function"].get("name"))]
    assert [("a", "f", PARIS)] == joined([[part(letter, "f", id="a")] for letter in PARIS])


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([[part("{}", "f", index=2, id="c")], [part("{}", "g", index=0, id="a")]], ["a", "c"]),
        (
            [
                [part(None, "f", index=0, id="a"), part(None, "g", index=1, id="b")],
                [part("{", index=0), part("{", index=1)],
                [part("}", index=1), part("}", index=0)],
            ],
            ["a", "b"],
        ),
        ([[part(None, "f", id="a")], [part(None, "g", id="b")], [part("{}", id="a")]], ["a", "b"]),
        ([[part(None, "now", index=0)], [part(None, "here", index=0)]], [None, None]),
        ([[part("{", "f", index=0)], [part("}", index=0, id="late")]], [None]),
        ([[part('{"a', "f", index=0)], [part("{}", "f", index=0)]], [None, None]),
        ([[{"index": 0}], [{"function": None}]], [None]),
    ],
    ids=[
        "out of order",
        "interleaved",
        "interleaved by id",
        "without arguments",
        "a late id",
        "malformed",
        "empty",
    ],
)
def test_parts_belong_to_their_calls(deltas: Parts, expected: list[str | None]) -> None:
    calls = joined(deltas)

    assert len(expected) == len(calls)
    for (identity, _, _), wanted in zip(calls, expected, strict=True):
        assert wanted in (None, identity)
        assert identity


def test_parts_keep_their_other_fields_and_are_left_alone() -> None:
    given = part("{}", "f", index=0, id="a", type="function")

    (numbered,) = CallNumbering().number([given])

    assert given == numbered
    assert given is not numbered


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(['{"a":', *"\n" * 999, "1}"], '{"a":' + "\n" * 256 + "1}", id="in pieces"),
        pytest.param(['{"a":' + " " * 999, "1}"], '{"a":' + " " * 256 + "1}", id="in one"),
        pytest.param([" " * 200, " " * 200, "{}"], " " * 256 + "{}", id="before the arguments"),
        pytest.param([" " * 200, "{", " " * 200, "}"], None, id="not in a row"),
        pytest.param(['{"a": "', *" " * 999, '"}'], None, id="in a string"),
        pytest.param(['"' + " " * 999, '"'], None, id="no object"),
    ],
)
def test_white_space_goes_on_outside_of_strings_only_so_far(
    pieces: list[str], expected: str | None
) -> None:
    calls = joined([[part(piece, index=0)] for piece in pieces])

    assert (expected or "".join(pieces)) == calls[0][2]


def test_parts_that_add_nothing_but_endless_white_space_are_left_out() -> None:
    numbering, blank = CallNumbering(), " " * 300

    assert 1 == len(numbering.number([part(blank, "f", index=0, id="a")]))
    assert [] == numbering.number([part(blank, index=0), part(blank, "f", index=0, id="a")])
    assert 1 == len(numbering.number([part(blank, "f", index=1)]))


def test_calls_without_an_index_are_counted_and_parts_may_name_it_later() -> None:
    numbering = CallNumbering()
    first, second = numbering.number([part("{", "f", id="a"), part("{}", "g", id="b")])
    (rest,) = numbering.number([part("}", index=0)])

    parts = CallParts()
    parts.add([first, second, rest])
    assert (0, 1, 0) == (first["index"], second["index"], rest["index"])
    assert (2, len("f{}g{}")) == (len(parts), parts.length)
    assert "id" not in rest


@pytest.mark.parametrize("parts", ["x", [5], [{"index": "0"}], [{"function": "f"}], {"index": 0}])
def test_what_is_not_a_part_is_refused(parts: Any) -> None:
    with pytest.raises(TypeError):
        CallNumbering().number(parts)
