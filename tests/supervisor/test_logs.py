"""Whatever a server prints is drained, kept within bounds, and never shows the key."""

from __future__ import annotations

import base64
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxcel_integrations.secret import hidden
from mlxcel_integrations.supervisor.log_lines import ESCAPE_SEQUENCE
from mlxcel_integrations.supervisor.logs import ServerLog
from tests import WARNINGS_ARE_ERRORS
from tests.supervisor.conftest import wait_until

ROOT = Path(__file__).parents[2]
KEY = "sk-secret"
KB = 1024
MB = 1024 * KB


class Taking(logging.Handler):
    """Keeps what it gets, after it has done something else."""

    def __init__(self, first: Callable[[], object]) -> None:
        super().__init__()
        self._first = first
        self.taken: list[logging.LogRecord] = []

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock of a handler, which the end of the program would wait for.
        self._first()
        self.taken.append(record)
        return True

    @property
    def warnings(self) -> list[str]:
        return [one.getMessage() for one in self.taken if one.levelno == logging.WARNING]

    @property
    def lines(self) -> list[str]:
        return [one.getMessage() for one in self.taken if one.levelno == logging.INFO]


@pytest.fixture
def handled() -> Iterator[Callable[[Callable[[], object]], Taking]]:
    """Have something done for each record of the logger; no thread of ours is left behind."""
    logger, handlers = logging.getLogger("mlxcel.server"), list[Taking]()

    def handle(first: Callable[[], object] = lambda: None) -> Taking:
        handlers.append(Taking(first))
        logger.addHandler(handlers[-1])
        logger.setLevel(logging.INFO)
        return handlers[-1]

    yield handle
    logger.setLevel(logging.NOTSET)
    for handler in handlers:
        logger.removeHandler(handler)
    assert wait_until(lambda: not threads())


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("mlxcel-log")]


def write(writer: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(writer, view) :]


def drained(*pieces: bytes, secret: str | None = None, timeout: float = 5) -> ServerLog:
    """Return a log that has read all of it; writing blocks unless it is drained.

    Args:
        timeout: Time for the lines to get to the logger, in seconds.
    """
    reader, writer = os.pipe()
    log = ServerLog(hidden(secret))
    log.drain(reader)
    for piece in pieces:
        write(writer, piece)
    os.close(writer)
    log.join(timeout)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)
    return log


def fed(*pieces: bytes, secret: str | None = None) -> ServerLog:
    log = ServerLog(hidden(secret))
    for piece in pieces:
        log.feed(piece)
    log.close()
    return log


def naive_tail(output: bytes, secret: bytes) -> str:
    """Return the tail of a short output, byte by byte and line by line."""
    output = re.sub(ESCAPE_SEQUENCE.pattern.encode(), b"", output)

    def split(size: int) -> bytes:
        return rb"\s*".join(re.escape(secret[i : i + 1]) for i in range(size))

    if not output.endswith(b"\n"):
        for size in range(len(secret) - 1, 0, -1):
            begun = re.search(split(size) + rb"\s*\Z", output)
            if begun is not None:
                output = output[: begun.start()]
                break
    output = re.sub(
        split(len(secret)),
        lambda found: b"\n".join([b"***"] * (found.group().count(b"\n") + 1)),
        output,
    )
    lines = output.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return "\n".join(line.rstrip(b"\r").decode("utf-8", "replace") for line in lines[-200:])


@pytest.mark.parametrize(
    ("pieces", "tail"),
    [
        ((), ""),
        ((b"one\ntwo\n",), "one\ntwo"),
        ((b"no newline",), "no newline"),
        ((b"half", b" a line\r\n"), "half a line"),
        ((b"one\n\n\n",), "one\n\n"),
        (("früh 日本\n".encode(),), "früh 日本"),
        (("früh 日本\n".encode()[:2], "früh 日本\n".encode()[2:]), "früh 日本"),
        ((b"caf\xe9 \xff\n",), "caf\ufffd \ufffd"),
        ((b"zero \x00 byte\n",), "zero \x00 byte"),
        ((b"x\n" * 300,), "\n".join("x" * 200)),
        ((b"begin" + b"x" * 8 * KB + b"\n",), "x" * 8 * KB),
    ],
)
def test_the_tail_is_what_was_printed(pieces: tuple[bytes, ...], tail: str) -> None:
    assert tail == drained(*pieces).tail


