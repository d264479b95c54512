"""Profiles: the abilities of a model, as LangChain describes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import ModelProfile

from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.langchain.profile import to_profile
from mlxcel_integrations.protocol.features import read_features
from tests.fakes.server import FakeServer


@pytest.mark.parametrize("generation", ["newest", "v0.4.2"])
def test_the_profile_says_what_the_server_does(generation: Any) -> None:
    with (
        FakeServer(generation, context_size=512) as server,
        ChatMlxcel(base_url=server.url) as llm,
    ):
        assert llm.profile is not None
        assert (True, None) == (
            llm.profile["structured_output"],
            llm.profile.get("max_input_tokens"),
        )
        assert [] == server.requests

        profile = llm.refresh_profile()

        assert profile == llm.profile == asyncio.run(llm.arefresh_profile())
        assert (512, True) == (profile["max_input_tokens"], profile["tool_calling"])
        assert "fake-model" == profile["name"]


LLAMA = {"build_info": "b6000-abc", "model_path": "/models/m.gguf", "modalities": {"vision": True}}
THINKS = {"supports_tools": True, "supports_reasoning_effort": True}
TOLD = {"open_weights", "tool_call_streaming", "image_tool_message", "reasoning_effort_levels"}


@pytest.mark.parametrize(
    ("health", "props", "expected"),
    [
        ({}, {}, {}),
        (
            {},
            {**LLAMA, "chat_template_caps": THINKS},
            {
                "open_weights": True,
                "tool_call_streaming": True,
                "image_tool_message": True,
                "reasoning_effort_levels": ["low", "medium", "high"],
            },
        ),
        (
            {},
            {**LLAMA, "modalities": {}, "chat_template_caps": {"supports_tools": False}},
            {"open_weights": True, "tool_call_streaming": True, "image_tool_message": False},
        ),
        ({"tool_call_parser": "hermes"}, None, {}),
        ({"tool_call_parser": None}, None, {"tool_call_streaming": True}),
        ({}, {"build_info": "mlxcel-0.5.0"}, {}),
    ],
)
def test_only_what_the_server_tells_is_in_the_profile(
    health: Any, props: Any, expected: dict[str, Any]
) -> None:
    profile = to_profile(read_features(health, props, {"data": [{"id": "m"}]}))

    assert expected == {name: value for name, value in profile.items() if name in TOLD}
    assert profile["tool_calling"]
    assert profile["tool_choice"]
    assert ModelProfile.__annotations__.keys() >= profile.keys()
    assert profile.get("reasoning_output") is (
        True if "reasoning_effort_levels" in expected else None
    )
