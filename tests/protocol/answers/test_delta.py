"""Deltas: progress that is passed on, and token counts with the thoughts before an answer."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.protocol.answers.delta import Delta, tell_progress, with_thoughts_counted
from mlxcel_integrations.protocol.answers.prompt_progress import PromptProgress


@pytest.mark.parametrize(
    ("own", "completion", "reasoning", "more"),
    [
        ({}, 5, 5, {}),
        ({"completion_tokens": None, "total_tokens": 0}, 5, 5, {"total_tokens": 0}),
        ({"completion_tokens": 2, "total_tokens": 9}, 7, 5, {"total_tokens": 14}),
        ({"completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 3}}, 9, 8, {}),
    ],
)
def test_thoughts_of_an_earlier_request_are_counted(
    own: Any, completion: int, reasoning: int, more: Any
) -> None:
    details = {"reasoning_tokens": reasoning}
    expected = {"completion_tokens": completion, "completion_tokens_details": details, **more}

    assert expected == with_thoughts_counted(own, 5)


def test_a_function_is_told_of_each_progress() -> None:
    seen: list[PromptProgress] = []
    progress = PromptProgress(10, 2, 4, 5.0)

    tell_progress(Delta("Hi"), seen.append)
    tell_progress(Delta(prompt_progress=progress), None)
    tell_progress(Delta(prompt_progress=progress), seen.append)

    assert [progress] == seen
