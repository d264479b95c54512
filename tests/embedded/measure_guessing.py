"""What guessing tokens ahead costs and brings: `python -m tests.embedded.measure_guessing`.

Processor time for each token, since another load on the machine hardly changes that.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx

from tests.embedded.engine import client, start, wait_until_ready

DOCS = Path(__file__).parents[2] / "docs"
TICKS = os.sysconf("SC_CLK_TCK")
QUOTES = 14
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "year": {"type": "integer"}},
    "required": ["name", "year"],
}
CITIES = {"type": "array", "minItems": 5, "maxItems": 5, "items": CITY}


def quotes() -> list[dict[str, Any]]:
    text = (DOCS / "lifecycle.md").read_text() + (DOCS / "tools.md").read_text()
    parts = [part for part in text.split("\n\n") if 200 < len(part) < 420 and "|" not in part]
    return [
        {"prompt": f"The text:\n{part}\n\nThe same text again:\n{part[:50]}", "max_tokens": 32}
        for part in parts[:QUOTES]
    ]


WORK: dict[str, list[dict[str, Any]]] = {
    "quotes": quotes(),
    "JSON": [{"prompt": "Five cities:", "json_schema": CITIES, "max_tokens": 120}],
    "prose": [{"prompt": "A long story about a ship and a storm.", "max_tokens": 60}],
}


def processor_seconds(process: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def answer(http: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    reply: dict[str, Any] = http.post("/v1/completions", json={"temperature": 0, **body}).json()
    return reply


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as directory:
        processes, clients = [], []
        for kind in ("none", "ngram-simple"):
            path = Path(directory) / f"{kind}.sock"
            flags = ("-m", "embedded", "--host", str(path), "--port", "0", "--spec-type", kind)
            processes.append(start(*flags, OMP_NUM_THREADS="1"))
            wait_until_ready(processes[-1])
            clients.append(client(path))
        try:
            for name, bodies in WORK.items():
                took, texts = [0.0, 0.0], [list[str](), list[str]()]
                for body in bodies:
                    for which, (process, http) in enumerate(zip(processes, clients, strict=True)):
                        answer(http, {**body, "max_tokens": 1})
                        begin = processor_seconds(process)
                        texts[which].append(answer(http, body)["choices"][0]["text"])
                        took[which] += processor_seconds(process) - begin
                differ = sum(one != other for one, other in zip(*texts, strict=True))
                print(f"{name}: {took[1] / took[0]:.2f} of the time, {differ} answers differ")
        finally:
            for process in processes:
                process.terminate()
                process.communicate(timeout=10)


if __name__ == "__main__":
    main()
