"""Compares the scripted server with recordings of a real mlxcel 0.4.2.

    python -m tests.contract.compare RECORDINGS

Each recorded request is sent to a scripted server that was started with the recorded flags and
has the recorded model. Each difference is named; the status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import recorded
from .outcomes import outcome

Json = dict[str, Any]

NEVER_MET = {
    "01-*/options-cors": "the package is no browser",
    "10-*/messages-*": "the package sends no Anthropic messages but to count them",
    "10-*/responses-*": "the package does not use OpenAI's responses",
    "11-*/metrics-*": "the package does not read metrics",
    "12-*/queue-full-messages": "the package sends no Anthropic messages but to count them",
    "14-*/messages-stream-left": "the package sends no Anthropic messages but to count them",
    "16-*/6-messages-whole": "the package sends no Anthropic messages but to count them",
}
"""The recordings that no client of the package can meet, and why."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contract.compare")
    parser.add_argument("recordings", type=Path)
    parser.add_argument("names", nargs="*", help="which entries, as GROUP/NAME with wildcards")
    options = parser.parse_args()
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
    if any(fnmatch(name, pattern) for pattern in NEVER_MET):
        return False
    return not names or any(fnmatch(name, pattern) for pattern in names)


def differences(group: str, entries: list[Json]) -> Iterator[tuple[str, list[str]]]:
    """The differences of each entry of a group."""
    for entry in entries:
        if "response" not in entry or "request" not in entry:
            continue
        with recorded.serving(entry["flags"]) as server:
            try:
                actual = recorded.send(server, entry["request"])
            except OSError as error:
                actual = [repr(error)]
            expected = told(entry)
        if recorded.held_to_a_schema(entry["request"]):
            expected, actual = map(recorded.without_json, (expected, actual))
        lines = [line for line in difflib.ndiff(expected, actual) if line[0] in "-+"]
        yield f"{group}/{entry['name']}", lines


def told(entry: Json) -> list[str]:
    """The recorded outcome."""
    response = entry["response"]
    text = "".join(text for _, text in response["sse"]) if "sse" in response else response["body"]
    return outcome(response["status"], response["headers"].get("content-type"), text)


if __name__ == "__main__":
    sys.exit(main())
