"""LangChain's integration suite against a server that answers as mlxcel with a capable model does.

It shows what the model of the embedded engine is too small for, on both server generations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests

from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.answers import Generation
from tests.fakes.model import capable
from tests.fakes.replies import Reply
from tests.fakes.server import FakeServer


class Scripted(ChatModelIntegrationTests):
    """What both generations have in common."""

    generation: Generation

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with FakeServer(self.generation) as self.server:
            self.server.think = capable
            yield

    @property
    def chat_model_class(self) -> type[ChatMlxcel]:
        return ChatMlxcel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"base_url": self.server.url}

    @property
    def model_override_value(self) -> str:
        return "fake-model"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:
        details = ["cache_read_input", "reasoning_output"]
        return {"invoke": details, "stream": details}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._counted(stream, "prompt_tokens_details", "cached_tokens")

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._counted(stream, "completion_tokens_details", "reasoning_tokens")

    def _counted(self, stream: bool, place: str, name: str) -> AIMessage:
        usage = {"prompt_tokens": 9, "completion_tokens": 5, place: {name: 4}}
        self.server.script(Reply.text("hi", reasoning="let me think", usage=usage))
        llm = ChatMlxcel(**self.chat_model_params)
        if not stream:
            return llm.invoke("x")
        first, *rest = llm.stream("x")
        return first + rest  # type: ignore[return-value]  # core's own types: a chunk is a message


class TestNewest(Scripted):
    generation = "newest"


class TestV042(Scripted):
    generation = "v0.4.2"


del Scripted
