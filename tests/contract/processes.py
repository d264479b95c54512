"""Recorded starts, as the scripted program makes them."""

from __future__ import annotations

import contextlib
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.fakes.ports import free_port
from tests.fakes.program import executable

from .outcomes import Json
from .servers import CHAT, client

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
    port = free_port()
    taken = socket.create_server(("127.0.0.1", port))
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
    deadline = time.monotonic() + 20
    while process.poll() is None and not listens(port, taken, folder):
        assert time.monotonic() < deadline, entry["name"]
        time.sleep(0.01)
    if process.returncode is None:
        if "503" in str(entry.get("exit_code")):
            httpx.get(f"http://127.0.0.1:{port}/health")
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
    else:
        code = process.returncode
    out, err = process.communicate()
    taken.close()
    shutil.rmtree(folder / "run", ignore_errors=True)
    told = [text.replace(str(port), "<port>").split("\n") for text in (out, err)]
    return code, told[0], told[1]


def listens(port: int, taken: socket.socket, folder: Path) -> bool:
    """Whether the program does, on its socket or its port, unless that is another's."""
    if any((folder / "run").glob("*.sock")):
        return True
    with socket.socket() as probe:
        return taken.fileno() < 0 and probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def started(*flags: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The program on a Unix socket, as soon as it listens."""
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as name:
        program = executable(Path(name), FAKE_GENERATION="v0.4.2", **environment)
        path = Path(name) / "x.sock"
        command = [program, "serve", "-m", "m", "--host", path, "--port", "0", *flags]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)
        try:
            deadline = time.monotonic() + 30
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.005)
            yield process, path
        finally:
            process.kill()
            process.wait()


def signalled(entry: Json) -> list[str]:
    """A signal ends it at once; a stream is cut, and a whole answer does not come."""
    number = -int(entry["exit_code"])
    body = {"model": "m", "messages": [{"role": "user", "content": "a b c d e f g h"}]}
    with started(FAKE_TOKEN_SECONDS="0.1") as (process, path):
        http_client = client(f"unix://{path}", None)
        text = ""
        if "busy" in entry["name"]:
            with (
                http_client.stream("POST", CHAT, json={**body, "stream": True}) as response,
                contextlib.suppress(httpx.HTTPError),
            ):
                for chunk in response.iter_text():
                    text += chunk
                    process.send_signal(number)
        process.send_signal(number)
        code = process.wait(30)
    lines = [f"+ ends with {code}"] * (code != entry["exit_code"])
    return lines + ["+ the stream is not cut"] * ("[DONE]" in text or 'finish_reason":"' in text)


def loading(entry: Json) -> list[str]:
    """Without warmup it listens first, and its health changes when the model is there."""
    expected = [step["response"]["status"] for step in entry["steps"] if "response" in step]
    statuses: list[int] = []
    with (
        started("--no-warmup", FAKE_LOAD_SECONDS="0.5") as (_, path),
        client(f"unix://{path}", None) as http_client,
    ):
        deadline = time.monotonic() + 30
        while statuses[-1:] != expected[-1:] and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                status = http_client.get("/health").status_code
                statuses += [status] * (statuses[-1:] != [status])
            time.sleep(0.01)
    return unlike([*map(str, expected)], [*map(str, statuses)], "health")


SPECIAL = {
    "sigterm-idle": signalled,
    "sigint-idle": signalled,
    "sigterm-busy": signalled,
    "sigint-busy": signalled,
    "loading-health": loading,
}
"""Recordings of a process that lives for a while."""


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