def test_the_tail_is_64_kb_of_whole_lines_at_most() -> None:
    lines = [f"{number:07}".ljust(KB - 1, "x") for number in range(90)]

    tail = fed("\n".join([*lines, "the end\n"]).encode()).tail

    # With its newline, each has 1 KB.
    assert [*lines[-63:], "the end"] == tail.split("\n")

    tail = fed("\n".join([*lines, "x" * KB]).encode()).tail

    assert [*lines[-63:], "x" * KB] == tail.split("\n")
    assert 64 * KB == len(tail)


# As mlxcel 0.4.2 writes them, colours included.
COLOURED = (
    b"\x1b[2m2026-11-29T10:00:00.123456Z\x1b[0m \x1b[32m INFO\x1b[0m "
    b"\x1b[2mmlxcel::server::startup\x1b[0m\x1b[2m:\x1b[0m Warming up model...\n"
)
PROBED = (
    b"\x1b[2m2026-11-29T10:00:00.223456Z\x1b[0m \x1b[31mERROR\x1b[0m "
    b"\x1b[2mtower_http::trace::on_failure\x1b[0m\x1b[2m:\x1b[0m response failed "
    b"\x1b[3mclassification\x1b[0m\x1b[2m=\x1b[0mStatus code: 503 Service Unavailable "
    b"\x1b[3mlatency\x1b[0m\x1b[2m=\x1b[0m0 ms\n"
)
PLAIN = "2026-11-29T10:00:00.123456Z  INFO mlxcel::server::startup: Warming up model..."


def test_colours_are_taken_out_of_the_tail_and_the_logger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "mlxcel.server"):
        log = drained(COLOURED[:10], COLOURED[10:])

    assert [PLAIN] == log.tail.splitlines() == caplog.messages


def test_a_key_with_a_colour_inside_is_not_shown() -> None:
    assert "key ***" == fed(b"key sk-\x1b[1msec\x1b[0mret\n", secret="sk-secret").tail


def test_the_errors_of_probes_push_nothing_out_of_the_tail() -> None:
    log = fed(COLOURED, PROBED * 300)

    assert PLAIN == log.tail
    # Other statuses are news.
    assert "500 Internal" in fed(PROBED.replace(b"503 Service", b"500 Internal")).tail


def test_the_errors_of_probes_are_not_heard() -> None:
    log = fed(COLOURED)
    last_output_at = log.last_output_at

    log.feed(PROBED)
    log.feed(PROBED + PROBED)
    assert last_output_at == log.last_output_at
    log.feed(PROBED + COLOURED)
    assert last_output_at < log.last_output_at


def test_it_tells_when_the_server_was_last_heard() -> None:
    before = time.monotonic()
    log = ServerLog(None)
    made = log.last_output_at
    log.feed(b"x")

    assert before <= made <= log.last_output_at <= time.monotonic()
    assert made < log.last_output_at


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.text(max_size=10).map(str.encode),
            st.sampled_from(
                [b"\n", b"\r\n", b"\r", b"\xe6\x97", b"abc!", b"ab", b"c!", b"\n" * 250]
            ),
        ),
        max_size=40,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_in_any_pieces_have_the_same_tail(pieces: list[bytes]) -> None:
    log = fed(*pieces, secret="abc!")

    assert naive_tail(b"".join(pieces), b"abc!") == log.tail


