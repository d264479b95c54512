from __future__ import annotations

from io import StringIO

import pytest

from mlxcel_integrations import PromptProgress
from mlxcel_integrations.cli.reading import reading_line
from mlxcel_integrations.cli.terminal import Terminal
from tests.cli.test_terminal import Screen

HALF = PromptProgress(total=200, cache=0, processed=101, time_ms=1000.0)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [(Screen(), "\r\x1b[K\x1b[2mReading the prompt ... 50 %\x1b[0m"), (StringIO(), "")],
    ids=["terminal", "log"],
)
def test_only_a_terminal_shows_how_much_of_the_prompt_is_read(
    stream: StringIO, expected: str
) -> None:
    reading_line(Terminal(stream, {}))(HALF)

    assert expected == stream.getvalue()
