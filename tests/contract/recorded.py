"""Recorded requests: sent in full to a scripted server that was started as the recorded one."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.program import make_parser, make_server
from tests.fakes.recorded_model import RecordedModel
from tests.fakes.server import FakeServer

from .outcomes import outcome

Json = dict[str, Any]


@contextmanager
def serving(flags: str) -> Iterator[FakeServer]:
    """A scripted server with the recorded model that these flags name."""
    before, _, flags = flags.partition(" serve ")
    words = re.split(r" (?=-)", flags)
    arguments = [part for word in words for part in word.split(" ", 1)]
    arguments[arguments.index("--port") + 1] = "1"
    options = make_parser("v0.4.2", serve=True).parse_args(arguments)
    server = make_server(options, "v0.4.2", port=0)
    given = json.loads(options.chat_template_kwargs or "{}")
    name = Path(options.model).name
    server.model_id = options.alias or name
    server.think = RecordedModel(
        name,
        thinking=given.get("enable_thinking", True),
        budget=int(options.reasoning_budget or -1),
        template=options.chat_template is None,
    )
    if options.chat_template is not None:
        server.template_error = TEMPLATE_ERRORS.get(options.chat_template)
    elif name == "badtmpl":
        server.template_error = "syntax error: unexpected end of block (in chat:1)"
    if threads := re.search(r"WORKER_THREADS=(\d+)", before):
        server.http_threads = int(threads[1])
    server.bos = name.startswith("gemma")
    server.template_needs_a_message = not server.bos
    server.load_failed = name == "truncated"
    server.loading = False
    server.tool_call_parser = None if name == "notmpl" else "mlxcel"
    server.start()
    with server:
        yield server


TEMPLATE_ERRORS = {
    '{{ raise_exception("Only user and assistant roles") }}': (
        "invalid operation: Only user and assistant roles (in chat:1)"
    ),
    "{{ messages[0].nope.nope }}": "undefined value (in chat:1)",
}


def send(server: FakeServer, request: Json) -> list[str]:
    """Send a recorded request; returns the outcome."""
    assert server.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    has_body = "body" in request or "body_text" in request
    headers = {"Content-Type": "application/json"} if has_body else {}
    headers |= request.get("headers") or {}
    given = {name: value for name, value in headers.items() if value is not None}
    connection.request(request["method"], request["path"], body_bytes(request), given)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return outcome(response.status, response.headers.get("content-type"), text)


def body_bytes(request: Json) -> bytes | None:
    """The body of a recorded request, in full."""
    if "body_text" in request:
        text = request["body_text"]
        return text["latin1"].encode("latin-1") if isinstance(text, dict) else str(text).encode()
    return json.dumps(expanded(request["body"])).encode() if "body" in request else None


def held_to_a_schema(request: Json) -> bool:
    body = request.get("body")
    wanted = body.get("response_format") if isinstance(body, dict) else None
    return isinstance(wanted, dict) and wanted.get("type") == "json_schema"


def without_json(lines: list[str]) -> list[str]:
    """Which JSON a model writes under a schema, and in how many tokens, is its own."""
    result = []
    for line in lines:
        found = re.match(r"(content|text)(?: x\d+)?: (.*)", line)
        if found:
            result.append(f"{found[1]}: {'whole' if is_json(json.loads(found[2])) else 'part'}")
        else:
            result.append(re.sub(r"\d+", "n", line) if line.startswith("usage: ") else line)
    if "finish: length" in result:  # cut somewhere
        return [line.replace("whole", "part") for line in result]
    return result


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# --------------------------------------------------------------------------- tables

TABLES = Path(__file__).parent / "recordings"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
OK = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
      "additionalProperties": False}  # fmt: skip
QUESTION = "What is the capital of France?"


@dataclass(frozen=True)
class Row:
    """One recorded fact.

    Attributes:
        group: The table that it is in.
        name: Its name there.
        flags: How the server was started.
        request: What was sent.
        outcome: The lines of the answer.
    """

    group: str
    name: str
    flags: str
    request: Json
    outcome: list[str]


def rows() -> Iterator[Row]:
    """The rows of all tables: each line is one, or the flags of those below it."""
    for path in sorted(TABLES.glob("*.jsonl")):
        flags = ""
        for line in path.read_text().strip().split("\n"):
            row = json.loads(line)
            if isinstance(row, str):
                flags = row
                continue
            name, asked, told = row
            method, _, route = asked.pop("to").partition(" ")
            request = {"method": method, "path": route, **asked}
            if "body" in request and is_chat(route):
                request["body"] = filled(request["body"])
            yield Row(path.stem, name, flags, request, told)


def is_chat(path: str) -> bool:
    return path.endswith("/chat/completions")


def filled(body: Any) -> Any:
    """A body of a table in full: a chat about the capital of France, unless it says otherwise."""
    if not isinstance(body, dict):
        return body
    if "verbatim" in body:
        return body["verbatim"]
    messages = [{"role": "user", "content": body.get("ask", QUESTION)}]
    full: Json = {"model": "m", "messages": messages, "temperature": 0}
    for name, value in body.items():
        if name == "schema":
            named = {"name": "x", "strict": True, "schema": OK if value == "ok" else value}
            full["response_format"] = {"type": "json_schema", "json_schema": named}
        elif name in SHORT:
            full |= SHORT[name]
        elif name != "ask":
            full[name] = value
    return full


SHORT: dict[str, Json] = {
    "quiet": {"chat_template_kwargs": {"enable_thinking": False}},
    "usage": {"stream": True, "stream_options": {"include_usage": True}},
    "weather": {"tools": [WEATHER]},
}
"""Names for what many bodies have."""


def shortened(body: Any) -> Any:
    """A body as it stands in a table: what `filled` makes of it is the same."""
    if not isinstance(body, dict):
        return body
    short = {name: value for name, value in body.items() if filled({}).get(name) != value}
    for name, fields in SHORT.items():
        if fields.items() <= {key: short.get(key) for key in fields}.items():
            short = {key: value for key, value in short.items() if key not in fields}
            short[name] = True
    messages = short.pop("messages", None)
    if isinstance(messages, list) and len(messages) == 1:
        short["ask"] = messages[0].get("content")
    wanted = short.get("response_format")
    if isinstance(wanted, dict) and isinstance(wanted.get("json_schema"), dict):
        schema = short.pop("response_format")["json_schema"].get("schema")
        short["schema"] = "ok" if schema == OK else schema
    return short if filled(short) == body else {"verbatim": body}


# --------------------------------------------------------------------------- abbreviations


def expanded(value: Any) -> Any:
    """A recorded body without its abbreviations."""
    if isinstance(value, dict):
        return {name: expanded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [expanded(item) for item in value]
    if isinstance(value, str):
        for pattern, full in ABBREVIATIONS.items():
            if found := re.fullmatch(pattern, value, re.DOTALL):
                return full(*found.groups())
    return value


def many_tools(count: str) -> Json:
    tools = [{"type": "function", "function": {"name": f"f{at}"}} for at in range(int(count))]
    return {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools}


def nested(levels: str) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(int(levels)):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def referring(count: str) -> Json:
    names = {f"p{at}": {"$ref": "#/$defs/A"} for at in range(int(count))}
    return {"type": "object", "properties": names, "$defs": {"A": {"type": "null"}}}


def large(count: str) -> Json:
    text = {"type": "string", "description": "x" * 77}
    return {"type": "object", "properties": {f"p{at:03}": text for at in range(int(count))}}


ABBREVIATIONS: dict[str, Any] = {
    r"<x times (\d+)>": lambda count: "x" * int(count),
    r"<([\d,]+) x>": lambda count: "x" * int(count.replace(",", "")),
    r"(..) <word x (\d+)>": lambda first, count: first + " word" * int(count),
    r"(\d+) tools .*": many_tools,
    r"<(\d+) nested objects>": nested,
    r"<(\d+) \$ref>": referring,
    r"<object with (\d+) properties, over 64 KiB>": large,
    r"<enum of (\d+) strings>": lambda count: {"enum": [f"s{at}" for at in range(int(count))]},
}
