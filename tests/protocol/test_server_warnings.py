"""Warnings about servers, in full."""

from __future__ import annotations

import pytest

from mlxcel_integrations.protocol.server_warnings import another_model, buffering, template_failed

WHERE = "http://here:1"


@pytest.mark.parametrize(("model", "before"), [("a", "b"), ("b", "a")])
def test_two_models_behind_one_address_are_told_in_one_order(model: str, before: str) -> None:
    assert (
        f"{WHERE} answers with the models 'a' and 'b' in turn, or has switched from one to "
        "the other. Its features are discovered again. Servers behind one address must serve the "
        "same model with the same options: give each model its own address."
    ) == another_model(WHERE, model, before)


def test_answers_that_a_proxy_buffers_are_warned_about() -> None:
    assert (
        f"Answers from {WHERE} arrive all at once when they are complete, not token by token: a "
        "proxy or balancer on the way buffers them. Turn its buffering off, for example with "
        "proxy_buffering off in nginx."
    ) == buffering(WHERE)


def test_a_template_that_fails_is_told_with_its_reason_and_what_to_do() -> None:
    assert (
        "The chat template of the model fails (no roles), so the server makes up its own prompt: "
        "answers may be poor or empty, and token counts wrong. Pass a template that works as "
        "chat_template=, or merge_messages=True if this one is strict about roles."
    ) == template_failed("no roles")
