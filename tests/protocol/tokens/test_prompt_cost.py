"""Cost of a prompt: what a server tells of it, and what cannot be right."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import PromptCost
from mlxcel_integrations.protocol.answers.reply import ChatReply
from mlxcel_integrations.protocol.tokens.prompt_cost import reading_fields


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 60}}, (40, 60)),
        ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 0}}, (100, 0)),
        ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 160}}, (0, 100)),
        ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": -5}}, (100, 0)),
        ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": "60"}}, (100, 0)),
        ({"prompt_tokens": 100, "prompt_tokens_details": None}, (100, 0)),
        ({"prompt_tokens": 100}, (100, 0)),
        ({"prompt_tokens": None}, (0, 0)),
        (None, (0, 0)),
    ],
)
def test_what_is_not_told_was_read(usage: dict[str, Any] | None, expected: tuple[int, int]) -> None:
    cost = PromptCost.of(ChatReply(usage=usage), 0.5)

    assert (*expected, 0.5) == (cost.tokens_read, cost.tokens_reused, cost.seconds)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"temperature": 0, "max_tokens": 99}, {"temperature": 0, "max_tokens": 1}),
        ({"response_format": {"type": "json_object"}}, {"max_tokens": 1}),
        ({"tools": [], "tool_choice": "required"}, {"tools": [], "max_tokens": 1}),
        (
            {"tools": [], "tool_choice": "none"},
            {"tools": [], "tool_choice": "none", "max_tokens": 1},
        ),
    ],
    ids=str,
)
def test_a_prompt_is_read_by_an_answer_of_one_token_in_no_form(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert expected == reading_fields(given)
