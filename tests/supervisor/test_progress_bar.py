"""A long start shows its progress, and no output makes it fail."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxcel_integrations import MlxcelServerError
from mlxcel_integrations.supervisor import progress_bar
from mlxcel_integrations.supervisor.log_lines import Progress, read_progress
from mlxcel_integrations.supervisor.progress_bar import ProgressBar
from tests import WARNINGS_ARE_ERRORS

from .conftest import Fake

LOADING = Progress("loading weights", None, False)


class Terminal:
    """A terminal that takes the place of stderr."""

    def __init__(self, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = os.fdopen(writer, "w", encoding="utf-8")

    def attach(self) -> None:
        """Become stderr; not in the fixture, after which pytest puts its own in place."""
        self._monkeypatch.setattr(sys, "stderr", self.stream)

    @property
    def shown(self) -> str:
        """What was written since the last time."""
        os.set_blocking(self._reader, False)
        pieces = []
        with contextlib.suppress(BlockingIOError, OSError):
            while piece := os.read(self._reader, 65536):
                pieces.append(piece)
        return b"".join(pieces).decode()

    def hang_up(self) -> None:
        os.close(self._reader)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            self.hang_up()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal(60, monkeypatch)
    yield terminal
    terminal.close()


def screen(written: str) -> str:
    """What is to be seen in a terminal's line after all that was written."""
    line = ""
    for part in written.split("\r"):
        line = part + line[len(part) :]
    return line.rstrip()


def test_a_long_start_shows_its_time_and_what_it_does(terminal: Terminal) -> None:
    terminal.attach()
    bar = ProgressBar(None, "org/m")

    bar.show(LOADING, 1.9)
    assert "" == terminal.shown
    bar.show(LOADING, 2.0)
    assert "Starting m ... 2 s  loading weights" == screen(terminal.shown)
    bar.show(LOADING, 65.3)
    assert "Starting m ... 65 s  loading weights" == screen(terminal.shown)
    bar.show(None, 70.0)
    assert "Starting m ... 70 s  starting the server" == screen(terminal.shown)
    bar.close()


