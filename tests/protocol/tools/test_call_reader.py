"""Answers in JSON that are calls of prompted tools or a final text, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxcel_integrations.protocol.tools.call_reader import CallReader
from mlxcel_integrations.protocol.tools.tool_calls import CallParts

ODD = 'read "file"\\ \u2028 名 }, {"name'
NAMES = frozenset({"add", "news", "answer", "calls", "name", ODD})


def call(name: str, arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments})


def in_list(*calls: str) -> str:
    return '{"calls": [' + ", ".join(calls) + "]}"


ADD = call("add", {"a": 1, "b": [2, {"c": "}]"}]})
OTHER = call("add", {"a": 1, "b": [2, {"c": "}]}"}]})


def read(text: str, size: int) -> tuple[str, list[tuple[str, str]]]:
    """Return the text and the calls of an answer that comes in pieces of a size."""
    reader, calls, said = CallReader(NAMES), CallParts(), ""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    for more, parts in [*map(reader.feed, pieces), reader.close()]:
        said += more
        calls.add(parts)
    functions = [made["function"] for made in calls.joined()]
    assert len(functions) == len({made["id"] for made in calls.joined()})
    return said, [(function["name"], function["arguments"]) for function in functions]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        (ADD, "", [ADD]),
        (' {\n "name" :"news" , "arguments":\n{ } }\n', "", [call("news", {})]),
        (in_list(ADD), "", [ADD]),
        (in_list(ADD, call("news", {}), OTHER), "", [ADD, call("news", {}), OTHER]),
        ('{"calls":[]}', "", []),
        # Tools that are named as the properties around them.
        (call("answer", {"answer": "x"}), "", [call("answer", {"answer": "x"})]),
        (call("calls", {"calls": []}), "", [call("calls", {"calls": []})]),
        (call("name", {"name": "name"}), "", [call("name", {"name": "name"})]),
        (call(ODD, {"a": ODD}), "", [call(ODD, {"a": ODD})]),
        (json.dumps({"name": ODD, "arguments": {}}, ensure_ascii=False), "", [call(ODD, {})]),
        # A final text.
        ('{"answer": "Hi."}', "Hi.", []),
        ('{"answer":""}', "", []),
        (json.dumps({"answer": 'a\n"b" \\ \U0001f600 é {"name"'}), None, []),
        (json.dumps({"answer": 'a\n"b" \\ \U0001f600 é'}, ensure_ascii=False), None, []),
        ('{"answer": "\\ud83d and \\ude00 \\/"}', "\ud83d and \ude00 /", []),
        ('{"answer": "\\q \\uXYZW"}', "\\q \\uXYZW", []),
        ('{"answer": "Hi \\ud83d\\u"}' + " " * 9, "Hi \\ud83d\\u", []),
        # An object of another schema.
        ('{"answer": {"n": [1, "}"]}}', '{"n": [1, "}"]}', []),
        ('{"answer": [1, 2]}', "[1, 2]", []),
        # Servers that do not keep to the schema.
        ("Four, I think.", "Four, I think.", []),
        ("{four}", "{four}", []),
        ('{"four": 4}', '{"four": 4}', []),
        (call("unknown", {}), call("unknown", {}), []),
        ('{"name": 1, "arguments": {}}', '{"name": 1, "arguments": {}}', []),
        ('{"name": "add", "arguments": 1}', '{"name": "add", "arguments": 1}', []),
        ('{"answer": 1}', '{"answer": 1}', []),
        *[(text, text, []) for text in ('{"calls": 5}', '{"calls": "add"}', '{"calls": null}')],
        ('{"arguments": {"x": 1}, "name": "add"}', "", [call("add", {"x": 1})]),
        ("", "", []),
        # Equal calls.
        (in_list(ADD, ADD, ADD), "", [ADD]),
        (in_list(ADD, OTHER, ADD, OTHER), "", [ADD, OTHER]),
        (in_list(call("news", {}), call("news", {})), "", [call("news", {})]),
        (in_list(call("news", {}), call("answer", {})), "", [call("news", {}), call("answer", {})]),
    ],
)
def test_an_answer_is_read_whatever_its_pieces(
    text: str, said: str | None, calls: list[str], size: int
) -> None:
    expected = json.loads(text)["answer"] if said is None else said
    found, made = read(text, size)

    assert expected == found
    assert [json.loads(each) for each in calls] == [
        {"name": name, "arguments": json.loads(arguments)} for name, arguments in made
    ]


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        ('{"na', "", []),
        ('{"name": "ad', "", []),
        ('{"name": "add", "arguments": ', "", []),
        ('{"name": "add", "arguments": {"a": "x', "", [("add", '{"a": "x')]),
        ('{"calls": [{"name": "add", "arguments": {}}, {"na', "", [("add", "{}")]),
        ('{"answer": "Well, \\u00', "Well, ", []),
        ('{"answer": {"a": [1', '{"a": [1', []),
        ("Well, ", "Well, ", []),
        # It may have become the same call again.
        (
            '{"calls": [{"name": "add", "arguments": {}}, {"name": "add", "arguments": {',
            "",
            [("add", "{}")],
        ),
    ],
)
def test_of_an_answer_that_is_cut_only_what_is_certain_is_told(
    text: str, said: str, calls: list[tuple[str, str]], size: int
) -> None:
    assert (said, calls) == read(text, size)


def test_text_and_arguments_are_told_as_they_come() -> None:
    reader = CallReader(NAMES)
    assert [("", []), ("It", []), (" is", []), (" 4.", []), ("", [])] == [
        reader.feed(piece) for piece in ('{"answer": ', '"It', " is", ' 4."', "}")
    ]

    reader = CallReader(NAMES)
    told = [reader.feed(piece)[1] for piece in ('{"name": "add", "arguments": {', '"a"', ": 1}}")]
    (first,), (second,), (third,) = told
    assert ("add", "{", 0) == (
        first["function"]["name"],
        first["function"]["arguments"],
        first["index"],
    )
    assert [
        {"index": 0, "function": {"arguments": '"a"'}},
        {"index": 0, "function": {"arguments": ": 1}"}},
    ] == [second, third]
    assert reader.called


def test_an_answer_that_repeats_a_call_says_so_as_soon_as_it_has() -> None:
    reader = CallReader(NAMES)
    reader.feed('{"calls": [' + ADD)
    assert (True, False) == (reader.called, reader.repeats)
    assert ("", []) == reader.feed(", " + ADD)
    assert reader.repeats


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "' + "x" * 200_000,
        '{"calls": [' + ADD + "," + " x" * 100_000,
        '{"answer": "' + "\\u" * 100_000,
        in_list(call("add", {"a": "x" * 100_000}), call("add", {"a": "x" * 100_000})),
    ],
    ids=["name", "list", "escapes", "equal"],
)
def test_the_work_grows_with_the_length(text: str) -> None:
    """Nothing is kept that would be looked at again with each piece."""
    reader = CallReader(NAMES)
    longest = 0
    for at in range(0, len(text), 4):
        reader.feed(text[at : at + 4])
        longest = max(longest, len(reader._pending))
    assert longest < 5000
