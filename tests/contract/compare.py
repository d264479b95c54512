"""Compares the scripted server with recordings of a real mlxcel 0.4.2.

    python -m tests.contract.compare RECORDINGS

Each recorded request is sent to a scripted server that was started with the recorded flags and
has the recorded model. Each difference is named; the status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tests.fakes.server import FakeServer

from . import processes, recorded, situations
from .outcomes import Json, outcome, short

NOT_COMPARED = {
    "01-*/options-cors": "the package is no browser",
    "10-*/messages-*": "the package sends no Anthropic messages but to count them",
    "10-*/responses-*": "the package does not use OpenAI's responses",
    "11-*/metrics-*": "the package does not read metrics",
    "12-*/queue-full-slots": "what the list says of a queue is not the same in all recordings",
    "17-*/estimate-memory": "the package does not ask for it",
    "01-*/failed-load-log": "its lines are those of 17-process/model-truncated",
    "17-*/log-of-one-chat": "the package reads nothing in what a chat logs",
    "17-*/help": "the package reads no help",
    "17-*/serve-help": "the package reads no help",
    "15-*/timeout-1-stream": "not all of its events were kept",
    "12-*/queue-full-messages": "the package sends no Anthropic messages but to count them",
    "14-*/messages-stream-left": "the package sends no Anthropic messages but to count them",
    "16-*/6-messages-whole": "the package sends no Anthropic messages but to count them",
}
"""The recordings that are left out, and why: most of them no client of the package can meet."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contract.compare")
    parser.add_argument("recordings", type=Path)
    parser.add_argument("names", nargs="*", help="which entries, as GROUP/NAME with wildcards")
    parser.add_argument("--tables", action="store_true", help="write the tables of the contract")
    options = parser.parse_args()
    if options.tables:
        write_tables(options.recordings)
        return 0
    compared = different = 0
    for path in sorted(options.recordings.glob("*.json")):
        recording = json.loads(path.read_text())
        wanted = [entry for entry in recording["entries"] if chosen(path, entry, options.names)]
        for name, lines in differences(path.stem, wanted):
            compared += 1
            different += bool(lines)
            if lines:
                print(f"{name}\n  " + "\n  ".join(lines), flush=True)
    print(f"{different} of {compared} recordings differ")
    return int(different > 0)


def chosen(path: Path, entry: Json, names: list[str]) -> bool:
    name = f"{path.stem}/{entry['name']}"
    if any(fnmatch(name, pattern) for pattern in NOT_COMPARED):
        return False
    return not names or any(fnmatch(name, pattern) for pattern in names)


def differences(group: str, entries: list[Json]) -> Iterator[tuple[str, list[str]]]:
    """The differences of each entry of a group."""
    for entry in entries:
        name = f"{group}/{entry['name']}"
        if "command" in entry and any(map(entry["command"].startswith, PROGRAMS)):
            yield name, processes.compare(entry)
        elif entry["name"] in processes.SPECIAL:
            yield name, processes.SPECIAL[entry["name"]](entry)
        elif compare := next((way for fits, way in WAYS if fits(entry)), None):
            with recorded.serving(entry["flags"]) as server:
                yield name, compare(server, name, entry)
        else:
            yield name, ["- nothing compares this kind of recording"]


def alone(server: FakeServer, name: str, entry: Json) -> list[str]:
    """One answer, with the other requests that the server had meanwhile."""
    request = entry["request"]
    logged: list[str] = []
    with meanwhile(server, name):
        server.log = lambda text, level, source: logged.append(f"{level:>5} {source}: {text}")
        actual = recorded.send(server, request)
    expected = told(entry["response"])
    lines = unlike(log_lines(entry.get("log", [])), log_lines(logged), "")
    if recorded.held_to_a_schema(request):
        expected, actual = map(recorded.without_json, (expected, actual))
    return lines + unlike(expected, actual, request["path"])


def log_lines(lines: list[str]) -> list[str]:
    """Which warnings and errors were logged; numbers and circumstances are left out."""
    kept = [re.sub(r"^<time> | prefill\{.*?\}:", "", line) for line in lines]
    kept = [line for line in kept if line.split()[0] in ("WARN", "ERROR")]
    return sorted({re.sub(r"\d+", "n", line.strip()) for line in kept})


@contextmanager
def meanwhile(server: FakeServer, name: str) -> Iterator[None]:
    count = next((count for pattern, count in BUSY.items() if fnmatch(name, pattern)), 0)
    if "during-prefill" in name:
        with situations.prefill(server):
            yield
    elif count:
        with situations.others(server, count):
            yield
    else:
        yield


BUSY = {"11-*-one-busy": 1, "11-*-two-busy-two-waiting": 4, "12-*/queue-full-*": 3}
"""How many streams run or wait while these are sent."""


def burst(server: FakeServer, name: str, entry: Json) -> list[str]:
    """Many at once: each ends in one of the recorded ways; how many in which is chance."""
    server.token_seconds = 0.005
    server.scheduler.prefill_seconds = 0.01
    logged: list[str] = []
    server.log = lambda text, level, source: logged.append(f"{level:>5} {source}: {text}")
    answers = situations.burst(server, entry["request"])
    ends = {situations.ended(*answer) for answer in answers}
    expected = entry["outcomes"].keys() | LOST
    if not any("error" in end for end in entry["outcomes"]) and "13-" in name:
        expected = entry["outcomes"].keys()
    lines = [f"+ {end}" for end in sorted(ends - expected)]
    if ends & LOST and entry.get("log"):
        missing = set(log_lines(logged)) - set(log_lines(entry["log"])) - BUSY_LINES
        lines += [f"+ {line}" for line in sorted(missing)]
    kept = entry.get("one_response_per_outcome") or {}
    shapes = {
        situations.ended(response["status"], content_type(response), text(response)): told(response)
        for response in [*entry.get("responses", []), *kept.values()]
    }
    for answer in answers:
        end = situations.ended(*answer)
        if end in shapes:
            lines += unlike(shapes[end], outcome(*answer), entry["request"]["path"])
    return lines


