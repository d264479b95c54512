"""Where two prompts part is told by the message that the user would have to change."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.protocol.failures import Failure
from mlxcel_integrations.protocol.tokens.shared_prefix import SharedPrefix, compare_prompts
from mlxcel_integrations.protocol.tokens.tokenize import TokenMemory, Uncounted

Message = dict[str, Any]


def says(role: str, content: Any, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


SYSTEM = says("system", "You are kind.")
HELLO = says("user", "Hello!")
HI = says("assistant", "Hi.", reasoning_content="A greeting.")
BYE = says("user", "Bye!")

NEWS = {"type": "function", "function": {"name": "news"}}
TIME = {"type": "function", "function": {"name": "time"}}


def template(body: dict[str, Any]) -> str:
    """Show tools first, and the thoughts of the last message only, as many templates do."""
    tools = "".join(f"<{tool['function']['name']}>" for tool in body.get("tools") or ())
    shown = [
        f"[{message['role']}]{thoughts(body, message)}{text(message)}\n"
        for message in body["messages"]
    ]
    return tools + "".join(shown) + "[assistant]"


def thoughts(body: dict[str, Any], message: Message) -> str:
    return message.get("reasoning_content", "") if message is body["messages"][-1] else ""


def text(message: Message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def compared(before: dict[str, Any], after: dict[str, Any]) -> SharedPrefix:
    flow = compare_prompts(before, after, TokenMemory(Uncounted()))
    call: Any = next(flow)
    try:
        while True:
            assert call.body is not None
            if call.path == "/apply-template":
                call = flow.send({"prompt": template(call.body)})
            else:
                call = flow.send({"tokens": [ord(letter) for letter in call.body["content"]]})
    except StopIteration as end:
        shared: SharedPrefix = end.value
        return shared


def chat(*messages: Message, tools: Any = None) -> dict[str, Any]:
    return {"messages": list(messages), **({"tools": tools} if tools else {})}


@pytest.mark.parametrize(
    ("before", "after", "cause", "message"),
    [
        (chat(SYSTEM, HELLO), chat(SYSTEM, HELLO), "end", None),
        (chat(SYSTEM, HELLO), chat(SYSTEM, HELLO, says("assistant", "Hi.")), "end", None),
        (chat(SYSTEM, HELLO), chat(says("system", "You are rude."), HELLO), "message", 0),
        (chat(SYSTEM, HELLO), chat(SYSTEM, BYE), "message", 1),
        (chat(SYSTEM, HELLO), chat(SYSTEM, says("user", "Hello! You?")), "message", 1),
        (chat(SYSTEM, HELLO), chat(SYSTEM, says("user", [{"text": "Bye!"}])), "message", 1),
        (chat(SYSTEM, HELLO), chat(HELLO), "message", 0),
        (chat(SYSTEM, HELLO, HI, BYE), chat(SYSTEM, BYE), "message", 1),
        (chat(SYSTEM, HELLO, BYE), chat(SYSTEM, HELLO, HI, BYE), "message", 2),
        (chat(HELLO, HI), chat(HELLO, HI, BYE), "template", None),
        (chat(HELLO, tools=[NEWS, TIME]), chat(HELLO, tools=[TIME, NEWS]), "tools", None),
        (chat(HELLO), chat(HELLO, tools=[NEWS]), "tools", None),
        (chat(HELLO, tools=[NEWS, TIME]), chat(BYE, tools=[TIME, NEWS]), "tools", None),
    ],
)
def test_the_message_where_prompts_part_is_found(
    before: dict[str, Any], after: dict[str, Any], cause: str, message: int | None
) -> None:
    shared = compared(before, after)

    assert (cause, message) == (shared.cause, shared.message)


def test_equal_prompts_are_told() -> None:
    shared = compared(chat(HELLO), chat(HELLO))

    assert "24 of 24 tokens are reused. Both prompts are the same." == str(shared)


def test_it_reads_as_a_sentence() -> None:
    shared = compared(chat(SYSTEM, HELLO), chat(says("system", "You are rude."), HELLO))

    assert (
        "16 of 46 tokens are reused. The first difference is in messages[0]: "
        r"'[system]You are kind.\n[user]Hello!\n[assistant]' became "
        r"'[system]You are rude.\n[user]Hello!\n[assistant]'."
    ) == str(shared)


def test_a_prompt_that_begins_the_other_is_told() -> None:
    shared = compared(chat(HELLO), chat(HELLO, says("assistant", "Hi.")))

    assert "24 of 39 tokens are reused. One prompt is the beginning of the other." == str(shared)


def test_a_refusal_of_roles_changes_the_messages_that_are_compared() -> None:
    flow: Any = compare_prompts(chat(HELLO, BYE), chat(HELLO), TokenMemory(Uncounted()))
    next(flow)

    again = flow.send(Failure("BadRequestError", "", 400, body="roles must alternate"))

    assert [says("user", "Hello!\n\nBye!")] == again.body["messages"]


@pytest.mark.parametrize("kind", ["image_url", "input_audio"])
@pytest.mark.parametrize(
    ("at", "name"), [(0, "messages_before"), (1, "messages_after")], ids=["before", "after"]
)
def test_what_looks_the_same_in_each_prompt_is_not_compared(kind: str, at: int, name: str) -> None:
    chats = [chat(HELLO), chat(HELLO)]
    seen = says("user", [{"type": "text", "text": "What is it?"}, {"type": kind, kind: {}}])
    chats[at] = chat(HELLO, seen)

    with pytest.raises(MlxcelError, match=rf"^{name}\[1\]\.content\[1\] has the type {kind}, but"):
        compared(*chats)


def test_a_server_that_shows_no_prompt_is_told() -> None:
    flow = compare_prompts(chat(HELLO), chat(BYE), TokenMemory(Uncounted()))
    next(flow)

    with pytest.raises(MlxcelError, match="no /apply-template"):
        flow.send(Failure("NotFoundError", "no such route", 404))
