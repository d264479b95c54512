"""Nothing grows over thousands of calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests import WARNINGS_ARE_ERRORS
from tests.fakes.server import FakeServer

CALLER = """
import gc, json, sys, threading
import psutil
from mlxcel_integrations import LLM

process = psutil.Process()

def measure():
    gc.collect()
    return process.num_fds(), threading.active_count(), process.memory_info().rss

with LLM(socket=sys.argv[1]) as llm:
    def call(times):
        for _ in range(times):
            llm.chat("hi")
    call(500)
    before = measure()
    call(5000)
    after = measure()
print(json.dumps([after[i] - before[i] for i in range(3)]))
"""


def test_5000_calls_over_a_socket_leave_no_descriptor_thread_or_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with FakeServer(socket=path):
        done = subprocess.run(
            [sys.executable, *WARNINGS_ARE_ERRORS, "-c", CALLER, str(path)],
            capture_output=True,
            text=True,
            timeout=110,
            check=True,
        )

    descriptors, threads, growth = json.loads(done.stdout)
    assert (0, 0) == (descriptors, threads)
    assert 5_000_000 > growth