def test_a_known_part_is_shown_as_a_bar(terminal: Terminal) -> None:
    terminal.attach()
    bar = ProgressBar(None, "org/m")

    bar.show(Progress("model.safetensors", 0.5, True), 3.0)
    assert re.fullmatch(
        r" 50%\|\S+ +\| Starting m \.\.\. 3 s  model\.saf\S*", screen(terminal.shown)
    )
    bar.show(LOADING, 4.0)
    assert "Starting m ... 4 s  loading weights" == screen(terminal.shown)
    bar.close()


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ([(2, "a.safetensors: 10% 0.5G/5.0G")], "0.5 of 5.4 GB"),
        ([(2, "a.json: 10% 1.0K/10.0K")], "a.json: 10% 1.0K/10.0K"),
        (
            [(2, "a.safetensors: 10% 0.5G/5.0G"), (12, "a.safetensors: 20% 1.0G/5.0G")],
            "1.1 of 5.4 GB, 80 s left",
        ),
        (
            [(2, "a.safetensors: 10% 0.5G/5.0G"), (102, "a.safetensors: 20% 1.0G/5.0G")],
            "1.1 of 5.4 GB, 13 min left",
        ),
        (
            [(2, "a.safetensors: 90% 4.5G/5.0G"), (12, "b.safetensors: 20% 1.0G/5.0G")],
            "1.1 of 5.4 GB",
        ),
    ],
)
def test_a_download_shows_gigabytes_and_the_time_that_is_left(
    lines: list[tuple[float, str]], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(200, monkeypatch)
    terminal.attach()
    bar = ProgressBar(None, "org/m")
    for elapsed, line in lines:
        bar.show(read_progress(line), elapsed)
    written = terminal.shown
    bar.close()
    terminal.close()

    assert screen(written).endswith(f" s  {shown}")


def test_nothing_is_left_when_it_is_closed(terminal: Terminal) -> None:
    terminal.attach()
    bar = ProgressBar(None, "org/m")
    bar.show(LOADING, 2.0)
    bar.close()
    bar.close()

    written = terminal.shown
    assert ("", "\r") == (screen(written), written[-1])
    bar.show(LOADING, 9.0)
    assert "" == terminal.shown


def test_a_start_of_less_than_2_s_shows_nothing(terminal: Terminal) -> None:
    terminal.attach()
    bar = ProgressBar(True, "org/m")
    for at in range(40):
        bar.show(LOADING, at / 20)
    bar.close()

    assert "" == terminal.shown


def test_it_is_not_drawn_at_every_look(terminal: Terminal) -> None:
    terminal.attach()
    bar = ProgressBar(None, "org/m")
    for at in range(2000):
        bar.show(Progress("loading", at / 2000, False), 2.0 + at / 1000)

    assert 15 <= terminal.shown.count("\r") <= 25
    bar.close()


def test_what_has_not_changed_is_not_drawn_again(terminal: Terminal) -> None:
    terminal.attach()
    bar = ProgressBar(None, "org/m")
    for at in range(2000):
        bar.show(LOADING, 2.6 + at / 1000)

    assert 3 == terminal.shown.count("\r")
    bar.close()


@pytest.mark.parametrize("fraction", [None, 0.3])
def test_a_long_line_is_cut_to_the_width(terminal: Terminal, fraction: float | None) -> None:
    terminal.attach()
    progress = read_progress("loading " + "模型 long " * 500)
    assert progress is not None
    bar = ProgressBar(None, "org/m")

    bar.show(Progress(progress.text, fraction, False), 2.0)
    written = terminal.shown
    bar.close()

    wide = sum(2 if ord(c) > 0x2E80 else 1 for c in written.strip("\r"))
    assert 50 < wide <= 60
    assert "\n" not in written


def test_two_starts_do_not_fight_for_the_line(terminal: Terminal) -> None:
    terminal.attach()
    first, second = ProgressBar(None, "org/m"), ProgressBar(None, "org/m")
    first.show(LOADING, 2.0)
    second.show(LOADING, 3.0)
    assert "Starting m ... 2 s  loading weights" == screen(terminal.shown)

    first.close()
    second.show(LOADING, 4.0)
    assert "Starting m ... 4 s  loading weights" == screen(terminal.shown)
    second.close()


@pytest.mark.parametrize("wanted", [None, False])
def test_nothing_is_written_to_a_file(wanted: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    bar = ProgressBar(wanted, "org/m")
    bar.show(LOADING, 5.0)
    bar.close()

    assert "" == stream.getvalue()


def test_off_is_off_in_a_terminal(terminal: Terminal) -> None:
    terminal.attach()
    bar = ProgressBar(False, "org/m")
    bar.show(LOADING, 5.0)
    bar.close()

    assert "" == terminal.shown


def test_who_wants_it_in_a_file_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    bar = ProgressBar(True, "org/m")
    bar.show(LOADING, 5.0)
    bar.close()

    assert "5 s  loading weights" in stream.getvalue()


class Broken(io.StringIO):
    """An output that fails."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(text)


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("wanted", [None, True])
@pytest.mark.parametrize("stream", [None, Broken(), closed()])
def test_a_broken_output_does_not_matter(
    stream: io.StringIO | None, wanted: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    bar = ProgressBar(wanted, "org/m")
    for at in (2.0, 3.0, 4.0):
        bar.show(LOADING, at)
    bar.close()

    monkeypatch.setattr(sys, "stderr", whole := io.StringIO())
    bar = ProgressBar(True, "org/m")
    bar.show(LOADING, 5.0)
    bar.close()
    assert "5 s  loading weights" in whole.getvalue()


@pytest.mark.parametrize("end", ["close", "hang_up"])
def test_a_terminal_may_go_away(terminal: Terminal, end: str) -> None:
    terminal.attach()
    bar = ProgressBar(None, "org/m")
    bar.show(LOADING, 2.0)
    terminal.stream.close() if end == "close" else terminal.hang_up()

    bar.show(LOADING, 3.0)
    bar.close()


def test_bars_of_the_user_are_left_alone(terminal: Terminal) -> None:
    """Nor are threads and processes started for the sake of ours."""
    terminal.attach()
    code = """
import sys, threading
from mlxcel_integrations.supervisor.log_lines import Progress
from mlxcel_integrations.supervisor.progress_bar import ProgressBar
bar = ProgressBar(None, "org/m")
bar.show(None, 1.0)
assert "tqdm" not in sys.modules
bar.show(Progress("loading", None, False), 2.0)
from tqdm.std import tqdm, TqdmDefaultWriteLock
assert not hasattr(tqdm, "_lock") and not hasattr(TqdmDefaultWriteLock, "mp_lock")
assert not tqdm._instances and tqdm.monitor is None and tqdm.monitor_interval == 10
assert 1 == threading.active_count()
assert "multiprocessing.resource_tracker" not in sys.modules
bar.close()
"""
    command = [sys.executable, *WARNINGS_ARE_ERRORS, "-c", code]
    done = subprocess.run(command, stderr=terminal.stream, timeout=60, check=False)

    assert (0, "Starting m ... 2 s  loading") == (
        done.returncode,
        screen(terminal.shown.split("\r   ")[0]),
    )


def test_a_forked_child_draws_nothing_while_its_parent_does(terminal: Terminal) -> None:
    """Nor does it wait for ever, for a lock that its parent holds."""
    terminal.attach()
    bar = ProgressBar(None, "org/m")
    bar.show(LOADING, 2.0)
    pid = os.fork()
    if pid == 0:
        threading.Timer(5, os._exit, (1,)).start()
        ProgressBar(None, "org/m").show(LOADING, 9.0)
        os._exit(0)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert "Starting m ... 2 s  loading weights" == screen(terminal.shown)
    bar.close()


# --------------------------------------------------------------------------- of a server


def test_a_start_shows_what_the_server_says(
    fake: Fake, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "SHOWN_AFTER", 0.0)
    terminal.attach()
    lines = '["INFO mlxcel: \\u001b[31mloading\\u001b[0m weights"]'
    server = fake.server(fake.binary(LOG_LINES=lines, LOAD_SECONDS="1"))
    server.start()

    written = terminal.shown
    assert " s  loading weights" in written
    assert "\x1b" not in written
    line, end = written.replace("\r\n", "\n")[:-1], written[-1]
    assert ("\n", 0) == (end, line.count("\n"))
    assert re.fullmatch(r"Starting m \.\.\. \d s", screen(line))


def test_a_start_that_fails_leaves_no_line(
    fake: Fake, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "SHOWN_AFTER", 0.0)
    terminal.attach()
    server = fake.server(fake.script("sleep 1; exit 3"))
    with pytest.raises(MlxcelServerError):
        server.start()

    written = terminal.shown
    assert "Starting m ... " in written
    assert "" == screen(written)


@pytest.mark.parametrize(("options", "after"), [({"progress": False}, 0.0), ({}, 600.0)])
def test_a_start_that_is_fast_or_quiet_shows_nothing(
    fake: Fake,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, bool],
    after: float,
) -> None:
    monkeypatch.setattr(progress_bar, "SHOWN_AFTER", after)
    terminal.attach()
    fake.server(fake.binary(LOAD_SECONDS="0.3"), **options).start()

    assert "" == terminal.shown


NOTEBOOK = """
from mlxcel_integrations import ManagedServer
from mlxcel_integrations.supervisor import progress_bar
progress_bar.SHOWN_AFTER = 0.0
server = ManagedServer("m", binary={binary!r})
server.start()
server.close()
"""


def test_a_notebook_shows_it_in_the_cell_that_starts(fake: Fake, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    binary = fake.binary(LOG_LINES='["loading weights"]', LOAD_SECONDS="1")
    source = NOTEBOOK.format(binary=binary)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()

    # Each line replaces the one before, and nothing is on stdout or stderr.
    (shown,) = notebook.cells[0].outputs
    assert "display_data" == shown.output_type
    assert re.fullmatch(r"Starting m \.\.\. \d s", shown.data["text/plain"])
