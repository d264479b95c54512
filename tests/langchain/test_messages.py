"""LangChain's own forms of messages.

What both frameworks have in common is in ``tests/adapters``.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    ToolMessage,
)

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.langchain.messages import to_openai_messages
from tests.fakes.server import FakeServer
from tests.langchain.histories import ANSWERS, FUNCTIONS


def test_a_list_with_one_text_is_sent_as_a_text() -> None:
    (message,) = to_openai_messages([HumanMessage([{"type": "text", "text": "hi"}])])

    assert {"role": "user", "content": "hi"} == message


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
WIRE_PNG = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "image", "base64": PNG, "mime_type": "image/png"}, WIRE_PNG),
        (
            {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"},
            WIRE_PNG,
        ),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
            },
            WIRE_PNG,
        ),
        (WIRE_PNG, WIRE_PNG),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}, WIRE_PNG),
        ({"type": "image_generation_call", "id": "ig", "result": PNG}, WIRE_PNG),
        ({"type": "image", "base64": PNG}, WIRE_PNG),
        (
            {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ),
        (
            {"audio": {"format": "wav", "source": {"bytes": bytes(3)}}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ),
        (
            {"type": "video", "base64": "AAAA", "mime_type": "video/webm"},
            {"type": "video_url", "video_url": {"url": "data:video/webm;base64,AAAA"}},
        ),
    ],
)
@pytest.mark.parametrize("kind", [HumanMessage, ToolMessage])
def test_media_take_the_form_of_the_server(
    kind: Any, block: dict[str, Any], expected: dict[str, Any]
) -> None:
    extra = {"tool_call_id": "c"} if kind is ToolMessage else {}
    (message,) = to_openai_messages([kind([{"type": "text", "text": "hi"}, block], **extra)])

    assert [{"type": "text", "text": "hi"}, expected] == message["content"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "http://10.0.0.1/secret.png"},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": "/etc/passwd"},
        {"type": "video", "url": "http://10.0.0.1/secret.mp4"},
    ],
)
def test_the_server_is_sent_addresses_only_if_it_may_be(block: dict[str, Any]) -> None:
    messages = [HumanMessage("hi"), HumanMessage([block])]
    with pytest.raises(MlxcelError, match=r"messages\[1\]\.content\[0\] is the address"):
        to_openai_messages(messages)

    (part,) = to_openai_messages(messages, urls=True)[1]["content"]
    assert part["type"] in ("image_url", "video_url")


@pytest.mark.parametrize(
    "block",
    [{"type": "image", "file_id": "f"}, {"type": "audio", "url": "http://x"}, {"type": "text"}],
)
def test_blocks_that_cannot_be_sent_are_refused_with_their_message(block: dict[str, Any]) -> None:
    with pytest.raises(MlxcelError, match=r"messages\[1\] cannot be sent: .* Pass text") as caught:
        to_openai_messages(
            [HumanMessage("hi"), HumanMessage([{"type": "text", "text": "hi"}, block])]
        )

    assert "\n" not in str(caught.value)


def test_an_image_in_a_failed_tool_result_stays_beside_the_word_error() -> None:
    message = ToolMessage([WIRE_PNG], tool_call_id="c", status="error")

    (wire,) = to_openai_messages([message])

    assert [{"type": "text", "text": "Error:"}, WIRE_PNG] == wire["content"]


def test_the_results_of_several_tools_in_one_message_become_several() -> None:
    results = [
        {"type": "tool_result", "tool_use_id": name, "content": "done"} for name in ("c1", "c2")
    ]

    assert ["c1", "c2"] == [
        message["tool_call_id"] for message in to_openai_messages([HumanMessage(results)])
    ]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}],
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "yes"}],
    ],
)
def test_blocks_of_an_answer_go_back_where_templates_read_them(content: Any) -> None:
    expected = {"role": "assistant", "content": "yes"}

    assert [{**expected, "reasoning_content": "hm"}] == to_openai_messages([AIMessage(content)])
    assert [expected] == to_openai_messages([AIMessage(content)], reasoning=False)


# --------------------------------------------------------------------------- other providers

QUESTION = "Weather in Paris and Rome?"


def test_an_agent_falls_back_from_another_provider() -> None:
    calls: list[Any] = [copy.deepcopy(ANSWERS["ChatAnthropic"])]

    class Elsewhere(GenericFakeChatModel):
        """A provider that fails at its second request."""

        def bind_tools(self, *args: Any, **kwargs: Any) -> Any:
            return self

    def get_weather(city: str) -> str:
        """Return the weather of a city."""
        return f"sunny in {city}"

    with FakeServer() as server, ChatMlxcel(base_url=server.url) as llm:
        agent: Any = create_agent(
            Elsewhere(messages=iter(calls)),
            [get_weather],
            middleware=[ModelFallbackMiddleware(llm)],
        )
        state = agent.invoke({"messages": [HumanMessage(QUESTION)]})

        assert state["messages"][-1].text.startswith("echo: ")
        _, asked, *results = server.posts[-1].json["messages"]
        assert FUNCTIONS == asked["tool_calls"]
        assert {"sunny in Paris", "sunny in Rome"} == {result["content"] for result in results}
