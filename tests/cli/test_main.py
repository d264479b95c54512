from __future__ import annotations

import pytest

from mlxcel_integrations import __version__
from mlxcel_integrations.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "notes.md"], "--question"),
        (["ask", "--question", "x"], "FILE"),
        (["ask", "f", "--question", "x", "--with", "haystack"], "invalid choice"),
        (["ask", "f", "--question", "x", "--model", "m", "--base-url", "u"], "not allowed with"),
        (["doctor", "--socket", "/x.sock", "--model", "m"], "not allowed with"),
        ([], "COMMAND"),
    ],
)
def test_a_wrong_command_line_is_rejected(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert 2 == caught.value.code
    assert message in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert 0 == caught.value.code
    assert f"mlxcel-integrations {__version__}\n" == capsys.readouterr().out
