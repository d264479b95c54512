"""Profiles: the abilities of a model, as LangChain describes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mlxcel_integrations.langchain import ChatMlxcel
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
