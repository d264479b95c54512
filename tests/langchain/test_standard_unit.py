"""The unit suite that LangChain has for every chat model."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.unit_tests import ChatModelUnitTests
from syrupy.assertion import SnapshotAssertion

from mlxcel_integrations.langchain import ChatMlxcel


class TestConnected(ChatModelUnitTests):
    """Connect mode: nothing has to run, since construction does no I/O."""

    @property
    def chat_model_class(self) -> type[ChatMlxcel]:
        return ChatMlxcel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"base_url": "http://127.0.0.1:1", "served_model": "some-model"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"MLXCEL_BASE_URL": "http://127.0.0.1:1"},
            {"model": None},
            {"base_url": None},
        )

    @pytest.mark.xfail(reason="LangChain loads unnamed classes from its own partners only.")
    def test_serdes(self, model: BaseChatModel, snapshot: SnapshotAssertion) -> None:
        super().test_serdes(model, snapshot)


class TestManaged(ChatModelUnitTests):
    """Managed mode: the server starts with the first answer, and not before."""

    @property
    def chat_model_class(self) -> type[ChatMlxcel]:
        return ChatMlxcel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "owner/some-model", "binary": "/nowhere/mlxcel"}

    @pytest.mark.xfail(reason="LangChain loads unnamed classes from its own partners only.")
    def test_serdes(self, model: BaseChatModel, snapshot: SnapshotAssertion) -> None:
        super().test_serdes(model, snapshot)
