"""Thinking is switched in the one way that every server version understands."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.protocol.reasoning import with_reasoning

THINKS = {"enable_thinking": True}
NOT = {"chat_template_kwargs": {"enable_thinking": False}, "thinking_budget_tokens": 0}


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (None, {}),
        (True, {"chat_template_kwargs": THINKS}),
        ("low", {"chat_template_kwargs": {**THINKS, "reasoning_effort": "low"}}),
        (False, NOT),
        ("none", NOT),
        ("off", NOT),
        ("disabled", NOT),
    ],
)
def test_what_is_sent(reasoning: bool | str | None, expected: dict[str, Any]) -> None:
    sampling = {"temperature": 0.5}

    assert {"temperature": 0.5, **expected} == with_reasoning(sampling, reasoning)
    assert {"temperature": 0.5} == sampling


@pytest.mark.parametrize("reasoning", [True, False, "high"])
def test_what_the_fields_say_on_their_own_stays(reasoning: bool | str) -> None:
    own = {"enable_thinking": "auto", "reasoning_effort": "low", "x": 1}
    sampling = {"chat_template_kwargs": own, "thinking_budget_tokens": 9}

    assert sampling == with_reasoning(sampling, reasoning)