LOST = {
    "200 finish_reason error, 1 content chunks",
    "200 finish_reason error, 0 content chunks",
    "200 finish_reason None, 1 content chunks, no [DONE]",
    '503 {"error":{"message":"All slots are busy. Please try again later.","type":"server',
}
"""How requests without a slot end: any burst may have some of them."""


BUSY_LINES = {
    "ERROR tower_http::trace::on_failure: response failed classification=Status code: n "
    "Service Unavailable latency=n ms"
}


def left(server: FakeServer, name: str, entry: Json) -> list[str]:
    """A client that goes away: what it had by then, and what the slots say afterwards."""
    request = entry["request"]
    stream = bool(request["body"].get("stream"))
    prefilled = "prefill" in name
    server.token_seconds = 0.0005 if prefilled else 0.005
    server.scheduler.prefill_seconds = 0.5 if prefilled else 0.002
    connection = situations.start(server, request)
    lines = []
    if stream:
        response = connection.getresponse()
        events = len(entry["response"]["sse"])
        got = b"".join(response.readline() + response.readline() for _ in range(events)).decode()
        actual = outcome(response.status, response.headers.get("content-type"), got)
        lines += unlike(told(entry["response"]), actual, request["path"])
    situations.wait(lambda: bool(server.posts))
    time.sleep(0.1)
    situations.leave(connection)
    began = time.monotonic()
    if prefilled:
        # Others wait for the prefill, whoever left; meanwhile no slot is busy.
        lines += ["+ a slot is busy"] * (server.generating > 0)
        recorded.send(server, {"method": "POST", **request, "body": SHORT})
        lines += ["+ the prefill ended with its client"] * (time.monotonic() - began < 0.2)
        return lines
    idle = situations.wait(lambda: server.generating == 0, 0.5 if stream else 0.2)
    if idle != stream:
        lines.append(f"+ the slot is {'free' if idle else 'busy'} afterwards")
    return lines


SHORT = {**situations.QUESTION, "max_tokens": 1}


def deaf(server: FakeServer, name: str, entry: Json) -> list[str]:
    """Whether the health is told at once while others are answered."""
    server.token_seconds = 0.0005
    request = {**entry["request"], "times": entry["request"].get("times", 1), "seconds_apart": 0}
    request["body"] = {**request["body"], "max_tokens": 1000}
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(situations.burst, server, request)
        situations.wait(lambda: server.generating > 0)
        began = time.monotonic()
        recorded.send(server, {"method": "GET", "path": "/health"})
        waited = time.monotonic() - began > 0.25
        answers.result()
    slow = any(probe["took_ms"] > 1000 for probe in entry["health"])
    return [f"+ the health {'waits' if waited else 'is told at once'}"] * (waited != slow)


def write_tables(recordings: Path) -> None:
    """Write a table of each group, with what can be asked of a server that does nothing else."""
    for path in sorted(recordings.glob("*.json")):
        lines: list[Any] = []
        flags = None
        for entry in json.loads(path.read_text())["entries"]:
            plain = next((way for fits, way in WAYS if fits(entry)), None) is alone
            name = f"{path.stem}/{entry['name']}"
            busy = "during-prefill" in name or any(fnmatch(name, pattern) for pattern in BUSY)
            if not plain or busy or not chosen(path, entry, []):
                continue
            if entry["flags"] != flags:
                flags = entry["flags"]
                lines.append(flags)
            request = entry["request"]
            asked = {"to": f"{request['method']} {request['path']}"}
            asked |= {name: request[name] for name in ("headers", "body_text") if name in request}
            if "body" in request and "body_text" not in request:
                chat = recorded.is_chat(request["path"])
                asked["body"] = recorded.shortened(request["body"]) if chat else request["body"]
            lines.append([entry["name"], asked, [*map(short, told(entry["response"]))]])
        if lines:
            table = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
            (recorded.TABLES / f"{path.stem[3:]}.jsonl").write_text(table + "\n")


def told(response: Json) -> list[str]:
    """The recorded outcome."""
    return outcome(response["status"], content_type(response), text(response))


def content_type(response: Json) -> str | None:
    kind = response["headers"].get("content-type")
    return kind if kind is None else str(kind)


def text(response: Json) -> str:
    if "sse" in response:
        return "".join(part for _, part in response["sse"])
    return str(response["body"])


def unlike(expected: list[str], actual: list[str], path: str) -> list[str]:
    expected, actual = (list(map(VARYING.get(path, str), lines)) for lines in (expected, actual))
    return [line for line in difflib.ndiff(expected, actual) if line[0] in "-+"]


VARYING = {"/detokenize": lambda line: re.sub(r'"content": ".*"', '"content": "text"', line)}
"""What another vocabulary says otherwise."""

Way = Callable[[FakeServer, str, Json], list[str]]
WAYS: list[tuple[Callable[[Json], bool], Way]] = [
    (lambda entry: "outcomes" in entry, burst),
    (lambda entry: "health" in entry, deaf),
    (lambda entry: "ended" in entry.get("response", {}), left),
    (lambda entry: "response" in entry and "request" in entry, alone),
]
"""How each kind of entry is compared."""
PROGRAMS = ("mlxcel serve ", "mlxcel --version")


if __name__ == "__main__":
    sys.exit(main())
