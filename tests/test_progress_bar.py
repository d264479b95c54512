"""The bar that operations on many texts show, or not."""

from __future__ import annotations

import pytest

from mlxcel_integrations.progress_bar import progress_bar


def test_a_bar_tells_the_operation_and_how_many_texts_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar(shown=True, total=3, title="Embedding") as done:
        done(2)
        done(1)
    shown = capsys.readouterr().err

    assert "Embedding" in shown
    assert "3/3" in shown


def test_nothing_is_shown_unless_it_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(shown=False, total=3, title="Embedding") as done:
        done(3)

    assert ("", "") == capsys.readouterr()
