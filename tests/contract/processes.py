"""Recorded starts, as the scripted program makes them."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from tests.fakes.program import executable

from .outcomes import Json

CONFIG: Json = {"model_type": "qwen2", "max_position_embeddings": 4096}


def compare(entry: Json) -> list[str]:
    """The differences of a recorded command: how it ended, and what it wrote."""
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as name:
        folder = Path(name)
        write_models(folder)
        code, stdout, stderr = run(entry, folder)
    recorded = entry.get("exit_code")
    ends = recorded if isinstance(recorded, int) else "still running"
    lines = [f"- ends with {ends}", f"+ ends with {code}"] if code != ends else []
    lines += unlike(errors(entry.get("stderr") or []), errors(stderr), "stderr")
    if "unix-socket" not in entry["name"]:  # only the end of its log was kept
        lines += unlike(log(entry.get("stdout") or []), log(stdout), "stdout")
    return lines


def write_models(folder: Path) -> None:
    """Directories of models, whole and damaged, that the recorded commands name."""
    tensor = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps(tensor).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": weights,
    }
    damaged: dict[str, Json] = {
        "scripted": {},
        "badtmpl": {},
        "empty": dict.fromkeys(files),
        "noconfig": {"config.json": None},
        "notok": {"tokenizer.json": None},
        "badtok": {"tokenizer.json": b"{"},
        "noweights": {"model.safetensors": None},
        "truncated": {"model.safetensors": weights[:-2]},
        "corrupt": {"model.safetensors": b"no safetensors at all"},
        "badtype": {"config.json": b'{"model_type": "nosuch"}'},
    }
    for model, changes in damaged.items():
        (folder / "models" / model).mkdir(parents=True)
        for name, data in {**files, **changes}.items():
            if data is not None:
                (folder / "models" / model / name).write_bytes(data)
    (folder / "run").mkdir()
    (folder / "run" / "empty.key").write_text("")


def run(entry: Json, folder: Path) -> tuple[int | str, list[str], list[str]]:
    """How the command ends, or "still running" once it is ready, and what it wrote."""
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    if not entry["name"].startswith("port-in-use"):
        taken.close()
    program = executable(folder, FAKE_GENERATION="v0.4.2")
    words = re.split(r" (?=-)", entry["command"].replace("<port>", str(port)))
    first, *flags = words
    arguments = [*first.split(" ")[1:], *(part for flag in flags for part in flag.split(" ", 1))]
    environment = {**os.environ, **entry.get("environment", {})}
    if "RUST_BACKTRACE" not in entry.get("environment", {}):
        environment.pop("RUST_BACKTRACE", None)
    process = subprocess.Popen(
        [program, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    code: int | str = "still running"
    try:
        code = process.wait(1.5 if isinstance(entry.get("exit_code"), str) else 3)
    except subprocess.TimeoutExpired:
        if isinstance(entry.get("exit_code"), str) and "503" in entry["exit_code"]:
            httpx.get(f"http://127.0.0.1:{port}/health")
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    taken.close()
    shutil.rmtree(folder / "run", ignore_errors=True)
    told = [text.replace(str(port), "<port>").split("\n") for text in (out, err)]
    return code, told[0], told[1]


def errors(lines: list[str]) -> list[str]:
    """The lines of stderr that are not about the build or about similar flags."""
    text = "\n".join(lines).split("\nUsage")[0].split("\n  tip")[0]
    text = re.sub(r"\n   0: .*", "", text, flags=re.DOTALL)
    return [line for line in text.split("\n") if line and not line.startswith("For more")]


def log(lines: list[str]) -> list[str]:
    """Which lines were logged, without their numbers, sizes and places in a file."""
    kept = [re.sub(r"\x1b\[\d*m", "", line) for line in lines]
    kept = [re.sub(r"^(<time>|\d{4}-\S+) +", "", line) for line in kept if line]
    kept = [line for line in kept if not any(skipped in line for skipped in SKIPPED)]
    return sorted({re.sub(r" \w+=.*|\d[\d.]*|'[^']*'", "", line) for line in kept})


SKIPPED = (
    "Tokenizer recognizes",
    "Paged KV block budget",
    "eos-at-prefill",
    "EOS tokens",
    "chat_request",
)
"""Lines that depend on the model."""


def unlike(expected: list[str], actual: list[str], where: str) -> list[str]:
    differing = [line for line in difflib.ndiff(expected, actual) if line[0] in "-+"]
    return [f"{line[:2]}{where}: {line[2:]}" for line in differing]
