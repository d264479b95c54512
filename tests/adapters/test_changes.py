"""Objects that travel and change: pickles, copies with other options, and assignments."""

from __future__ import annotations

import asyncio
import gc
import importlib
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from mlxcel_integrations import MlxcelError
from tests.fakes.program import executable
from tests.fakes.server import FakeServer

PACKAGES = {"langchain": "langchain_core", "llama_index": "llama_index.core"}


def ask_chat(llm: Any) -> None:
    llm.invoke("x")


def ask_chat_async(llm: Any) -> None:
    asyncio.run(llm.ainvoke("x"))


def embed(embeddings: Any) -> None:
    embeddings.embed_documents(["x"])


def complete(llm: Any) -> None:
    llm.complete("x")


def complete_async(llm: Any) -> None:
    asyncio.run(llm.acomplete("x"))


def embed_text(embeddings: Any) -> None:
    embeddings.get_text_embedding("x")


def rank(ranker: Any) -> None:
    ranker.rerank("x", ["a", "b"])


CLASSES = {
    "langchain.ChatMlxcel": ask_chat,
    "langchain.ChatMlxcel, async": ask_chat_async,
    "langchain.MlxcelLLM": ask_chat,
    "langchain.MlxcelEmbeddings": embed,
    "langchain.MlxcelRerank": rank,
    "llama_index.Mlxcel": complete,
    "llama_index.Mlxcel, async": complete_async,
    "llama_index.MlxcelEmbedding": embed_text,
    "llama_index.MlxcelRerank": rank,
}
Use = Callable[[Any], None]


