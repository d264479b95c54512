"""Have a process print much, and look at what the one that reads it needs.

python -m tests.supervisor.measure_logs [MB]
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

import psutil

from mlxcel_integrations.secret import Secret
from mlxcel_integrations.supervisor.logs import ServerLog

# Each is printed over and over.
SHAPES = {
    "lines of 80 bytes": b"x" * 79 + b"\n",
    "empty lines": b"\n",
    "no newline": b"x",
    "invalid UTF-8": b"\xff\xfe\xc3(\xe2\x82 \xf0\x9f\n",
}

PRINTING = """
import os, sys
shape, size = bytes.fromhex(sys.argv[1]), int(sys.argv[2])
piece = memoryview(shape * (65536 // len(shape)))
while size > 0:
    size -= os.write(1, piece)
"""


class Sleeping(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock of a handler, which the end of this program would wait for.
        time.sleep(1)
        return True


def drain(shape: bytes, size: int) -> int:
    """Read such an output and return the most memory that this process has used, in bytes."""
    process = psutil.Process()
    most = process.memory_info().rss
    log = ServerLog(Secret("sk-secret"))
    command = [sys.executable, "-c", PRINTING, shape.hex(), str(size)]
    reader, writer = os.pipe()
    log.drain(reader)
    with subprocess.Popen(command, stdout=writer) as printing:
        os.close(writer)
        while printing.poll() is None:
            time.sleep(0.005)
            most = max(most, process.memory_info().rss)
    assert 0 == printing.returncode
    log.join(0)
    assert log.tail
    return max(most, process.memory_info().rss)


def main(size: int) -> None:
    logger = logging.getLogger("mlxcel.server")
    logger.propagate = False
    before = psutil.Process().memory_info().rss
    for logged in (False, True):
        if logged:
            logger.addHandler(Sleeping())
            logger.setLevel(logging.INFO)
        for name, shape in SHAPES.items():
            started = time.monotonic()
            growth = (drain(shape, size) - before) / 1e6
            print(
                f"{name}, {'a handler that sleeps' if logged else 'not logged'}: "
                f"{growth:.1f} MB more, {time.monotonic() - started:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) * 1_000_000 if len(sys.argv) > 1 else 1_000_000_000)
