"""Chats whose answers keep to a schema: their fields, and the schema shown to the model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from mlxcel_integrations import ChatReply, MlxcelError, StructuredOutputError
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.chat import chat_request
from mlxcel_integrations.protocol.messages import inspect
from mlxcel_integrations.protocol.schemas.json_schema import MAX_SCHEMA_BYTES
from mlxcel_integrations.protocol.schemas.schema_use import Correction, SchemaUse
from mlxcel_integrations.structured.request import (
    constrained,
    content,
    schema_text,
    structured_chat,
    to_response_format,
    with_response_format,
    with_schema_applied,
    with_schema_shown,
)
from mlxcel_integrations.structured.type_schema import to_schema
from tests.structured.labels import label
from tests.structured.schemas import v1


class City(BaseModel):
    name: str
    people: int


SCHEMA = to_schema(City)
SHOWN = "Answer with JSON that fits this JSON schema:\n" + json.dumps(
    SCHEMA.json_schema, separators=(",", ":")
)
OSLO = '{"name": "Oslo", "people": 7}'
CITY = City(name="Oslo", people=7)
QUESTION = {"role": "user", "content": "Where?"}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


ASKED = said("user", f"Where?\n\n{SHOWN}")
WITH_TOOLS = said("user", f"Where?\n\n{schema_text(SCHEMA.json_schema, tools=True)}")
TOOLS = [{"type": "function"}]
SENT = {
    "response_format": SCHEMA.response_format,
    "chat_template_kwargs": {"enable_thinking": False},
}
SYSTEM, ANSWER = said("system", "Be brief."), said("assistant", "There.")
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
CALL = said("assistant", None, tool_calls=[{"id": "1", "function": {"name": "f"}}])


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("Where?", [ASKED]),
        ([QUESTION], [ASKED]),
        ([SYSTEM, QUESTION], [SYSTEM, ASKED]),
        ([QUESTION, ANSWER, QUESTION], [QUESTION, ANSWER, ASKED]),
        ([said("user", "Where?", name="x")], [{**ASKED, "name": "x"}]),
        ([SYSTEM], [said("system", f"Be brief.\n\n{SHOWN}")]),
        ([said("user", None)], [said("user", SHOWN)]),
        ([said("user", [])], [said("user", [text(SHOWN)])]),
        ([said("user", [text("Where?")])], [said("user", [text(f"Where?\n\n{SHOWN}")])]),
        ([said("user", [PICTURE])], [said("user", [PICTURE, text(SHOWN)])]),
        (
            [said("user", [PICTURE, text("Where?")])],
            [said("user", [PICTURE, text(f"Where?\n\n{SHOWN}")])],
        ),
        (
            [QUESTION, CALL, said("tool", "A", tool_call_id="1"), said("tool", "Oslo")],
            [
                *(QUESTION, CALL, said("tool", "A", tool_call_id="1")),
                said("tool", f"Oslo\n\n{SHOWN}"),
            ],
        ),
        # The beginning of the answer, which some servers continue.
        ([QUESTION, said("assistant", "{")], [ASKED, said("assistant", "{")]),
        ([ANSWER], [ANSWER, said("user", SHOWN)]),
        ([], []),
        (["Where?"], ["Where?"]),
    ],
    ids=label,
)
def test_the_schema_is_shown_at_the_end_of_the_last_message(messages: Any, expected: Any) -> None:
    before = repr(messages)

    assert expected == with_schema_shown(SCHEMA.json_schema, messages)
    assert before == repr(messages)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"top_k": 3}, ([QUESTION], {"top_k": 3})),
        ({"top_k": 3, "show_schema": True}, ([QUESTION], {"top_k": 3})),
        ({"response_format": City}, ([ASKED], {**SENT, "schema_use": SchemaUse()})),
        (
            {"response_format": City, "tools": TOOLS},
            ([WITH_TOOLS], {**SENT, "tools": TOOLS, "schema_use": SchemaUse()}),
        ),
        (
            {"show_schema": False, "response_format": SCHEMA.response_format},
            ([QUESTION], {**SENT, "schema_use": SchemaUse()}),
        ),
        (
            {
                "show_schema": True,
                "response_format": SCHEMA.response_format,
                "schema_use": SchemaUse(relaxable=True),
            },
            ([ASKED], {**SENT, "schema_use": SchemaUse(relaxable=True)}),
        ),
        # As a bound model has it that LangChain has saved and loaded.
        (
            {
                "show_schema": True,
                "response_format": SCHEMA.response_format,
                "schema_use": [True, False],
            },
            ([ASKED], {**SENT, "schema_use": SchemaUse(relaxable=True)}),
        ),
        ({"correction": Correction("Shorter.")}, ([said("user", "Where?\n\nShorter.")], {})),
        ({"correction": "Shorter."}, ([QUESTION], {"correction": "Shorter."})),
    ],
    ids=label,
)
def test_a_bound_schema_is_shown_if_it_is_to_be(fields: dict[str, Any], expected: Any) -> None:
    before = repr(fields)

    assert expected == with_schema_applied([QUESTION], fields)
    assert before == repr(fields)


def test_an_answer_by_a_schema_is_written_without_thinking() -> None:
    assert {
        **SENT,
        "top_k": 3,
        "schema_use": SchemaUse(relaxable=True),
    } == constrained(SCHEMA, {"top_k": 3})


def test_a_class_of_pydantic_1_in_a_function_is_sent_under_a_name_that_servers_take() -> None:
    class Local(v1.BaseModel):
        name: str

    chat = structured_chat("Where?", {}, Local, True)
    body = chat_request("m", inspect(chat.messages), chat.sampling).body

    (shown,) = to_schema(Local).json_schema["definitions"]
    (sent,) = (schema := body["response_format"]["json_schema"]["schema"])["definitions"]
    assert "<locals>" in shown
    assert "<locals>" in body["messages"][0]["content"]
    assert shown.replace("<locals>", "_locals_") == sent
    assert f"#/definitions/{sent}" == schema["$ref"]
    assert Local(name="Oslo") == chat.read(ChatReply('{"name": "Oslo"}')).parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"size": {"v": "x"}}', "does not fit the schema 'answer' at /size/v: 'x' is not of"),
        ('{"size": {}}', "does not fit the schema 'answer' at /size: 'v' is a required property"),
    ],
)
def test_an_answer_to_renamed_definitions_is_checked_by_the_given_ones(
    text: str, message: str
) -> None:
    box = {"type": "object", "properties": {"v": {"type": "integer"}}, "required": ["v"]}
    given = {
        "type": "object",
        "properties": {"size": {"$ref": "#/$defs/Größe[int]"}},
        "$defs": {"Größe[int]": box},
    }
    chat = structured_chat("Where?", {}, given, False)

    with pytest.raises(StructuredOutputError, match=message):
        chat.read(ChatReply(text))


def test_errors_about_definitions_call_them_by_the_names_that_were_given() -> None:
    node = {"$ref": "#/$defs/Node[int]"}
    endless = {"properties": {"next": node}, "required": ["next"]}

    with pytest.raises(MlxcelError, match=r"recursive without end at #/\$defs/Node\[int\]:"):
        structured_chat("Where?", {}, {**node, "$defs": {"Node[int]": endless}}, False)


def test_two_schemas_are_one_too_many() -> None:
    with pytest.raises(MlxcelError, match=r"schema and response_format .* drop one"):
        structured_chat("Where?", {"response_format": {"type": "text"}}, City, True)


def test_without_a_schema_nothing_changes() -> None:
    chat = structured_chat("Where?", {"top_k": 3}, None, True)
    reply = ChatReply("Here.")

    assert ("Where?", {"top_k": 3}) == (chat.messages, chat.sampling)
    assert reply is chat.read(reply)


@pytest.mark.parametrize(
    ("show", "expected"),
    [(False, [{"role": "user", "content": "Where?"}]), (True, [ASKED])],
)
def test_the_schema_need_not_be_shown(show: bool, expected: Any) -> None:
    assert expected == structured_chat("Where?", {}, City, show).messages


@pytest.mark.parametrize(
    ("show", "tools", "expected"),
    [(False, [], "Where?"), (True, [], [ASKED]), (True, TOOLS, [WITH_TOOLS])],
    ids=["hidden", "shown", "beside tools"],
)
def test_the_answer_to_a_format_among_the_fields_is_text(
    show: bool, tools: list[Any], expected: Any
) -> None:
    fields = {"top_k": 3, "tools": tools}
    chat = structured_chat("Where?", {**fields, "response_format": City}, None, show)

    assert expected == chat.messages
    assert {**fields, **SENT} == chat.sampling
    assert chat.schema is None


@pytest.mark.parametrize("free", [None, {}, {"type": "text"}], ids=str)
def test_a_format_of_free_text_changes_nothing(free: Any) -> None:
    chat = structured_chat("Where?", {"response_format": free}, None, True)

    assert ("Where?", {"response_format": free}, None) == chat


ANY_OBJECT, NUMBER = {"type": "object"}, {"type": "number"}


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        (City, City),
        (NUMBER, NUMBER),
        ({"type": "json_object"}, ANY_OBJECT),
        ({"type": "json_object", "schema": NUMBER}, NUMBER),
        ({"type": "json_schema", "schema": NUMBER}, NUMBER),
    ],
    ids=["a type", "a schema", "any object", "a schema of another form", "without its wrapping"],
)
def test_anything_with_a_schema_becomes_a_format(given: Any, schema: Any) -> None:
    assert to_schema(schema).response_format == to_response_format(given)


def test_a_model_with_tools_is_told_that_it_may_call_one() -> None:
    begins = "Call a tool, or answer with JSON that fits this JSON schema:\n"
    shown = with_schema_shown(SCHEMA.json_schema, "Where?", tools=True)

    assert f"Where?\n\n{schema_text(SCHEMA.json_schema, tools=True)}" == shown[0]["content"]
    assert SHOWN.replace("Answer with JSON that fits this JSON schema:\n", begins) == schema_text(
        SCHEMA.json_schema, tools=True
    )
    assert SHOWN == schema_text(SCHEMA.json_schema)


def given_format(schema: Any) -> dict[str, Any]:
    inner = {"name": "f", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": inner, "extra": 1}


def test_a_format_of_other_code_is_sent_as_every_engine_takes_it() -> None:
    name = {"type": "string", "pattern": "(?=a)"}
    sent = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "additionalProperties": False,
    }
    given = given_format({"type": "object", "properties": {"a": name}, "x-mine": 1})

    assert given_format(sent) == to_response_format(given)
    assert given_format({"type": "object", "properties": {"a": name}, "x-mine": 1}) == given


@pytest.mark.parametrize("name", [{}, {"name": None}], ids=["missing", "null"])
def test_a_format_without_a_name_is_sent_with_that_of_its_schema(name: dict[str, None]) -> None:
    schema = {"title": "Town", "type": "object", "properties": {}, "additionalProperties": False}
    given = {"type": "json_schema", "json_schema": {"schema": schema, **name}}

    assert "Town" == to_response_format(given)["json_schema"]["name"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (given_format({"type": "objekt"}), "The schema is invalid at /type"),
        (given_format({"enum": ["x" * 2_000_000]}), "has 2000... bytes"),
        ({"type": "json_schema"}, "not a response_format that servers understand"),
        (
            {"type": "json_schema", "json_schema": {"name": "f"}},
            "not a response_format that servers understand",
        ),
    ],
    ids=label,
)
def test_a_format_that_no_server_takes_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MlxcelError, match=message):
        to_response_format(given)


def test_closing_a_schema_may_make_it_too_long() -> None:
    """What is sent is checked as well as what was given."""
    fields = {f"f{at:02}": {"type": "object", "properties": {}} for at in range(20)}
    schema = {
        "type": "object",
        "properties": fields,
        "description": "x" * (MAX_SCHEMA_BYTES - 1000),
    }

    with pytest.raises(MlxcelError, match=r"has \d+ bytes"):
        to_response_format(given_format(schema))


@pytest.mark.parametrize("given", [None, {"type": "text"}, SCHEMA.response_format], ids=label)
def test_fields_whose_format_servers_know_stay(given: Any) -> None:
    fields = {"top_k": 3, "response_format": given}

    assert fields is with_response_format(fields)


def test_fields_whose_format_is_a_type_get_one_that_servers_know() -> None:
    assert {"top_k": 3, "response_format": SCHEMA.response_format} == with_response_format(
        {"top_k": 3, "response_format": City}
    )


def test_an_attempt_may_have_fields_of_its_own_and_a_correction() -> None:
    chat = structured_chat("Where?", {"top_k": 3, "seed": 1}, None, True)

    assert ([said("user", "Where?\n\nShorter.")], {"top_k": 3, "seed": 2}) == chat.request(
        {"seed": 2, "correction": Correction("Shorter.")}
    )


def test_the_content_of_a_reply_is_its_object_if_there_is_a_type_for_it() -> None:
    reply = ChatReply(OSLO, parsed=CITY)

    assert (CITY, OSLO) == (content(reply, City), content(reply, None))


def test_a_whole_answer_is_read_by_the_schema_of_its_chat() -> None:
    chat = structured_chat("Where?", {}, City, True)
    reply = chat.read(ChatReply(OSLO, finish_reason="stop", model="m"))

    assert ChatReply(OSLO, finish_reason="stop", model="m", parsed=CITY) == reply
    with pytest.raises(StructuredOutputError, match="finish_reason 'length'"):
        chat.read(ChatReply(OSLO[:-1], finish_reason="length"))


@pytest.mark.parametrize(
    ("output_type", "expected"),
    [
        (None, ['{"na', 'me": "Oslo", "people": 7}']),
        (City, [City.model_construct(name=None, people=None), CITY, CITY]),
    ],
)
def test_a_streamed_answer_is_read_by_the_schema_of_its_chat(
    output_type: Any, expected: list[Any]
) -> None:
    answers = structured_chat("Where?", {}, output_type, True).answer_stream()
    deltas = [Delta(OSLO[:4]), Delta(), Delta(OSLO[4:])]

    assert expected == [
        *(value for delta in deltas for value in answers.feed(delta)),
        *answers.close(),
    ]
