"""What mlxcel 0.4.2 accepts and cannot do is told: failing templates, pictures for text models."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxcel_integrations import LLM, AsyncLLM, MlxcelError
from tests.supervisor.conftest import Fake, fake, wait_until

__all__ = ["fake"]

SIGN = "Chat template render failed, using fallback"
ERROR = "invalid operation: Only user and assistant roles (in chat:1)"


def ask(llm: LLM) -> None:
    llm.chat("hi")


def stream(llm: LLM) -> None:
    for _ in llm.chat_stream("hi"):
        pass


def count(llm: LLM) -> None:
    llm.count_message_tokens([{"role": "user", "content": "hi"}])


async def ask_async(llm: AsyncLLM) -> None:
    await llm.chat("hi")


async def stream_async(llm: AsyncLLM) -> None:
    async for _ in llm.chat_stream("hi"):
        pass


async def count_async(llm: AsyncLLM) -> None:
    await llm.count_message_tokens([{"role": "user", "content": "hi"}])


WAYS = [
    (LLM, ask),
    (LLM, stream),
    (LLM, count),
    (AsyncLLM, ask_async),
    (AsyncLLM, stream_async),
    (AsyncLLM, count_async),
]


def warned(
    make: Callable[..., Any], way: Callable[[Any], Any], *, logs: bool = True, **options: Any
) -> list[Any]:
    """Ask, wait for what the server logs about that, ask again, and return all warnings."""
    with warnings.catch_warnings(record=True) as told, asyncio.Runner() as runner:
        warnings.simplefilter("always")
        llm = make("m", **options)

        def wait_for(result: Any) -> None:
            if result is not None and not isinstance(result, LLM):
                runner.run(result)

        server = llm._connection.server
        wait_for(way(llm))
        # The line comes through a pipe.
        assert not logs or wait_until(lambda: SIGN in server.log_tail)
        wait_for(way(llm))
        wait_for(way(llm))
        wait_for(llm.close())
    return told


@pytest.mark.parametrize(("make", "way"), WAYS)
@pytest.mark.parametrize("share", ["process", "user"])
def test_a_template_that_fails_is_told_once_at_the_line_of_the_user(
    share: str, make: Callable[..., Any], way: Callable[[Any], Any], fake: Fake
) -> None:
    assert not logging.getLogger("mlxcel.server").isEnabledFor(logging.INFO)
    binary = fake.binary(GENERATION="v0.4.2", TEMPLATE_ERROR=ERROR)

    told = warned(make, way, binary=binary, share=share, keep_alive=0)

    assert 1 == len(told), [str(one.message) for one in told]
    message = str(told[0].message)
    assert f"of the model fails (Failed to render chat template: {ERROR}), so" in message
    assert told[0].filename == __file__


def test_a_template_that_works_is_not_told(fake: Fake) -> None:
    assert [] == warned(LLM, ask, logs=False, binary=fake.binary(GENERATION="v0.4.2"))


@pytest.mark.parametrize("make", [LLM, AsyncLLM])
def test_a_warning_that_is_an_error_leaves_no_server(make: Callable[..., Any], fake: Fake) -> None:
    binary = fake.binary(GENERATION="v0.4.2", TEMPLATE_ERROR=ERROR, LOG_LINES=f'["{SIGN}: x"]')
    with asyncio.Runner() as runner:
        llm = make("m", binary=binary)

        def wait_for(result: Any) -> None:
            if result is not None and not isinstance(result, LLM):
                runner.run(result)

        wait_for(llm.start())
        assert wait_until(lambda: SIGN in llm._connection.server.log_tail)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="chat template"):
                wait_for(llm.close())
    fake.wait_for_nothing()


def test_a_template_that_is_strict_about_roles_is_sent_joined_messages_from_then_on(
    fake: Fake,
) -> None:
    error = "Conversation roles must alternate user/assistant/user/assistant/..."
    messages = [{"role": "user", "content": text} for text in ("one", "two")]
    with LLM("m", binary=fake.binary(GENERATION="v0.4.2", TEMPLATE_ERROR=error)) as llm:
        server = llm._connection.server
        assert server is not None
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            llm.chat(messages)
            # The line comes through a pipe.
            assert wait_until(lambda: SIGN in server.log_tail)
            llm.chat(messages)

        assert "echo: one\n\ntwo" == llm.chat(messages)
    assert "or merge_messages=True if this one is strict" in str(told[0].message)


# --------------------------------------------------------------------------- pictures

PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where mlxcel has downloaded its models."""
    for name, more in (("text", {}), ("sees", {"vision_config": {}})):
        (tmp_path / "store/org" / name).mkdir(parents=True)
        config = {"model_type": "gemma3", "max_position_embeddings": 4096, **more}
        (tmp_path / "store/org" / name / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("MLXCEL_MODELS_DIR", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("make", [LLM, AsyncLLM])
@pytest.mark.parametrize(("model", "refused"), [("org/text", True), ("org/sees", False)])
def test_a_picture_for_a_model_that_reads_only_text_is_refused(
    model: str, refused: bool, make: Callable[..., Any], fake: Fake
) -> None:
    picture = {"type": "image_url", "image_url": {"url": PIXEL}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}, picture]}]
    with asyncio.Runner() as runner:
        llm = make(model, binary=fake.binary(GENERATION="v0.4.2"))

        def asked(way: Callable[[Any], Any]) -> Any:
            result = way(llm)
            return result if isinstance(llm, LLM) else runner.run(result)

        told = "ok"
        try:
            asked(lambda llm: llm.chat(messages))
        except MlxcelError as error:
            told = str(error)
        asked(lambda llm: llm.close())

    expected = "messages[0].content[1] has the type image_url, but this model accepts only text. "
    expected += "Leave it out, or use a model that reads it."
    assert (expected if refused else "ok") == told
