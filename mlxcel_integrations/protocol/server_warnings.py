"""Warnings about servers: how one answers, or which model, is not what the user expects."""

from __future__ import annotations

__all__ = ["another_model", "buffering", "not_the_model", "template_failed"]


def buffering(where: str) -> str:
    """Return the warning about answers that do not arrive token by token."""
    return (
        f"Answers from {where} arrive all at once when they are complete, not token by token: a "
        "proxy or balancer on the way buffers them. Turn its buffering off, for example with "
        "proxy_buffering off in nginx."
    )


def template_failed(reason: str) -> str:
    """Return the warning about answers to a prompt that is not the model's."""
    return (
        f"The chat template of the model fails ({reason}), so the server makes up its own prompt: "
        "answers may be poor or empty, and token counts wrong. Pass a template that works as "
        "chat_template=, or merge_messages=True if this one is strict about roles."
    )


def another_model(where: str, model: str, before: str) -> str:
    """Return the warning about an answer from a different model than before."""
    first, second = sorted((model, before))
    return (
        f"{where} answers with the models {first!r} and {second!r} in turn, or has switched "
        "from one to the other. Its features are discovered again. Servers behind one address must "
        "serve the same model with the same options: give each model its own address."
    )


def not_the_model(where: str, asked: str, answered: str) -> str:
    """Return the warning about an answer from a model that the user has not named."""
    return (
        f"served_model={asked!r} was asked for, but {where} answered with the model {answered!r}: "
        "servers answer with the model they have, whatever name is sent. Pass the name of that "
        "model, or leave served_model= out; models() returns the names of all."
    )
