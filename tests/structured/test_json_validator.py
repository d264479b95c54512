"""Validation by JSON schemas: nothing is fetched, and it ends soon, whatever schema and answer."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given

from mlxcel_integrations import MlxcelError, StructuredOutputError
from mlxcel_integrations.structured.json_validator import JsonValidator, check_answer
from mlxcel_integrations.structured.request import structured_chat, to_response_format
from mlxcel_integrations.structured.schema import SchemaMismatch
from mlxcel_integrations.structured.type_schema import to_schema
from tests.structured.schemas import JSON, schemas

OBJECT = {"type": "object"}
INTEGER = {"type": "integer"}
DRAFT_3 = "http://json-schema.org/draft-03/schema#"
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"


def complaint(schema: dict[str, Any], value: Any) -> str:
    """Return why a value does not fit, an empty text if it does."""
    try:
        JsonValidator(schema).check(value)
    except SchemaMismatch as mismatch:
        return str(mismatch)
    return ""


def soon(work: Callable[[], Any]) -> Any:
    """Return a result, which takes a second at most on an idle machine."""
    started = time.thread_time()
    result = work()
    assert time.thread_time() - started < 10
    return result


# --------------------------------------------------------------------------- whole answers


def given_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "town", "schema": schema}}


def test_an_answer_is_checked_by_the_format_of_its_request() -> None:
    check_answer(given_format(INTEGER), "5", "error")

    with pytest.raises(StructuredOutputError, match="not fit the schema 'town' at /") as caught:
        check_answer(given_format(INTEGER), '"x"', "error")
    told = caught.value
    assert ('"x"', "error", None) == (told.raw, told.finish_reason, told.problem)


@pytest.mark.parametrize(
    "response_format",
    [
        *(None, {"type": "text"}, {"type": "json_schema"}),
        *map(given_format, (True, {}, {"type": "frob"}, {"required": True}, {"enum": 5})),
    ],
    ids=repr,
)
def test_what_cannot_be_checked_is_left_to_the_server(response_format: Any) -> None:
    check_answer(response_format, '{"a": 1}', "error")


# --------------------------------------------------------------------------- nothing is fetched


class CountingServer(http.server.ThreadingHTTPServer):
    """A server that counts its requests, and answers each with a schema."""

    requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, CountingServer)
        self.server.requests += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"type": "string"}')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(name="server")
def _server() -> Iterator[CountingServer]:
    with CountingServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(name="places")
def _places(server: CountingServer, tmp_path: Path) -> list[str]:
    """Return the addresses of a schema on a server, and of one in a file."""
    file = tmp_path / "schema.json"
    file.write_text('{"type": "string"}')
    return [f"http://127.0.0.1:{server.server_port}/schema.json", file.as_uri()]


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$recursiveRef"])
@pytest.mark.parametrize(
    "put",
    [
        lambda part: {**OBJECT, **part},
        lambda part: {**OBJECT, "properties": {"a": part}},
        lambda part: {**OBJECT, "$schema": DRAFT_2019, "unevaluatedProperties": part},
        lambda part: {**OBJECT, "$ref": "#/$defs/a", "$defs": {"a": part}},
        lambda part: {"type": "array", "items": {"anyOf": [INTEGER, part]}},
    ],
)
def test_a_reference_to_elsewhere_is_refused_and_not_followed(
    keyword: str, put: Callable[[Any], Any], server: CountingServer, places: list[str]
) -> None:
    for place in places:
        with pytest.raises(MlxcelError, match="The schema refers to"):
            structured_chat("Hi", {}, put({keyword: place}), show_schema=False)
        with pytest.raises(MlxcelError, match="The schema refers to"):
            to_response_format(
                {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": put({keyword: place})},
                }
            )

    assert 0 == server.requests


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$recursiveRef"])
def test_the_validator_itself_fetches_nothing(
    keyword: str, server: CountingServer, places: list[str]
) -> None:
    for place in places:
        for dialect in ({}, {"$schema": DRAFT_2019}):
            complaint({**dialect, keyword: place}, {"a": 1})
            complaint({**dialect, "$id": place, keyword: "other.json"}, {"a": 1})
            complaint({**dialect, "$id": place, "allOf": [{keyword: "#/a"}]}, {"a": 1})

    assert 0 == server.requests


def test_identifiers_and_dialects_are_not_fetched(
    server: CountingServer, places: list[str]
) -> None:
    for place in places:
        part = {"$schema": place, "$id": place, "$ref": "#/$defs/a"}
        schema = {**OBJECT, "properties": {"a": part}, "$defs": {"a": INTEGER}}
        made = to_schema({**schema, "$schema": place, "$id": place})

        assert {"a": 1} == made.validate('{"a": 1}')
        with pytest.raises(StructuredOutputError, match="'b' is not of type 'integer'"):
            made.validate('{"a": "b"}')

    assert 0 == server.requests


def test_a_dialect_within_a_schema_does_not_change_the_validator() -> None:
    part = {"$schema": DRAFT_7, "pattern": "^(a+)+$"}

    assert "does not match" in soon(lambda: complaint({"items": part}, ["a" * 40 + "!"]))


@pytest.mark.parametrize("name", ["http://[", "", "x:"])
def test_any_other_dialect_is_the_newest(name: str) -> None:
    assert "'a' is not of type" in complaint({"$schema": name, "prefixItems": [INTEGER]}, ["a"])


# --------------------------------------------------------------------------- what would freeze


def branching(keyword: str, leaf: Any = OBJECT, levels: int = 30) -> dict[str, Any]:
    """Return a schema whose references branch in 2 to the power of its levels ways."""
    definitions = {
        f"a{level}": {keyword: [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(levels)
    }
    return {"$ref": "#/$defs/a0", "$defs": {**definitions, f"a{levels}": leaf}}


def test_the_steps_of_a_large_plausible_answer_are_enough() -> None:
    """There are fewer for each value the more values there are."""
    item = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"anyOf": [INTEGER, {"type": "null"}]}},
        "required": ["name", "size"],
        "additionalProperties": False,
    }
    answer = [{"name": f"part {i}", "size": None} for i in range(8_000)]

    assert "" == complaint({"items": {"$ref": "#/$defs/item"}, "$defs": {"item": item}}, answer)


TOO_LONG = "takes too long"
HOSTILE: dict[str, tuple[dict[str, Any], Any, str]] = {
    "all fit": (branching("allOf"), {}, TOO_LONG),
    "all fail": (branching("allOf"), [], "[] is not of type 'object'"),
    "any fit": (branching("anyOf"), {}, ""),
    "any fail": (branching("anyOf"), [], TOO_LONG),
    "one fits": (branching("oneOf"), {}, TOO_LONG),
    "unevaluated": ({**branching("anyOf"), "unevaluatedProperties": False}, {"a": 1}, TOO_LONG),
    "branches within": (
        {"properties": {"a": {"allOf": [{"$ref": "#"}] * 2}}},
        json.loads('{"a":' * 40 + "{}" + "}" * 40),
        TOO_LONG,
    ),
    "unique objects": ({"uniqueItems": True}, [{"a": i} for i in range(20_000)], ""),
    "equal objects": (
        {"uniqueItems": True},
        [{"a": i} for i in [*range(20_000), 7]],
        "it has duplicate items",
    ),
    "numbers of one hash": ({"uniqueItems": True}, [(2**61 - 1) * i for i in range(20_000)], ""),
    "a large enum": ({"items": {"enum": list(range(10_000))}}, [9_999] * 10_000, TOO_LONG),
    "many wrong items": ({"items": INTEGER}, ["a"] * 200_000, "'a' is not of type 'integer'"),
    "a long wrong text": (INTEGER, "a" * 2_000_000, "is not of type 'integer'"),
    "many keywords": ({"items": {f"x{i}": 1 for i in range(6_000)}}, [1] * 10_000, TOO_LONG),
    "a loop": ({"not": {"$ref": "#"}}, {}, "too deeply"),
    "a reference to nowhere": ({"$ref": "#/a"}, {}, "cannot be checked"),
    "a type of its own": (
        {"$schema": DRAFT_3, "type": "object", "extends": {"disallow": "x"}},
        {},
        "cannot be checked",
    ),
    "a condition in a pattern": ({"pattern": "^(a)?(?(1)(a*)*|b)$"}, "a" * 40 + "!", ""),
    "a choice in an atomic group": ({"pattern": "^(?>(a|a)*b)"}, "a" * 40 + "!", ""),
    "a long pattern": ({"pattern": f"(?=a){'a' * 900}b"}, "a" * 1_000_000, ""),
    "states": ({"pattern": "(?:a|b)*a(?:a|b){900}c"}, "ab" * 100_000, ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_validation_ends_soon(name: str) -> None:
    schema, value, expected = HOSTILE[name]
    message = soon(lambda: complaint(schema, value))

    assert expected in message
    assert bool(expected) == bool(message)


def deeper(frames: int, work: Callable[[], Any]) -> Any:
    """Return a result that is found with so many more frames on the stack."""
    return work() if frames == 0 else deeper(frames - 1, work)


def test_a_loop_is_an_error_wherever_the_stack_ends() -> None:
    schema, _, expected = HOSTILE["a loop"]
    for frames in range(40):
        assert expected in deeper(frames, lambda: complaint(schema, {}))


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{}] * 20_000},
        {"required": [f"a{i}" for i in range(8_000)]},
        {"$schema": DRAFT_4, "enum": [[i] for i in range(7_000)]},
        {"anyOf": [{"pattern": f"\\w{{150}}{i}"} for i in range(1_000)]},
        {"anyOf": [{"pattern": f"\\p{{L}}{{190}}{i}"} for i in range(1_000)]},
        {"anyOf": [{"pattern": f"(?i)(?=a)[^x]{i}"} for i in range(1_000)]},
        {"pattern": "|".join(["[c-z]"] * 9_000)},
        {"pattern": "(" * 9_000 + ")" * 9_000},
    ],
    ids=range(8),
)
def test_a_schema_is_checked_soon(schema: dict[str, Any]) -> None:
    def check() -> None:
        with contextlib.suppress(MlxcelError):
            JsonValidator(schema)

    soon(check)


def test_a_schema_that_takes_too_long_to_check_is_an_error() -> None:
    with pytest.raises(MlxcelError, match="The schema takes too long to check"):
        JsonValidator({"allOf": [{}] * 20_000})


def holding_itself(keyword: str) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    schema[keyword] = schema if keyword == "items" else [schema] * 1_000
    return schema


@pytest.mark.parametrize("keyword", ["items", "allOf", "enum"])
def test_a_schema_of_python_that_holds_itself_ends_in_an_error(keyword: str) -> None:
    with pytest.raises((MlxcelError, SchemaMismatch)):
        JsonValidator(holding_itself(keyword)).check([])


def test_a_value_of_python_that_holds_itself_is_checked_to_an_end() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(SchemaMismatch, match="nested too deeply"):
        JsonValidator(
            {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
        ).check(value)


def test_the_largest_schemas_that_servers_take_are_checked() -> None:
    names = [f"p{i}" for i in range(2_400)]
    schema = to_schema({**OBJECT, "properties": dict.fromkeys(names, INTEGER)})
    value = dict.fromkeys(names, 1)

    assert value == schema.validate(json.dumps(value))


def test_a_long_answer_by_a_union_is_read() -> None:
    kinds = [
        {**OBJECT, "properties": {"kind": {"const": f"k{i}"}, "n": INTEGER}, "required": ["kind"]}
        for i in range(10)
    ]
    value = [{"kind": "k9", "n": 1}] * 2_000

    assert not complaint({"items": {"anyOf": kinds}}, value)


def test_the_most_telling_error_is_kept_when_time_is_over() -> None:
    schema = {"properties": {"a": INTEGER, "b": branching("allOf")}, "$defs": {}}
    schema["$defs"] = schema["properties"]["b"].pop("$defs")

    assert "'x' is not of type 'integer'" == complaint(schema, {"a": "x", "b": {}})


# --------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"value": NaN}', "is not JSON"),
        ('{"value": -Infinity}', "is not JSON"),
        ('{"value": 1e999}', "is not JSON"),
        ('{"value": ' + "1" * 5_000 + "}", "is not JSON"),
        ('{"value": 1' + "0" * 400 + "}", "does not fit the schema"),
        ('{"value": ' + "[" * 800 + "]" * 800 + "}", "nested deeper than 100 levels"),
        ('{"value": ' + "[" * 200_000 + "]" * 200_000 + "}", "is not JSON"),
    ],
    ids=["NaN", "infinity", "float", "digits", "integer", "deep", "deepest"],
)
def test_a_hostile_answer_is_an_error(text: str, message: str) -> None:
    schema = to_schema(
        {"anyOf": [{"type": "number", "multipleOf": 0.3}, {"type": "array", "items": {}}]}
    )
    with pytest.raises(StructuredOutputError) as caught:
        soon(lambda: schema.validate(text))

    assert message in str(caught.value)


@pytest.mark.parametrize("output_type", [list[Any], float, dict[str, Any]])
@pytest.mark.parametrize("text", ["NaN", "1e999", "[" * 500 + "]" * 500])
def test_a_hostile_answer_of_a_type_is_an_error(output_type: Any, text: str) -> None:
    with pytest.raises(StructuredOutputError):
        to_schema(output_type).validate(f'{{"value": {text}}}')


@pytest.mark.parametrize(
    ("divisor", "number", "fits"),
    [
        (0.5, 1.5, True),
        (0.5, 1.3, False),
        (2, 4, True),
        (2, 4.0, True),
        (2, 5, False),
        (0.5, 10**400, True),
        (1e-300, 1e300, False),
    ],
)
def test_multiples_are_told_for_numbers_of_any_size(divisor: Any, number: Any, fits: bool) -> None:
    assert fits is not bool(complaint({"multipleOf": divisor}, number))


# --------------------------------------------------------------------------- keywords


@given(schemas(), JSON)
def test_values_fit_as_they_do_without_limits(schema: dict[str, Any], value: Any) -> None:
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)

    assert expected is not bool(complaint(schema, value))


CLOSED = {"unevaluatedProperties": False}
ENDED = {"unevaluatedItems": False}
HAS_A: dict[str, Any] = {"required": ["a"], "properties": {"a": {}}}
MAY_HAVE_A: dict[str, Any] = {"properties": {"a": {}}}
KEYWORDS: list[tuple[dict[str, Any], Any, Any]] = [
    ({"pattern": "^a+$"}, "aa", "ab"),
    ({"patternProperties": {"^a": INTEGER}}, {"a": 1, "b": ""}, {"ab": ""}),
    ({"patternProperties": {"^a": INTEGER}}, ["ab"], None),
    ({"patternProperties": {"^a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
    ({"patternProperties": {"^a": {}}, "additionalProperties": False}, ["b"], None),
    ({"properties": {"a": {}}, "additionalProperties": INTEGER}, {"a": "", "b": 1}, {"b": ""}),
    ({"properties": {"a": {}}, "additionalProperties": False}, {"a": ""}, {"b": ""}),
    ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}]),
    ({"uniqueItems": False}, [1, 1], None),
    ({"multipleOf": 2}, "1", None),
    ({"enum": ["a", 1, [1]]}, [1.0], True),
    ({"const": {"a": [1]}}, {"a": [1]}, {"a": [True]}),
    ({**CLOSED, "properties": {"a": {}}}, {"a": 1}, {"b": 1}),
    ({**CLOSED, "allOf": [{"properties": {"a": {}}}]}, {"a": 1}, {"b": 1}),
    ({**CLOSED, "patternProperties": {"^a": {}}}, {"ab": 1}, {"b": 1}),
    ({**CLOSED, "additionalProperties": INTEGER}, {"a": 1}, {"b": ""}),
    ({**CLOSED, "$ref": "#/$defs/a", "$defs": {"a": MAY_HAVE_A}}, {"a": 1}, {"b": 1}),
    ({**CLOSED, "anyOf": [HAS_A, {}]}, {"a": 1}, {"b": 1}),
    (
        {**CLOSED, "if": HAS_A, "then": {"properties": {"b": {}}}},
        {"a": 1, "b": 1},
        {"b": 1},
    ),
    ({**CLOSED, "dependentSchemas": {"a": {"properties": {"a": {}}}}}, {"a": 1}, {"b": 1}),
    ({"unevaluatedProperties": INTEGER}, {"a": 1}, {"a": ""}),
    ({**ENDED, "prefixItems": [{}]}, [1], [1, 2]),
    ({**ENDED, "items": INTEGER}, [1, 2], [""]),
    ({**ENDED, "contains": INTEGER}, [1], [1, ""]),
    ({**ENDED, "oneOf": [{"prefixItems": [{}]}]}, [1], [1, 2]),
    ({"allOf": [{"unevaluatedItems": True}], **ENDED}, [1], None),
    (CLOSED, [1], {"a": 1}),
    (ENDED, {"a": 1}, [1]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "right", "wrong"), KEYWORDS, ids=range(len(KEYWORDS)))
def test_keywords_mean_what_they_mean_elsewhere(
    schema: dict[str, Any], right: Any, wrong: Any
) -> None:
    assert jsonschema.Draft202012Validator(schema).is_valid(right)
    assert not complaint(schema, right)
    if wrong is not None:
        assert not jsonschema.Draft202012Validator(schema).is_valid(wrong)
        assert complaint(schema, wrong)


@pytest.mark.parametrize("dialect", [DRAFT_4, DRAFT_7, DRAFT_2019])
def test_older_dialects_keep_their_meaning(dialect: str) -> None:
    schema = {"$schema": dialect, "items": [INTEGER], "additionalItems": False}

    assert not complaint(schema, [1])
    assert complaint(schema, [1, 2])
    assert complaint(schema, ["a"])


def test_a_reference_stands_alone_in_older_dialects() -> None:
    part = {"$ref": "#/definitions/a", "type": "string"}
    schema = {"items": part, "definitions": {"a": INTEGER}}

    assert not complaint({**schema, "$schema": DRAFT_7}, [1])
    assert complaint(schema, [1])
