"""Errors show the end of a log, and the reason that stands above it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import mlxcel_integrations
from mlxcel_integrations import MlxcelServerError, MlxcelStreamError, errors
from mlxcel_integrations.errors import with_end_of

INFO = [f"2026-11-29T10:00:00Z  INFO mlxcel: line {number}" for number in range(30)]

# As mlxcel 0.4.2 ends with RUST_BACKTRACE=1.
FRAMES = [
    "",
    "Stack backtrace:",
    "   0: anyhow::error::<impl core::convert::From<E> for anyhow::Error>::from",
    "             at /build/.cargo/registry/src/anyhow-1.0/src/backtrace.rs:27:14",
    "   1: mlxcel::server::startup::serve_tcp::{{closure}}",
    *(f"  {number}: mlxcel::server::startup::start_server" for number in range(2, 45)),
]
TAKEN = "Error: Address already in use (os error 98)"


def shown(*lines: str) -> list[str]:
    first, *rest = with_end_of("\n".join(lines), "It said:").splitlines()
    assert "It said:" == first
    assert all(line.startswith("  | ") for line in rest)
    return [line.removeprefix("  | ") for line in rest]


def test_the_last_ten_lines_are_shown() -> None:
    assert INFO[-10:] == shown(*INFO)
    assert INFO[:3] == shown(*INFO[:3])
    assert [] == shown()


def test_a_backtrace_is_left_out() -> None:
    assert [*INFO[-9:], TAKEN] == shown(*INFO, TAKEN, *FRAMES)
    assert [TAKEN, "", "after"] == shown(TAKEN, *FRAMES, "after")


@pytest.mark.parametrize(
    "reason",
    [
        [TAKEN],
        ['Error: Failed to read API key file: "x"', "", "Caused by:", "    No such file"],
        ["error: unexpected argument '--nope' found", "", "  tip: there is '--node-id'"],
        ["thread 'main' panicked at src/main.rs:12:5:", "index out of bounds"],
    ],
)
def test_a_reason_that_stands_above_comes_first(reason: list[str]) -> None:
    found = shown(*INFO[:5], *reason, *INFO)

    assert reason == found[: len(reason)]
    assert ["...", *INFO[-6:]] == found[-7:]
    assert len(found) <= 11


def test_the_last_of_several_reasons_counts() -> None:
    assert TAKEN == shown("error: x", *INFO, TAKEN, *INFO)[0]


def test_lines_that_only_speak_of_errors_are_no_reason() -> None:
    assert INFO[-10:] == shown("INFO no error: x", "2026-11-29T10:00:00Z ERROR m: old", *INFO)


def test_errors_of_servers_and_streams_show_the_reason_and_keep_the_whole_log() -> None:
    log = "\n".join([TAKEN, *FRAMES])

    for error in (MlxcelServerError("m", stderr=log), MlxcelStreamError("m", stderr=log)):
        assert f"m\n  | {TAKEN}" == str(error)
        assert log == error.stderr


def subclasses(kind: type) -> set[str]:
    own = {each for each in kind.__subclasses__() if each.__module__ == errors.__name__}
    return {each.__name__ for each in own} | {name for each in own for name in subclasses(each)}


@pytest.mark.parametrize("where", ["mlxcel_integrations/errors.py", "docs/core.md"])
def test_every_exception_is_in_the_trees(where: str) -> None:
    tree = (Path(__file__).parents[1] / where).read_text()
    names = re.findall(r"[├└]── (\w+)", tree)

    assert sorted(subclasses(errors.MlxcelError)) == sorted(names)
    assert subclasses(errors.MlxcelError) | {"MlxcelError"} <= set(errors.__all__)


def test_every_exception_is_a_public_name() -> None:
    missing = subclasses(errors.MlxcelError) - set(mlxcel_integrations.__all__)

    assert set() == missing, "Add it to mlxcel_integrations/__init__.py."


def test_a_program_that_is_ending_can_use_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    errors.check_program_goes_on()

    monkeypatch.setattr(errors, "sys", SimpleNamespace(is_finalizing=lambda: True))

    with pytest.raises(MlxcelServerError, match="The program is ending"):
        errors.check_program_goes_on()
