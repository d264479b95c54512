"""The context of a server that does not tell its own is read from the files of its model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from mlxcel_integrations import LLM, AsyncLLM
from tests.fakes.program import executable

MODEL = "owner/name"
QUESTION = "Words of a long book. " * 1000


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The configuration of a model that mlxcel has downloaded."""
    path = tmp_path / "store" / MODEL / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"max_position_embeddings": 2048}))
    monkeypatch.setenv("MLXCEL_MODELS_DIR", str(tmp_path / "store"))
    return path


@pytest.fixture
def old(tmp_path: Path) -> dict[str, Any]:
    """Options of a server that tells only the context that it was given."""
    return {"binary": str(executable(tmp_path, FAKE_GENERATION="v0.4.2"))}


def test_features_tell_the_window_of_the_model_and_its_file(
    config: Path, old: dict[str, Any]
) -> None:
    async def features() -> Any:
        async with AsyncLLM(MODEL, **old) as llm:
            return await llm.features

    with LLM(MODEL, **old) as llm:
        found = llm.features

    assert (2048, str(config)) == (found.context_size, found.context_source)
    assert found == asyncio.run(features())


@pytest.mark.parametrize("way", ["chat", "generate"])
def test_a_prompt_that_exceeds_the_window_is_not_sent(
    way: str, config: Path, old: dict[str, Any]
) -> None:
    with LLM(MODEL, **old) as llm, pytest.raises(openai.BadRequestError) as caught:
        getattr(llm, way)(QUESTION)

    assert "the prompt was not sent, since the answer needs room for 1 token" in str(caught.value)
    assert f"(context size from {config})" in str(caught.value)
    with LLM(MODEL, check_context=False, **old) as llm:
        assert "Words" in getattr(llm, way)(QUESTION)


def test_an_asynchronous_prompt_that_exceeds_the_window_is_not_sent(
    config: Path, old: dict[str, Any]
) -> None:
    async def generate() -> str:
        async with AsyncLLM(MODEL, **old) as llm:
            return await llm.generate(QUESTION)

    with pytest.raises(openai.BadRequestError, match="the prompt was not sent"):
        asyncio.run(generate())


def test_messages_are_fitted_into_the_window(config: Path, old: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": QUESTION}, {"role": "user", "content": "Hello"}]
    with LLM(MODEL, **old) as llm:
        assert messages[1:] == llm.fit_messages(messages)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"ctx_size": 8192}, 2048), ({"ctx_size": 8192, "parallel": 1}, 8192)],
)
def test_a_context_that_the_user_sets_wins(
    options: dict[str, Any], expected: int, config: Path, old: dict[str, Any]
) -> None:
    config.write_text(json.dumps({"max_position_embeddings": 512}))
    with LLM(MODEL, **old, **options) as llm:
        assert (expected, None) == (llm.features.context_size, llm.features.context_source)


def test_a_context_that_the_server_tells_wins(config: Path, tmp_path: Path) -> None:
    with LLM(MODEL, binary=str(executable(tmp_path))) as llm:
        assert (4096, None) == (llm.features.context_size, llm.features.context_source)


@pytest.mark.parametrize("content", ["", "{}", '{"max_position_embeddings": "2048"}'])
def test_what_no_file_tells_stays_unknown(content: str, config: Path, old: dict[str, Any]) -> None:
    config.write_text(content)
    with LLM(MODEL, **old) as llm:
        assert (None, None) == (llm.features.context_size, llm.features.context_source)
        assert "echo: Words" in llm.chat(QUESTION)


def test_langchain_knows_the_window(config: Path, old: dict[str, Any]) -> None:
    pytest.importorskip("langchain_core", reason="this framework is not installed")
    from langchain_core.exceptions import ContextOverflowError

    from mlxcel_integrations.langchain import ChatMlxcel, MlxcelLLM

    with ChatMlxcel(model=MODEL, **old) as llm:
        assert 2048 == llm.refresh_profile()["max_input_tokens"]
        with pytest.raises(ContextOverflowError, match=r"config\.json"):
            llm.invoke(QUESTION)
    with (
        MlxcelLLM(model=MODEL, **old) as text,
        pytest.raises(ContextOverflowError, match=r"config\.json"),
    ):
        text.invoke(QUESTION)


def test_llama_index_knows_the_window(config: Path, old: dict[str, Any]) -> None:
    pytest.importorskip("llama_index.core", reason="this framework is not installed")
    from mlxcel_integrations.llama_index import Mlxcel

    with Mlxcel(model=MODEL, **old) as llm:
        assert 2048 == llm.metadata.context_window
        assert 2000 < llm.prompt_helper().context_window < 2048
        with pytest.raises(openai.BadRequestError, match=r"config\.json"):
            llm.complete(QUESTION, formatted=True)


@pytest.mark.engine
def test_the_embedded_engine_tells_its_context_itself() -> None:
    with LLM("embedded", ctx_size=2048, parallel=2) as llm:
        assert (1024, None) == (llm.features.context_size, llm.features.context_source)
    with LLM("embedded") as llm:
        assert llm.features.context_size
        assert llm.features.context_source is None
