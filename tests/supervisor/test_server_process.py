"""The end of a server process, in words; the rest is tested with owned and shared ones."""

from __future__ import annotations

import sys

import pytest

from mlxcel_integrations.supervisor.server_process import describe_exit


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-15, "signal 15 (SIGTERM)"),
        (-9, "signal 9 (SIGKILL; the system may have run out of memory)"),
        (-62, "signal 62"),
    ],
)
def test_an_exit_status_is_told_in_words(returncode: int, words: str) -> None:
    if sys.platform != "linux" and returncode == -62:
        pytest.skip("only Linux has signals without a name")
    assert words == describe_exit(returncode)
