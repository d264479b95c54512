"""LlamaIndex's adapters are pickled without handlers that cannot be."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.rate_limiter import TokenBucketRateLimiter

from mlxcel_integrations.llama_index import Mlxcel, MlxcelEmbedding, MlxcelRerank
from tests.fakes.server import FakeServer


def test_what_cannot_be_pickled_stays_here_and_keeps_nothing_from_leaving(
    server: FakeServer,
) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    handler.lock = threading.Lock()  # type: ignore[attr-defined]  # as handlers of others have
    manager = CallbackManager([handler])
    limiter = TokenBucketRateLimiter(requests_per_minute=60)
    with Mlxcel(base_url=server.url, callback_manager=manager, rate_limiter=limiter) as llm:
        other = pickle.loads(pickle.dumps(llm))

        assert "echo: hello there" == other.chat([ChatMessage("hello there")]).message.content
        assert (manager, limiter) == (llm.callback_manager, llm.rate_limiter)
        assert [] == other.callback_manager.handlers
        other.close()


@pytest.mark.parametrize("kind", [Mlxcel, MlxcelEmbedding, MlxcelRerank])
def test_handlers_that_cannot_be_pickled_stay_here(kind: Any) -> None:
    handler: Any = LlamaDebugHandler(print_trace_on_end=False)
    handler.lock = threading.Lock()
    manager = CallbackManager([handler])
    model = kind(base_url="http://127.0.0.1:1", callback_manager=manager)

    assert [] == pickle.loads(pickle.dumps(model)).callback_manager.handlers
    assert manager is model.callback_manager


def test_handlers_that_can_be_pickled_go_along() -> None:
    manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    model = MlxcelRerank(base_url="http://127.0.0.1:1", callback_manager=manager)

    assert 1 == len(pickle.loads(pickle.dumps(model)).callback_manager.handlers)
