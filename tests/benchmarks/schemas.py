"""Schemas of the wild: how many a server with mlxcel's grammar engine compiles, as we send them.

``python -m tests.benchmarks.schemas FILE`` reads JSON lines, plain or packed with gzip, of the form
``{"name", "schema", "tests": [{"valid", "data"}]}``, as JSONSchemaBench has them. It needs
llguidance. A scripted server compiles each schema, answers 400 if it cannot, and otherwise with the
data of the test if the grammar takes it. A grammar that refuses valid data, for example for the
order of its properties, counts as a fault only if that of the user's own schema takes them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai

from mlxcel_integrations import LLM, MlxcelError, StructuredOutputError
from mlxcel_integrations.structured.type_schema import to_schema

__all__ = ["Server", "outcome"]

Json = dict[str, Any]


class Server(httpx.BaseTransport):
    """A server that compiles what it is sent, and answers with what it is told to.

    Attributes:
        data: The next answer.
        requests: How many chats were sent.
    """

    def __init__(self) -> None:
        import llguidance

        self.data: Any = None
        self.requests = 0
        self._matcher = llguidance.LLMatcher
        self._tokenizer = llguidance.LLTokenizer("byte")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/chat/completions"):
            return httpx.Response(404)
        self.requests += 1
        body = json.loads(request.read())
        problem, taken = self.compiled(body["response_format"]["json_schema"]["schema"])
        if problem:
            message = f"invalid JSON schema for response_format: {problem}"
            return httpx.Response(400, json={"error": {"message": message, "code": 400}})
        text = json.dumps(self.data, ensure_ascii=False)
        choice = {"index": 0, "delta": {"content": text if taken else "null"}}
        end = {"index": 0, "delta": {}, "finish_reason": "stop" if taken else "refused"}
        events = [json.dumps({"choices": [each]}) for each in (choice, end)]
        stream = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
        return httpx.Response(200, text=stream, headers={"content-type": "text/event-stream"})

    def compiled(self, schema: Any) -> tuple[str, bool]:
        """Return why a schema is no grammar, and whether its grammar takes the data."""
        grammar = self._matcher.grammar_from_json_schema(json.dumps(schema))
        problem = self._matcher.validate_grammar(grammar, self._tokenizer)
        if problem:
            return problem, False
        matcher = self._matcher(self._tokenizer, grammar, log_level=0)
        data = json.dumps(self.data, ensure_ascii=False).encode()
        taken = matcher.try_consume_tokens(list(data)) == len(data) and matcher.is_accepting()
        return "", taken


def outcome(llm: LLM, server: Server, schema: Json, tests: Iterable[Json]) -> str:
    """Return what becomes of a schema: ``passes``, or the first thing that is wrong."""
    for test in tests:
        try:
            sent = to_schema(schema)
            server.data = {"value": test["data"]} if sent.wrapped else test["data"]
            answer = llm.chat("?", schema=schema, max_tokens=4000, show_schema=False)
        except StructuredOutputError as error:
            if test["valid"] and error.finish_reason != "refused":
                return f"misfit: {error}"
            if test["valid"] and server.compiled(sent.json_schema)[1]:
                return "refuses valid data"
        except openai.APIStatusError as error:
            return f"not compiled: {error}"
        except MlxcelError as error:
            return f"refused: {error}"
        else:
            if not test["valid"]:
                return "silent misfit"
            if answer != test["data"]:
                return "another answer"
    return "passes"


def rows(path: Path) -> Iterator[Json]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        yield from map(json.loads, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--verbose", action="store_true", help="name each schema that fails")
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for row in rows(options.file):
        server = Server()
        with LLM(base_url="http://scripted", served_model="m", transport=server) as llm:
            began = time.perf_counter()
            found = outcome(llm, server, row["schema"], row["tests"])
            slowest = max(slowest, (time.perf_counter() - began) / max(len(row["tests"]), 1))
        outcomes[found.partition(":")[0]] += 1
        if options.verbose and found != "passes":
            print(f"{row['name']}: {found[:300]}")
    total = sum(outcomes.values())
    for name, count in outcomes.most_common():
        print(f"{name:<28} {count:>5}  {count / total:.1%}")
    print(f"slowest answer: {slowest:.2f} s")
    return 0 if outcomes["passes"] >= 0.99 * total and not outcomes["silent misfit"] else 1


if __name__ == "__main__":
    sys.exit(main())