@pytest.fixture(params=CLASSES)
def named(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(named: str) -> Any:
    package, _, name = named.partition(",")[0].partition(".")
    pytest.importorskip(PACKAGES[package], reason="this framework is not installed")
    return getattr(importlib.import_module(f"mlxcel_integrations.{package}"), name)


@pytest.fixture
def use(named: str) -> Use:
    return CLASSES[named]


@pytest.fixture
def servers() -> Iterator[list[FakeServer]]:
    with (
        FakeServer(api_key="one", models=[able("model")]) as one,
        FakeServer(model_id="other", api_key="two", models=[able("other")]) as two,
    ):
        yield [one, two]


def able(name: str) -> dict[str, Any]:
    return {"id": name, "capabilities": ["completion", "embedding", "rerank"]}


def posts(server: FakeServer) -> list[Any]:
    return [seen for seen in server.requests if seen.method == "POST"]


def copied(model: Any, changes: dict[str, Any]) -> Any:
    return model.model_copy(update=changes)


def assigned(model: Any, changes: dict[str, Any]) -> Any:
    for name, value in changes.items():
        setattr(model, name, value)
    return model


def managed(kind: Any, folder: Path, **options: Any) -> Any:
    vectors = {"embedding_model": "embedder", "reranker_model": "ranker"}
    return kind(model="some/model", binary=executable(folder), **vectors, **options).start()


CHANGE = pytest.mark.parametrize("change", [copied, assigned])
Change = Callable[[Any, dict[str, Any]], Any]


@CHANGE
def test_a_changed_address_key_and_model_are_used_from_then_on(
    servers: list[FakeServer], kind: Any, use: Use, change: Change
) -> None:
    one, two = servers
    model = kind(base_url=one.url, api_key="one")
    use(model)

    changed = change(model, {"base_url": two.url, "api_key": "two", "served_model": "other"})
    use(changed)

    assert "two" not in repr(changed)
    assert isinstance(changed.api_key, SecretStr)
    assert 1 == len(posts(one))
    (post,) = posts(two)
    assert ("Bearer two", "other") == (post.headers["authorization"], post.json["model"])
    if change is copied:
        use(model)
        assert (2, 1) == (len(posts(one)), len(posts(two)))
    changed.close()
    model.close()


@CHANGE
def test_a_changed_timeout_is_used_from_then_on(
    servers: list[FakeServer], kind: Any, use: Use, change: Change
) -> None:
    model = kind(base_url=servers[0].url, api_key="one", timeout=60, max_retries=1)
    use(model)

    changed = change(model, {"timeout": 7, "max_retries": 0, "session": "s"})

    connection = changed._connection
    assert (7, 0) == (connection.timeouts.timeout, connection.settings.max_retries)
    use(changed)
    assert "s" == posts(servers[0])[-1].headers["x-session-id"]
    changed.close()
    model.close()


@CHANGE
@pytest.mark.parametrize("named", [name for name in CLASSES if name.endswith(("LLM", "Mlxcel"))])
def test_a_changed_field_of_requests_is_used_from_then_on(
    servers: list[FakeServer], kind: Any, use: Use, change: Change
) -> None:
    model = kind(base_url=servers[0].url, api_key="one", temperature=0.5)
    use(model)

    changed = change(model, {"temperature": 0.25, "seed": 7})
    use(changed)
    use(model)

    sent = [(post.json["temperature"], post.json.get("seed")) for post in posts(servers[0])]
    last = (0.5, None) if change is copied else (0.25, 7)
    assert [(0.5, None), (0.25, 7), last] == sent
    model.close()


@pytest.mark.parametrize("change", [copied, assigned])
def test_a_chat_model_that_is_to_merge_messages_does_so_from_then_on(
    servers: list[FakeServer], change: Change
) -> None:
    pytest.importorskip("langchain_core", reason="this framework is not installed")
    from mlxcel_integrations.langchain import ChatMlxcel

    model = ChatMlxcel(base_url=servers[0].url, api_key="one")

    changed = change(model, {"merge_messages": True})
    changed.invoke([("user", "One."), ("user", "Two.")])

    assert ["One.\n\nTwo."] == [m["content"] for m in posts(servers[0])[-1].json["messages"]]
    changed.close()
    model.close()


@CHANGE
def test_a_managed_server_that_no_object_names_any_more_is_given_back(
    tmp_path: Path, servers: list[FakeServer], kind: Any, use: Use, change: Change
) -> None:
    model = managed(kind, tmp_path)
    use(model)
    process = psutil.Process(model._connection.server.pid)
    connected = dict.fromkeys(("model", "binary", "embedding_model", "reranker_model"))
    connected |= {"base_url": servers[0].url, "api_key": "one"}

    changed = change(model, connected)
    use(changed)
    assert 1 == len(posts(servers[0]))
    if change is copied:
        use(model)  # still runs
    del model
    gc.collect()

    psutil.wait_procs([process], timeout=30)
    assert not process.is_running()
    changed.close()


@CHANGE
@pytest.mark.parametrize("share", ["process", False])
def test_a_managed_server_goes_on_if_it_is_still_the_right_one(
    tmp_path: Path, kind: Any, use: Use, change: Change, share: Any
) -> None:
    model = managed(kind, tmp_path, share=share)
    pid = model._connection.server.pid

    changed = change(model, {"timeout": 7, "session": "s", "max_retries": 0})
    use(changed)

    assert (pid, 7) == (changed._connection.server.pid, changed._connection.timeouts.timeout)
    changed.close()
    model.close()


@CHANGE
def test_a_server_that_another_object_names_stays(
    tmp_path: Path, kind: Any, use: Use, change: Change
) -> None:
    model = managed(kind, tmp_path)
    other = model.model_copy()

    changed = change(model, {"model": "another/model"})
    use(changed)
    changed.close()
    use(other)

    other.close()
    model.close()


@CHANGE
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"timeout": -1}, MlxcelError, "greater than 0"),
        ({"max_retries": "many"}, MlxcelError, "a whole number"),
        ({"tiemout": 1}, (MlxcelError, ValueError), "tiemout"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    servers: list[FakeServer],
    kind: Any,
    use: Use,
    change: Change,
    changes: dict[str, Any],
    error: Any,
    message: str,
) -> None:
    model = kind(base_url=servers[0].url, api_key="one")

    with pytest.raises(error, match=message):
        change(model, changes)

    use(model)
    model.close()