@given(
    st.lists(st.tuples(st.binary(max_size=20), st.integers(0, 30_000)), max_size=5),
    st.integers(1, 100),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_drained(shapes: list[tuple[bytes, int]], count: int) -> None:
    output = b"".join(piece * count for piece, count in shapes) + b"\nthe end\n"
    size = len(output) // count + 1
    pieces = [output[start : start + size] for start in range(0, len(output), size)]

    tail = drained(*pieces, secret=KEY).tail

    assert "the end" == tail.rpartition("\n")[2]
    assert len(tail) <= 64 * KB


@pytest.mark.parametrize(
    "shape",
    [
        b"\xff\xfe noise\n",
        b"\xff\xfe noise",
        b"\n",
        b"x" * 5000 + b"\n",
        b"x",
        b"\x00",
        b"\x1b[2K\x1b[1A10%\r",
        b"\xf0\x9f\x98",
    ],
    ids=["lines", "no newline", "empty", "long", "one line", "NUL", "ANSI", "half characters"],
)
@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
def test_a_flood_is_drained_and_the_tail_stays_small(
    shape: bytes, level: int, handled: Callable[..., Taking]
) -> None:
    release = threading.Event()
    handled(release.wait)
    logging.getLogger("mlxcel.server").setLevel(level)
    flood = shape * (MB // len(shape))

    # It is drained at the pace of the reader: the logger takes no line before all is read.
    tail = drained(*[flood] * 16, b"\nthe end\n", timeout=0.1).tail

    release.set()
    assert tail.endswith("\nthe end")
    assert len(tail) <= 64 * KB
    assert tail.count("\n") < 200


def test_an_error_at_the_end_of_a_very_long_line_is_kept(handled: Callable[..., Taking]) -> None:
    handler = handled()

    tail = drained(b"10%\r" * 300_000 + b"Error: disk full\n").tail

    assert tail.endswith("\rError: disk full")
    assert [tail] == handler.lines
    assert 8 * KB == len(tail)


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"50% done\n%s\n",), ["50% done", "%s"]),
        (
            (
                b"ha",
                b"lf\r\n\nno newline",
            ),
            ["half", "", "no newline"],
        ),
        ((b"caf\xe9\n",), ["caf\ufffd"]),
        ((b"x" * 20 * KB, b"\n", b"next\n"), ["x" * 8 * KB, "next"]),
    ],
)
def test_each_line_is_a_record(
    pieces: tuple[bytes, ...], lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mlxcel.server"):
        drained(*pieces)

    assert [("mlxcel.server", logging.INFO, line) for line in lines] == caplog.record_tuples


def test_nothing_is_queued_and_no_thread_runs_for_a_logger_that_is_off() -> None:
    log = ServerLog(None)
    log.feed(b"line\n")

    assert [] == threads()


def test_a_logger_turned_on_and_off_gets_the_whole_lines(handled: Callable[..., Taking]) -> None:
    handler, logger, log = handled(), logging.getLogger("mlxcel.server"), ServerLog(hidden(KEY))
    for level, piece in [
        (logging.WARNING, b"before\nkey: sk-s"),
        (logging.INFO, b"ecret\nwhole\nbegun sk-s"),
        (logging.WARNING, b"ecret\n"),
        (logging.INFO, b"after\n"),
    ]:
        logger.setLevel(level)
        log.feed(piece)
        log.close()
        log.join(60)

    assert ["whole", "begun ", "after"] == handler.lines


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_handler_that_raises_gets_every_line(
    error: type[BaseException], handled: Callable[..., Taking]
) -> None:
    asked = []

    def fail() -> None:
        asked.append(1)
        raise error("broken")

    handled(fail)

    assert "one\ntwo" == drained(b"one\ntwo\n").tail
    assert 2 == len(asked)


def test_a_handler_may_wait_for_the_log(handled: Callable[..., Taking]) -> None:
    log = ServerLog(None)
    handler = handled(lambda: log.join(60))
    log.feed(b"line\n")

    assert wait_until(lambda: ["line"] == handler.lines)


@pytest.mark.parametrize("blocked", ["for a second", "for ever"])
def test_a_handler_that_blocks_does_not_hold_up_the_server(
    blocked: str, handled: Callable[..., Taking]
) -> None:
    release = threading.Event()
    handled(lambda: release.wait(1 if blocked == "for a second" else 60))
    reader, writer = os.pipe()
    log = ServerLog(None)
    log.drain(reader)

    started = time.monotonic()
    write(writer, b"line\n" * (8 * MB // 5) + b"the end\n")
    written = time.monotonic()
    # Neither the pipe nor the handler comes to an end.
    log.join(0.5)
    joined = time.monotonic()
    release.set()
    os.close(writer)

    assert log.tail.endswith("\nthe end")
    assert written - started < 3
    assert 0.5 <= joined - written < 0.9


@pytest.mark.parametrize("size", [600 * KB, 400 * KB, 20 * KB])
def test_the_end_of_a_long_line_is_kept_when_a_handler_is_slow(
    size: int, handled: Callable[..., Taking]
) -> None:
    release = threading.Event()
    handler = handled(release.wait)

    log = fed((b"x" * 127 + b"\n") * 1600, b"y" * size + b"Error: disk full\n")
    release.set()
    log.join(60)

    assert log.tail.splitlines()[-1] == handler.lines[-1]
    assert log.tail.endswith("yError: disk full")


def test_lines_that_do_not_fit_are_counted_in_one_warning(handled: Callable[..., Taking]) -> None:
    release = threading.Event()
    handler, log = handled(release.wait), ServerLog(None)
    lines = [f"line {number}" for number in range(100_000)]
    log.feed(b"line 0\n")
    assert wait_until(lambda: "mlxcel-log-forwarder" in threads())
    time.sleep(0.05)

    log.feed("".join(f"{line}\n" for line in lines[1:]).encode())
    release.set()
    log.close()
    assert wait_until(lambda: not threads(), 60)

    (warning,) = handler.warnings
    (dropped,) = re.findall(r"\d+", warning)
    assert ["line 0", *lines[1 + int(dropped) :]] == handler.lines
    assert warning.startswith(f"Dropped lines of the server's output: {dropped}.")
    assert logging.WARNING == handler.taken[1].levelno


def test_lines_that_are_late_are_dropped_and_counted(handled: Callable[..., Taking]) -> None:
    release = threading.Event()
    handler = handled(release.wait)
    log = fed(b"one\ntwo\nthree\n")
    assert wait_until(lambda: "mlxcel-log-forwarder" in threads())
    time.sleep(0.05)

    log.join(0.1)
    release.set()

    assert wait_until(lambda: not threads())
    assert ["one"] == handler.lines
    assert "output: 2." in handler.warnings[0]


@pytest.mark.parametrize(
    ("method", "block"),
    [
        # While it runs, this one has the lock that the end of the program asks for.
        ("emit", "time.sleep(0.5)"),
        ("handle", "threading.Event().wait()"),
    ],
    ids=["slow", "for ever"],
)
def test_a_program_ends_whatever_its_handler_does(method: str, block: str) -> None:
    program = f"""
import logging, os, threading, time
from mlxcel_integrations.supervisor.log_lines import ESCAPE_SEQUENCE
from mlxcel_integrations.supervisor.logs import ServerLog

class Blocking(logging.Handler):
    def {method}(self, record):
        {block}

logging.basicConfig(level=logging.INFO, handlers=[Blocking()])
log, (reader, writer) = ServerLog(None), os.pipe()
log.drain(reader)
os.write(writer, b"line\\n" * 1000)
log.join(0.1)
"""
    done = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=20,
        check=False,
    )

    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


def test_a_pipe_that_stays_open_is_not_waited_for() -> None:
    reader, writer = os.pipe()
    log = ServerLog(None)
    log.drain(reader)
    started = time.monotonic()

    log.join(0.1)

    assert 0.1 <= time.monotonic() - started < 1
    os.close(writer)
    log.join(60)
    assert [] == threads()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"key: sk-secret, again sk-secret\n",),
        (b"key: sk-s", b"ecret\n"),
        (b"key: ", *(b"sk-secret\n"[index : index + 1] for index in range(10))),
        (b"sk-secret" + b"x" * (8 * KB - 4) + b"\n",),
        (b"x" * (8 * KB - 2) + b"sk-s", b"ecret\n"),
        (b"x" * 300 * KB + b"sk-secret" + b"x" * 100 + b"\n",),
        (b"sk-secret" * 100_000 + b"\n",),
        (b"sk-secret\n" * 20_000,),
        (b"sk-secret" * 600 + b"\n",) * 50,
        *((b"sk-secret" + b"*" * (128 * KB - size),) for size in range(10)),
        *((b"sk-secret" + b"*" * (16 * KB - size), b"\n") for size in range(10)),
        (b"***", b"sk-s"),
    ],
)
def test_the_key_is_not_shown(pieces: tuple[bytes, ...], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mlxcel.server"):
        tail = drained(*pieces, secret=KEY).tail

    for text in (tail, caplog.text.partition("INFO")[2]):
        assert text
        for half in ("sk-s", "ecret", "k-", "cret", "et*"):
            assert half not in text


@pytest.mark.parametrize(
    "printed",
    [
        b"key sk-se\ncret end\n",
        b"key sk-s\n  ec\n  ret end\n",
        b"key s\nk-secret end\n",
        b"key sk%2Dsec%72et\n",
        b"key %s end\n" % base64.b64encode(b"Bearer sk-secret"),
    ],
    ids=["two lines", "three lines", "one letter first", "percent-encoded", "Base64"],
)
def test_a_key_in_another_form_is_not_shown(
    printed: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mlxcel.server"):
        log = ServerLog(hidden(KEY))
        for line in printed.splitlines(keepends=True):
            log.feed(line)
        log.close()
        log.join(60)

    for shown in (log.tail, "\n".join(caplog.messages)):
        assert printed.count(b"\n") == shown.count("\n") + 1
        assert not re.search("sec|cret|k-s|ret|NlY3JldA", shown)


def test_a_key_is_not_shown_while_only_half_of_it_was_printed() -> None:
    log, seen = ServerLog(hidden(KEY)), set()
    for byte in b"key: sk-secret.":
        log.feed(bytes([byte]))
        seen.add(log.tail.removeprefix("key: "))

    assert {"k", "ke", "key", "key:", "", "***", "***."} == seen


def test_the_owner_of_a_server_that_prints_much_does_not_grow() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "tests.supervisor.measure_logs", "64"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    ).stdout

    growths = [float(growth) for growth in re.findall(r"([-.\d]+) MB more", output)]
    assert 8 == len(growths), output
    assert max(growths) < 5, output


# --------------------------------------------------------------------------- failing templates

WARNED = (
    b"\x1b[2m2026-11-23T02:00:00.123456Z\x1b[0m \x1b[33m WARN\x1b[0m "
    b"\x1b[2mmlxcel::server::chat_request\x1b[0m\x1b[2m:\x1b[0m "
    b"Chat template render failed, using fallback: Failed to render chat template: no roles\n"
)
REASON = "Failed to render chat template: no roles"


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_a_failing_template_is_told_once_however_it_is_printed(size: int) -> None:
    output = b"loading\n" + WARNED * 3
    log = fed(*[output[at : at + size] for at in range(0, len(output), size)])

    assert REASON == log.take_template_failure()
    log.feed(WARNED)
    assert log.take_template_failure() is None


def test_a_failing_template_is_told_without_the_key() -> None:
    log = fed(WARNED.replace(b"no roles", f"no {KEY}".encode()), secret=KEY)

    assert "Failed to render chat template: no ***" == log.take_template_failure()


def test_a_failing_template_is_told_when_its_line_is_not_there_any_more() -> None:
    log = fed(WARNED, b"other\n" * 300)

    assert "see the log of the server" == log.take_template_failure()


def test_a_template_that_works_is_not_told() -> None:
    assert fed(b"Chat template rendered\n").take_template_failure() is None
