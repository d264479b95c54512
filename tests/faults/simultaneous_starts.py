"""Simultaneous starts: many programs that use the same model at once share one server."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlxcel_integrations import LLM
from tests.faults.measurements import Figure, fake_mlxcel, left_of
from tests.supervisor.conftest import wait_until

THREADS = 8
THREADS_OF_ONE = 32
KEEP_ALIVE = 1.0
SECONDS = 60.0

# All fork from one program, since importing the package takes longer than a start. Each says how
# many of its threads got an answer or what they got instead, and keeps its server until told.
PROGRAM = """
import json, os, sys
from tests.faults.simultaneous_starts import ask

count, threads = int(sys.argv[1]), int(sys.argv[2])
options = json.loads(sys.argv[3])
go_reader, go_writer = os.pipe()
for _ in range(count):
    if os.fork() == 0:
        os.close(go_writer)
        os.read(go_reader, 1)
        llms, answers = ask(threads, options)
        os.write(1, (json.dumps(answers) + "\\n").encode())
        sys.stdin.read()
        for llm in llms:
            llm.close()
        os._exit(0)
os.close(go_reader)
os.close(go_writer)
for _ in range(count):
    os.wait()
"""


def simultaneous_starts(count: int) -> Iterator[Figure]:
    """Servers started by processes times threads at once."""
    with fake_mlxcel() as fake:
        llms, replies = ask(THREADS_OF_ONE, {"binary": fake.binary(LOAD_SECONDS="0.2")})
        answers = Counter(replies)
        yield started(f"one process with {THREADS_OF_ONE} threads", len(fake.starts), answers)
        for llm in llms:
            llm.close()
        left = left_of(fake)
        yield Figure("left of it", str(len(left)), "0", not left, tuple(left))
    with fake_mlxcel() as fake:
        binary = fake.binary(LOAD_SECONDS="0.2")
        options: dict[str, Any] = {"binary": binary, "share": "user", "keep_alive": KEEP_ALIVE}
        answers = answers_of_processes(count, options)
        name = f'{count} processes with {THREADS} threads, share="user"'
        yield started(name, len(fake.starts), answers)
        wait_until(lambda: not fake.running and not fake.directories, KEEP_ALIVE + 5)
        running = [str(pid) for pid in fake.running]
        yield Figure("servers left of them", str(len(running)), "0", not running, tuple(running))
        names = ", ".join(fake.directories) or "none"
        yield Figure("files and directories left of them", names, "none", names == "none")


def started(who: str, servers: int, answers: Counter[str]) -> Figure:
    wrong = tuple(f"{n} times {answer}" for answer, n in answers.items() if answer != "echo: hi")
    return Figure(f"servers started by {who}", str(servers), "1", servers == 1 and not wrong, wrong)


def ask(threads: int, options: dict[str, Any]) -> tuple[list[LLM], list[str]]:
    """Use a model in so many threads at once, each with an object of its own."""
    barrier = threading.Barrier(threads)
    llms: list[LLM] = []
    answers: list[str] = []

    def use() -> None:
        barrier.wait()
        try:
            llm = LLM("m", **options)
            llms.append(llm)
            answers.append(llm.chat("hi"))
        except Exception as error:  # noqa: BLE001  any is one that is told
            answers.append(f"{type(error).__name__}: {error}")

    users = [threading.Thread(target=use, daemon=True) for _ in range(threads)]
    for user in users:
        user.start()
    for user in users:
        user.join(SECONDS)
    return llms, answers + ["no answer"] * (threads - len(answers))


def answers_of_processes(count: int, options: dict[str, Any]) -> Counter[str]:
    root = Path(__file__).parents[2]
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(count), str(THREADS), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        start_new_session=True,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    answers: Counter[str] = Counter()
    try:
        for _ in range(count):
            answers.update(json.loads(program.stdout.readline() or "[]"))
    finally:
        program.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(SECONDS)
        if program.poll() is None:
            os.killpg(program.pid, 9)
        program.stdout.close()
        program.wait()
    return answers