@CHANGE
def test_what_contradicts_itself_is_an_error_of_the_next_use(
    servers: list[FakeServer], kind: Any, use: Use, change: Change
) -> None:
    model = kind(base_url=servers[0].url, api_key="one")

    changed = change(model, {"model": "some/model"})

    with pytest.raises(MlxcelError, match="Both model="):
        use(changed)
    use(change(changed, {"model": None}))
    assert 1 == len(posts(servers[0]))
    model.close()


class Locked:
    """An object that cannot be pickled, as it holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def handlers_of_langchain() -> dict[str, Any]:
    from langchain_core.caches import InMemoryCache
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.rate_limiters import InMemoryRateLimiter

    class Cache(InMemoryCache):
        def __init__(self) -> None:
            super().__init__()
            self.locked = Locked()

    class Handler(BaseCallbackHandler):
        def __init__(self) -> None:
            self.locked = Locked()

    limiter = InMemoryRateLimiter(requests_per_second=1000)
    return {
        "rate_limiter": limiter,
        "cache": Cache(),
        "callbacks": [Handler()],
        "custom_get_token_ids": lambda text: [1],
    }


def handlers_of_llama_index() -> dict[str, Any]:
    from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler

    handler: Any = LlamaDebugHandler(print_trace_on_end=False)
    handler.locked = Locked()
    return {"callback_manager": CallbackManager([handler])}


HANDLERS = {"langchain": handlers_of_langchain, "llama_index": handlers_of_llama_index}


def test_what_cannot_leave_the_process_is_left_out_of_pickles(
    servers: list[FakeServer], named: str, kind: Any, use: Use
) -> None:
    given = HANDLERS[named.partition(".")[0]]()
    handlers = {name: value for name, value in given.items() if name in kind.model_fields}
    model = kind(base_url=servers[0].url, **handlers)

    again = pickle.loads(pickle.dumps(model))

    again.api_key = "one"
    use(again)
    for name, value in handlers.items():
        assert value == getattr(model, name)
        assert not getattr(again, name) or "callback_manager" == name
    again.close()
    model.close()


def test_a_cache_and_handlers_that_can_be_pickled_travel_along() -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.caches import InMemoryCache
    from langchain_core.callbacks import BaseCallbackHandler, StdOutCallbackHandler

    from mlxcel_integrations.langchain import ChatMlxcel

    class Local(BaseCallbackHandler):
        """Cannot be pickled, as it is of a function."""

    callbacks = [StdOutCallbackHandler(), Local()]
    model = ChatMlxcel(base_url="http://127.0.0.1:9", cache=InMemoryCache(), callbacks=callbacks)

    again = pickle.loads(pickle.dumps(model))

    assert isinstance(again.cache, InMemoryCache)
    assert [StdOutCallbackHandler] == [type(handler) for handler in again.callbacks]


def test_a_cache_of_vectors_keeps_those_of_changed_models_apart() -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.storage.kvstore import SimpleKVStore

    from mlxcel_integrations.llama_index import MlxcelEmbedding

    with FakeServer(models=[able("one")]) as one, FakeServer(models=[able("two")]) as two:
        model = MlxcelEmbedding(base_url=one.url, embeddings_cache=SimpleKVStore())
        other = model.model_copy(update={"base_url": two.url, "served_model": "two"})
        for each in (model, other, model, other):
            each.get_text_embedding("x")
        assert (1, 1) == (len(posts(one)), len(posts(two)))
        assert ("two", f"base_url={one.url!r}") == (other.model_name, model.model_name)

        model.text_prefix = "passage: "
        model.get_text_embedding("x")

        assert 2 == len(posts(one))
        model.close()
        other.close()
