"""Messages for strict chat templates: joined, and without a system message."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.protocol.failures import Failure, from_status
from mlxcel_integrations.protocol.strict_roles import (
    AS_GIVEN,
    JOINED,
    WITHOUT_SYSTEM,
    Roles,
    merged,
    refuses_roles,
)

NAMES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def conversation(roles: str) -> list[dict[str, Any]]:
    """One message for each letter; the content is its place."""
    return [{"role": NAMES[role], "content": str(at)} for at, role in enumerate(roles)]


def short(messages: Any) -> str:
    letters = {name: letter for letter, name in NAMES.items()}
    return " ".join(
        letters[message["role"]] + message["content"].replace("\n\n", "+") for message in messages
    )


@pytest.mark.parametrize(
    ("roles", "joined", "without_system"),
    [
        ("u", "u0", "u0"),
        ("uau", "u0 a1 u2", "u0 a1 u2"),
        ("su", "s0 u1", "u0+1"),
        ("suau", "s0 u1 a2 u3", "u0+1 a2 u3"),
        ("uu", "u0+1", "u0+1"),
        ("uuaau", "u0+1 a2+3 u4", "u0+1 a2+3 u4"),
        ("ssu", "s0+1 u2", "u0+1+2"),
        ("usus", "s1+3 u0+2", "u1+3+0+2"),
        ("usau", "s1 u0 a2 u3", "u1+0 a2 u3"),
        ("sau", "s0 a1 u2", "a1 u0+2"),
        ("s", "s0", "u0"),
        ("sa", "s0 a1", "u0 a1"),
        ("uattu", "u0 a1 t2 t3 u4", "u0 a1 t2 t3 u4"),
        ("uatau", "u0 a1 t2 a3 u4", "u0 a1 t2 a3 u4"),
    ],
)
def test_messages_of_one_role_in_a_row_are_joined(
    roles: str, joined: str, without_system: str
) -> None:
    messages = conversation(roles)
    before = repr(messages)

    assert joined == short(merged(messages, JOINED))
    assert without_system == short(merged(messages, WITHOUT_SYSTEM))
    assert before == repr(messages)


def test_parts_and_texts_become_parts() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    system = {"role": "system", "content": "Be short."}
    first = {"role": "user", "content": [image]}
    second = {"role": "user", "content": "What is it?"}
    empty: dict[str, Any] = {"role": "user", "content": None}

    parts = [image, {"type": "text", "text": "What is it?"}]
    rule = {"type": "text", "text": "Be short."}
    assert [{"role": "user", "content": [rule, *parts]}] == merged(
        [system, first, empty, second], WITHOUT_SYSTEM
    )


def test_calls_and_thoughts_are_kept() -> None:
    one, two = {"id": "1"}, {"id": "2"}
    calling: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [one]}
    more: dict[str, Any] = {
        "role": "assistant",
        "content": "b",
        "tool_calls": [two],
        "reasoning_content": "y",
    }
    said = {"role": "assistant", "content": "a", "reasoning_content": "x"}

    whole = {"role": "assistant", "content": "a\n\nb", "reasoning_content": "x\n\ny"}
    assert [{**whole, "tool_calls": [one, two]}] == merged([said, calling, more], JOINED)
    assert [{**said, "tool_calls": [one]}] == merged([calling, said], JOINED)


def refusal(text: str, status: int = 400) -> Failure:
    return from_status(status, {}, f'{{"error": {{"message": "{text}"}}}}'.encode(), "http://h")


ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
SYSTEM = "System role not supported"


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        (ALTERNATE, 400, True),
        (f"Jinja Exception: {ALTERNATE}", 500, True),
        ("After the optional system message, conversation roles must alternate", 400, True),
        (SYSTEM, 400, True),
        ("System message must be at the beginning.", 400, True),
        ("Only user and assistant roles are supported!", 400, True),
        (ALTERNATE, 503, False),
        ("temperature must not be negative", 400, False),
        ("", 400, False),
    ],
)
def test_refusals_of_templates_are_recognized(text: str, status: int, expected: bool) -> None:
    assert expected == refuses_roles(refusal(text, status))


@pytest.mark.parametrize(
    ("text", "roles", "level", "expected"),
    [
        (ALTERNATE, "uu", AS_GIVEN, JOINED),
        (ALTERNATE, "suu", AS_GIVEN, JOINED),
        (ALTERNATE, "suu", JOINED, WITHOUT_SYSTEM),
        (ALTERNATE, "suu", WITHOUT_SYSTEM, None),
        (ALTERNATE, "su", AS_GIVEN, WITHOUT_SYSTEM),
        (SYSTEM, "suu", AS_GIVEN, WITHOUT_SYSTEM),
        ("Only user and assistant roles are supported!", "su", AS_GIVEN, WITHOUT_SYSTEM),
        ("System message must be at the beginning.", "us", AS_GIVEN, JOINED),
        (ALTERNATE, "au", AS_GIVEN, None),
        (ALTERNATE, "u", AS_GIVEN, None),
        ("temperature must not be negative", "suu", AS_GIVEN, None),
    ],
)
def test_what_is_tried_after_a_refusal(
    text: str, roles: str, level: int, expected: int | None
) -> None:
    body = {"messages": conversation(roles)}

    assert expected == Roles().after_refusal(refusal(text), body, level)
    assert Roles(merge=False).after_refusal(refusal(text), body, level) is None


@pytest.mark.parametrize(
    ("merge", "reason", "expected"),
    [
        (None, f"Failed to render chat template: {ALTERNATE}", WITHOUT_SYSTEM),
        (None, "syntax error", AS_GIVEN),
        (False, ALTERNATE, AS_GIVEN),
    ],
)
def test_a_failure_that_a_server_only_logs_is_learned_from(
    merge: bool | None, reason: str, expected: int
) -> None:
    roles = Roles(merge)
    roles.template_failed(reason)

    assert expected == roles.level


def test_ids_that_a_server_only_logs_about_are_learned_and_forgotten() -> None:
    roles = Roles()
    roles.template_failed("Tool call IDs should be alphanumeric strings with length 9!")

    assert roles.short_ids
    roles.forget()
    assert not roles.short_ids


def test_what_has_no_messages_stays_as_it_is() -> None:
    body = {"prompt": "a"}

    assert body is Roles(merge=True).fit(body, WITHOUT_SYSTEM)
    assert Roles().after_refusal(refusal(ALTERNATE), body, AS_GIVEN) is None


def test_what_was_learned_is_forgotten_but_not_what_was_said_beforehand() -> None:
    learned, told = Roles(), Roles(merge=True)
    learned.level = JOINED
    for roles in (learned, told):
        roles.forget()

    assert (AS_GIVEN, WITHOUT_SYSTEM) == (learned.level, told.level)
