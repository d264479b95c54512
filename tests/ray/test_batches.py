"""A batch of rows becomes a batch of answers: errors stand in their rows, and no slot is idle.

Without Ray, which only passes batches on.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from mlxcel_integrations import MlxcelError
from tests.fakes.answers import Json
from tests.fakes.replies import Reply
from tests.fakes.server import FakeServer
from tests.ray.asking import asked, pa, question

pytest.importorskip("ray", reason="the extra [ray] is not installed")

from mlxcel_integrations.ray import ChatBatches, ServerLost


class Event(BaseModel):
    kind: str
    hurt: int = 0


# --------------------------------------------------------------------------- rows


def test_each_row_has_its_answer_and_what_it_cost(server: FakeServer) -> None:
    batches = ChatBatches(prompt="Translate {text!r}.", base_url=server.url, max_tokens=9)

    rows = asked(batches, text=["one", "two"], id=[1, 2])

    assert {
        "text": "two",
        "id": 2,
        "generated_text": "echo: Translate 'two'.",
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "error": None,
    } == rows[1]
    assert {9} == {post.json["max_tokens"] for post in server.posts}


def test_a_function_may_make_whole_conversations(server: FakeServer) -> None:
    def prompt(row: Any) -> list[dict[str, str]]:
        return [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": row["text"]},
        ]

    rows = asked(ChatBatches(prompt=prompt, base_url=server.url), text=["one"])

    assert ["echo: one"] == [row["generated_text"] for row in rows]
    assert ["system", "user"] == [m["role"] for m in server.posts[0].json["messages"]]


def test_the_properties_of_a_schema_are_columns(server: FakeServer) -> None:
    server.script(Reply.text('{"kind": "storm", "hurt": 3}'))
    batches = ChatBatches(prompt="{text}", schema=Event, base_url=server.url)

    table = asyncio.run(batches(pa.table({"text": ["A storm."]})))

    assert ("storm", 3) == (table["kind"][0].as_py(), table["hurt"][0].as_py())
    assert [pa.string(), pa.int64()] == [table.schema.field(n).type for n in ("kind", "hurt")]


@pytest.mark.parametrize("shown", [True, False])
def test_a_schema_is_shown_to_the_model_unless_it_is_not_wanted(
    shown: bool, server: FakeServer
) -> None:
    server.script(Reply.text('{"kind": "storm", "hurt": 3}'))
    batches = ChatBatches(prompt="{text}", schema=Event, show_schema=shown, base_url=server.url)

    asyncio.run(batches(pa.table({"text": ["A storm."]})))

    sent = server.posts[-1].json
    assert shown == ("hurt" in sent["messages"][-1]["content"])
    assert "hurt" in str(sent["response_format"])


def test_a_batch_without_answers_has_the_same_columns(server: FakeServer) -> None:
    """Else Ray could not put the batches together."""
    batches = ChatBatches(prompt="{text}", schema=Event, base_url=server.url)

    answered, empty, failed = (
        asyncio.run(batches(pa.table({"text": pa.array(texts, pa.string())})))
        for texts in (["a"], [], [None])
    )

    assert answered.schema == empty.schema == failed.schema


def test_what_is_wrong_with_a_row_stands_in_its_error(server: FakeServer) -> None:
    def prompt(row: Any) -> str:
        return f"{1 / row['number']:.1f} {row['text']}" if row["number"] is not None else "  "

    def think(body: Json) -> Reply | None:
        text = question(body)
        if "long" in text:
            return Reply.error(400, "too long", "exceed_context_size_error", 400)
        if "cut" in text:
            return Reply.text('{"kind": "st', finish="length")
        return Reply.text('{"kind": 1}') if "wrong" in text else Reply.text('{"kind": "storm"}')

    server.think = think
    batches = ChatBatches(prompt=prompt, schema=Event, base_url=server.url)

    rows = asked(
        batches,
        number=[1, 0, None, 1, 1, 1],
        text=["good", "good", "good", "long", "cut", "wrong"],
    )

    starts = [
        "",
        "MlxcelError: The prompt failed for this row: ZeroDivisionError",
        "MlxcelError: The prompt of this row is empty.",
        "BadRequestError",
        "StructuredOutputTruncated: The answer was cut before its JSON ended",
        "StructuredOutputError: The answer does not fit the schema 'Event' at /kind",
    ]
    errors = [row["error"] or "" for row in rows]
    assert starts == [error[: len(start)] for error, start in zip(errors, starts, strict=True)]
    assert (None, "storm") == (rows[0]["error"], rows[0]["kind"])
    assert {None} == {row["kind"] for row in rows[1:]}
    assert ('{"kind": 1}', 2) == (rows[5]["generated_text"], rows[5]["completion_tokens"])


def test_a_null_in_a_template_is_an_error_of_its_row(server: FakeServer) -> None:
    rows = asked(ChatBatches(prompt="{text}", base_url=server.url), text=["a", None])

    assert [None, "MlxcelError: The column 'text' is null in this row."] == [
        row["error"] for row in rows
    ]
    assert 1 == len(server.posts)


# --------------------------------------------------------------------------- the whole job

WRONG_OPTIONS = {
    "an unknown option": ({"temprature": 0}, "Did you mean 'temperature'"),
    "a value that cannot be": ({"max_tokens": -1}, "max_tokens=-1 must be at least 0"),
    "a key": ({"api_key": "secret"}, "set MLXCEL_API_KEY where the actors run"),
    "no address": ({"base_url": []}, "pass at least one address"),
    "nobody at once": ({"concurrency": 0}, "concurrency=0 must be at least 1"),
    "no number": ({"concurrency": True}, "concurrency=True must be a whole number, not bool"),
    "half a brace": ({"prompt": "{text"}, "expected '}'"),
    "a brace without a name": ({"prompt": "{}"}, "without a name"),
    "a model and an address": ({"model": "embedded"}, "Drop base_url="),
    "a column of the answers": ({"schema": {"properties": {"error": {}}}}, "rename it in the"),
    "no schema": ({"schema": 3}, "No schema can be made from 3"),
}


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_wrong_options_are_refused_before_a_job_begins(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlxcelError, match=message):
        ChatBatches(**{"prompt": "{text}", "base_url": "http://127.0.0.1:1", **options})


WRONG_TABLES = {
    "a column that is missing": (
        {"words": ["a"]},
        "names a column 'text', but the dataset only has words",
    ),
    "a column of the answers": ({"text": ["a"], "error": [""]}, r"rename_columns\({'error'"),
    "a column of the schema": ({"text": ["a"], "kind": [""]}, r"rename_columns\({'kind'"),
}


@pytest.mark.parametrize(("columns", "message"), WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_columns_that_do_not_fit_end_the_job(columns: dict[str, Any], message: str) -> None:
    batches = ChatBatches(prompt="{text}", schema=Event, base_url="http://127.0.0.1:1")

    with pytest.raises(MlxcelError, match=message):
        asked(batches, **columns)


def test_batches_of_another_format_are_refused() -> None:
    batches = ChatBatches(prompt="{text}", base_url="http://127.0.0.1:1")

    with pytest.raises(MlxcelError, match='batch_format="pyarrow"'):
        asyncio.run(batches({"text": ["a"]}))


def test_a_server_that_is_not_there_ends_the_job() -> None:
    """Else every row would be an error."""
    with FakeServer() as gone:
        pass
    batches = ChatBatches(prompt="{text}", base_url=gone.url, max_retries=0)

    with pytest.raises(ServerLost, match=f"Cannot reach {gone.url}"):
        asked(batches, text=["a"])
