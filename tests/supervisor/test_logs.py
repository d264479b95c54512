"""Whatever a server prints is drained, kept within bounds, and never shows the key."""

from __future__ import annotations

import logging
import os

import pytest

from mlxcel_integrations.supervisor.logs import LogPump


def pumped(*pieces: bytes, secret: str | None = None) -> LogPump:
    """Return a pump that has read all of it; writing blocks unless it is drained."""
    reader, writer = os.pipe()
    pump = LogPump(reader, secret)
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(writer, view) :]
    os.close(writer)
    pump.join(5)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)
    return pump


@pytest.mark.parametrize(
    ("pieces", "tail"),
    [
        ((), ""),
        ((b"one\ntwo\n",), "one\ntwo"),
        ((b"no newline",), "no newline"),
        ((b"half", b" a line\r\n"), "half a line"),
        (("früh 日本\n".encode(),), "früh 日本"),
        ((b"caf\xe9 \xff\n",), "caf\ufffd \ufffd"),
        ((b"zero \x00 byte\n",), "zero \x00 byte"),
    ],
)
def test_the_tail_is_what_was_printed(pieces: tuple[bytes, ...], tail: str) -> None:
    assert tail == pumped(*pieces).tail


def test_the_last_line_is_the_last_with_something_in_it() -> None:
    assert "" == pumped().last_line
    assert "said" == pumped(b"first\nsaid\n\n  \n").last_line


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe noise\n", b"\xff\xfe noise", b"\n", b"x" * 5000 + b"\n", b"10%\r"],
    ids=["lines", "no newline", "empty lines", "long lines", "progress bar"],
)
def test_a_flood_is_drained_and_the_tail_stays_small(line: bytes) -> None:
    flood = line * (300_000 // len(line))

    tail = pumped(flood, b"\nthe end\n").tail

    assert tail.endswith("\nthe end")
    assert len(tail) <= 65 * 1024
    assert tail.count("\n") < 200


def test_an_error_at_the_end_of_a_very_long_line_is_kept() -> None:
    assert pumped(b"10%\r" * 30_000 + b"Error: disk full\n").tail.endswith("\rError: disk full")


def test_lines_go_to_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mlxcel.server"):
        pumped(b"50% done\n%s\n")

    assert [("mlxcel.server", logging.INFO, line) for line in ("50% done", "%s")] == (
        caplog.record_tuples
    )


def test_a_handler_that_fails_does_not_stop_the_drain() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("broken")

    logger, handler = logging.getLogger("mlxcel.server"), Broken()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        assert "one\ntwo" == pumped(b"one\ntwo\n").tail
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"key: sk-secret, again sk-secret\n",),
        (b"key: sk-s", b"ecret\n"),
        (b"sk-secret" + b"x" * (8192 - 4) + b"\n",),
        (b"x" * 8190 + b"sk-s", b"ecret\n"),
    ],
    ids=["in a line", "in two pieces", "where a long line is cut", "in pieces of a long line"],
)
def test_the_key_is_not_shown(pieces: tuple[bytes, ...], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mlxcel.server"):
        tail = pumped(*pieces, secret="sk-secret").tail

    for text in (tail, caplog.text):
        assert "**" in text
        assert "sk" not in text
