"""Arguments that cannot be right: each object says which one, and what to do, and sends nothing."""

from __future__ import annotations

import asyncio
import importlib
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError, create_model

from mlxcel_integrations import LLM, AsyncLLM, ManagedServer, MlxcelError
from tests.fakes.server import FakeServer

CLASSES = ["LLM", "AsyncLLM", "langchain.ChatMlxcel", "llama_index.Mlxcel"]
PACKAGES = {"langchain": "langchain_core", "llama_index": "llama_index.core"}


@pytest.fixture(params=CLASSES)
def kind(request: pytest.FixtureRequest) -> Any:
    package, _, name = request.param.rpartition(".")
    if not package:
        return {"LLM": LLM, "AsyncLLM": AsyncLLM}[name]
    pytest.importorskip(PACKAGES[package], reason="this framework is not installed")
    return getattr(importlib.import_module(f"mlxcel_integrations.{package}"), name)


def ask(llm: Any, messages: Any, **options: Any) -> Any:
    """Ask in the way of each class."""
    if isinstance(llm, LLM):
        return llm.chat(messages, **options)
    if isinstance(llm, AsyncLLM):
        return asyncio.run(llm.chat(messages, **options))
    if hasattr(llm, "invoke"):
        return llm.invoke(messages, **options)
    return llm.complete(messages, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": "soon"}, ["timeout", "soon"]),
        ({"timeout": 0}, ["timeout", "0"]),
        ({"timeout": float("nan")}, ["timeout", "nan"]),
        ({"timeout": [5]}, ["timeout"]),
        ({"connect_timeout": "x"}, ["connect_timeout"]),
        ({"total_timeout": -1}, ["total_timeout"]),
        ({"max_retries": -1}, ["max_retries", "-1"]),
        ({"max_retries": "many"}, ["max_retries"]),
        ({"max_retries": True}, ["max_retries=True must be a whole number"]),
        ({"timeout": True}, ["timeout=True"]),
        ({"api_key": print}, ["api_key", "function"]),
        ({"default_headers": ["x-key: 5"]}, ["default_headers"]),
        ({"default_headers": {"x-key": 5}}, ["x-key"]),
        ({"api_key": 5}, ["api_key"]),
        ({"session": 5}, ["session"]),
        ({"served_model": 5}, ["served_model"]),
        ({"verify": 5.5}, ["verify"]),
        ({"base_url": 5}, ["base_url"]),
        ({"base_url": None, "socket": 5}, ["socket"]),
        ({"base_url": None, "model": 5}, ["model"]),
        ({"num_ctx": 4096}, ["num_ctx", "ctx_size="]),
        ({"model_name": "m"}, ["model_name", "served_model="]),
        ({"openai_api_base": "http://h"}, ["openai_api_base", "base_url="]),
        ({"api_base": "http://h"}, ["api_base", "base_url="]),
        ({"request_timeout": 5}, ["request_timeout", "timeout="]),
        ({"max_completion_tokens": 5}, ["max_completion_tokens", "max_tokens="]),
        ({"num_predict": 5}, ["num_predict", "max_tokens="]),
        ({"n_gpu_layers": 5}, ["n_gpu_layers", "extra_args="]),
        ({"timout": 5}, ["timout", "Did you mean 'timeout'"]),
        ({"model_kwargs": {}}, ["model_kwargs", "extra_body="]),
    ],
    ids=str,
)
def test_wrong_options_of_an_object_are_named(
    kind: Any, server: FakeServer, options: dict[str, Any], says: list[str]
) -> None:
    with pytest.raises(MlxcelError) as caught:
        kind(**{"base_url": server.url, **options})

    message = str(caught.value)
    assert [] == [part for part in says if part not in message]
    assert "Input should be" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key": 12345678}, "api_key= must be a str, not int."),
        ({"api_key": ["sk-12345678"]}, "api_key= must be a str, not list."),
        ({"default_headers": "x-key: sk-12345678"}, "default_headers= must be a dictionary"),
        ({"default_headers": [("x-key", "sk-12345678")]}, "default_headers= must be a dictionary"),
        ({"default_headers": {"x-key": 12345678}}, "'x-key' in default_headers= is not a string"),
        ({"default_headers": {"x-key": ["sk-12345678"]}}, "'x-key' in default_headers= is not a"),
        ({"extra_args": "--api-key sk-12345678"}, "extra_args= is a single string: pass a tuple"),
    ],
    ids=str,
)
def test_no_error_shows_a_key_of_the_wrong_type(
    kind: Any, server: FakeServer, options: dict[str, Any], says: str
) -> None:
    place = {"model": "m"} if "extra_args" in options else {"base_url": server.url}

    with pytest.raises(MlxcelError) as caught:
        kind(**{**place, **options})

    assert says in str(caught.value)
    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": "30s"}, "timeout="),
        ({"connect_timeout": "1m"}, "connect_timeout="),
        ({"model": "m", "startup_timeout": "5m"}, "startup_timeout='5m' must be in seconds"),
        ({"model": "m", "keep_alive": "5m"}, "keep_alive='5m' must be in seconds"),
        ({"model": "m", "keep_alive": -1}, "keep_alive=-1 must be at least 0: for a server that"),
        ({"model": "m", "keep_alive": "-1m"}, "keep_alive='-1m' must be at least 0"),
        ({"model": "http://h:8080/v1"}, "'http://h:8080/v1' is an address: pass base_url="),
        ({"model": "http://a:b@h"}, "'http://***@h' is an address: pass base_url="),
        ({"model": "m", "flash_attn": True}, "extra_args="),
        ({"model": "m", "ttl": 5}, "keep_alive="),
        ({"model": "m", "contextLength": 5}, "ctx_size="),
    ],
    ids=str,
)
def test_values_that_only_other_packages_take_are_refused(
    kind: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(MlxcelError) as caught:
        kind(**{"base_url": None if "model" in options else "http://h", **options})

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "hot"}, "temperature='hot' must be a number."),
        ({"ctx_size": "x"}, "ctx_size='x' must be a whole number."),
        ({"ctx_size": -5}, "ctx_size=-5 must be at least 0."),
        ({"share": "no"}, "share='no' must be one of 'process', 'user' or False."),
        ({"stop": ["a", 5]}, "stop[1]=5 must be a str."),
        ({"logit_bias": [1]}, "logit_bias=[1] must be a dictionary."),
        ({"verify": 5.5}, "verify=5.5 must be True or False."),
        (
            {"temperature": "hot", "ctx_size": "x"},
            "temperature='hot' must be a number; ctx_size='x' must be a whole number.",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", CLASSES[2:], indirect=True)
def test_values_that_an_adapter_refuses_are_told_in_one_line(
    kind: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlxcelError) as made:
        kind(model="embedded", api_key="no-secret", **options)
    with pytest.raises(MlxcelError) as copied:
        kind(model="embedded").model_copy(update=options)
    shown = traceback.TracebackException.from_exception(made.value, capture_locals=True)
    model, changes = kind(model="embedded"), iter(options.items())
    with pytest.raises(MlxcelError) as changed:
        setattr(model, *next(changes))

    first = message.partition("; ")[0].rstrip(".")
    assert message == str(made.value)
    assert f"{first}." == str(copied.value) == str(changed.value)
    in_package = [frame for frame in shown.stack if "mlxcel_integrations" in frame.filename]
    assert in_package
    assert "no-secret" not in str([frame.locals for frame in in_package])


def test_all_unknown_options_are_told_at_once(kind: Any) -> None:
    with pytest.raises(MlxcelError) as caught:
        kind(model="embedded", max_retry=1, n_ctx=4096, startup_timout=5)

    told = str(caught.value)
    for part in ("'max_retry'", "Did you mean 'max_retries'?", "'n_ctx'", "Here, use ctx_size="):
        assert part in told
    assert told.endswith("'startup_timeout'?")


def test_the_name_of_vectors_is_no_model() -> None:
    pytest.importorskip("llama_index.core")
    from mlxcel_integrations.llama_index import MlxcelEmbedding

    with pytest.raises(MlxcelError, match=r"Pass model= .* model_name= only names the vectors\.$"):
        MlxcelEmbedding(model_name="nomic-embed-text")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra_headers": {"x": "y"}}, "^extra_headers= is not an argument. Here, use default_h"),
        ({"functions": []}, "^functions= is not an argument. Give tools with bind_tools"),
        ({"system": "x"}, "^system= is not an argument. Put it into the first message"),
        ({"timeout": 4}, "^timeout= is an option of the object, not of a call: pass it to the"),
        ({"ctx_size": 4096}, "^ctx_size= is an option of the object"),
        ({"keep_alive": "5m"}, "^keep_alive= is an option of the object"),
        ({"served_model": "m"}, "^served_model= is an option of the object"),
        ({"schem": dict}, "^schem= is not an argument. Did you mean schema="),
        ({"num_ctx": 4096}, "^num_ctx= is not an argument. Here, use ctx_size="),
        ({"num_predict": 5}, "^num_predict= is not an argument. Here, use max_tokens="),
        ({"format": "json"}, "^format= is not an argument. Here, use response_format="),
        ({"maxTokens": 5}, "^maxTokens= is not an argument. Here, use max_tokens="),
        ({"topKSampling": 5}, "^topKSampling= is not an argument. Here, use top_k="),
        ({"raw": True}, r"^raw= is not an argument. Here, use LLM.generate\(\)"),
        ({"template": "x"}, "^template= is not an argument. Here, use chat_template="),
        ({"context": [1]}, "^context= is not an argument. Pass the earlier messages again"),
        ({"instructions": "x"}, "^instructions= is not an argument. Put it into the first"),
        ({"response_format": {"type": "json"}}, "^response_format={'type': 'json'} is unknown: "),
        ({"response_format": "json_object"}, "^response_format='json_object' is unknown: "),
        ({"response_format": {"type": "json_schema"}}, "is not a response_format that servers"),
        ({"max_tokens": "5"}, "^max_tokens='5' must be a whole number, not str.$"),
        ({"max_tokens": 2.5}, "^max_tokens=2.5 must be a whole number"),
        ({"max_tokens": -1}, "^max_tokens is -1"),
        ({"seed": "x"}, "^seed='x' must be a whole number"),
        ({"max_tokens": True}, "^max_tokens=True must be a whole number, not bool.$"),
        ({"temperature": "hot"}, "^temperature='hot' must be a number, not str.$"),
        ({"top_p": float("nan")}, "^top_p.*nan"),
        ({"extra_body": "x"}, "^extra_body= must be a dictionary such as .*, not str.$"),
        ({"extra_body": {"a": ...}}, "^a is of the type ellipsis, which cannot be written"),
        ({"logit_bias": [1]}, "^logit_bias= must be a dictionary"),
        ({"chat_template_kwargs": "x"}, "^chat_template_kwargs= must be a dictionary"),
        ({"session": 5}, "^session=5"),
        ({"schema_use": True}, "^schema_use= is not an argument\\. "),
    ],
    ids=str,
)
def test_options_of_a_call(
    kind: Any, server: FakeServer, options: dict[str, Any], message: str
) -> None:
    llm = kind(base_url=server.url)

    with pytest.raises(MlxcelError, match=message):
        ask(llm, "hi", **options)

    assert [] == server.posts


@pytest.mark.parametrize(
    "options", [{"correction": "boo"}, {"tight": True}, {"relaxable": True}], ids=str
)
def test_a_name_that_only_our_own_code_uses_is_that_of_any_field(
    kind: Any, server: FakeServer, options: dict[str, Any]
) -> None:
    llm = kind(base_url=server.url)

    ask(llm, "hi")
    ask(llm, "hi", **options)

    usual, changed = (seen.json for seen in server.posts)
    assert {**usual, **options} == changed


@pytest.mark.parametrize("stop", [3, [3], {"a": 1}])
@pytest.mark.parametrize("kind", ["LLM", "AsyncLLM", "langchain.ChatMlxcel"], indirect=True)
def test_stops_that_are_not_texts(kind: Any, server: FakeServer, stop: Any) -> None:
    with pytest.raises(MlxcelError, match=r"^stop(=|\[)"):
        ask(kind(base_url=server.url), "hi", stop=stop)

    assert [] == server.posts


MISTAKES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda llm: llm.chat(3), "^messages=3 must be a text, or a list of messages"),
    (lambda llm: llm.chat(None), "^messages=None must be a text"),
    (lambda llm: llm.chat(b"hi"), "^messages=b'hi' must be a text"),
    (lambda llm: llm.chat({"role": "user", "content": "hi"}), r"^messages= is a single message"),
    (lambda llm: llm.chat(["hi"]), r"^messages\[0\] is str, not a dictionary"),
    (lambda llm: llm.chat([]), "^There are no messages"),
    (lambda llm: llm.chat("hi", tools=3), "^tools= must be a list of OpenAI tools, not int.$"),
    (lambda llm: llm.chat("hi", tools={"a": 1}), "^tools= must be a list of OpenAI tools"),
    (lambda llm: llm.chat(3, schema=dict[str, int]), "^messages=3 must be a text"),
    (lambda llm: llm.generate(3), "^A prompt must be a string, not int"),
    (lambda llm: llm.generate(["a"]), "^A prompt must be a string, not list"),
    (lambda llm: llm.generate("a", schema=dict), "^schema= is an argument of chat, chat_stream"),
    (lambda llm: llm.chat("a", progress=print), "^progress= is an argument of LLM.chat_"),
    (lambda llm: llm.warm("a", progress=print), "^progress= is an argument of LLM.chat_"),
    (lambda llm: llm.count_tokens(None), "^text= must be a list of strings, not NoneType"),
    (lambda llm: llm.count_tokens(["a", 3]), r"^text\[1\] is int, not a string"),
    (lambda llm: llm.tokenize(3), "^text=3 must be a str, not int"),
    (lambda llm: llm.tokenize(None), "^text=None must be a str"),
    (lambda llm: llm.detokenize("12"), "^tokens='12' must be a list of token ids"),
    (lambda llm: llm.detokenize(3), "^tokens=3 must be"),
    (lambda llm: llm.count_message_tokens(3), "^messages=3 must be a text"),
    (lambda llm: llm.count_message_tokens("a", timeout=3), "^timeout= is an option of the object"),
    (lambda llm: llm.fit_messages(3), "^messages=3 must be a text"),
    (lambda llm: llm.fit_messages("hi", reserve="x"), "^reserve='x' must be a whole number"),
    (lambda llm: llm.embed("abc"), "^texts= is a single string"),
    (lambda llm: llm.embed(None), "^texts= must be a list of strings"),
    (lambda llm: llm.embed(["a"], dimensions="x"), "^dimensions='x' must be a whole number"),
    (lambda llm: llm.embed(["a"], batch_size=0), "^batch_size=0 must be at least 1"),
    (lambda llm: llm.embed(["a"], batch_size=True), "^batch_size=True must be a whole number"),
    (lambda llm: llm.chat("a", schema=int, max_attempts=True), "^max_attempts=True must be a wh"),
    (lambda llm: llm.embed(["a"], prefix=3), "^prefix=3 must be a str"),
    (lambda llm: llm.rerank(3, ["a"]), "^query=3 must be a non-empty string"),
    (lambda llm: llm.rerank("q", "abc"), "^documents= is a single string"),
    (lambda llm: llm.rerank("q", ["a"], top_n="x"), "^top_n='x' must be a whole number"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_wrong_arguments_of_methods_are_refused_before_anything_is_sent(
    server: FakeServer, mistake: Callable[[Any], Any], message: str
) -> None:
    async def twin() -> Any:
        return await mistake(AsyncLLM(base_url=server.url))

    with pytest.raises(MlxcelError, match=message):
        mistake(LLM(base_url=server.url))
    with pytest.raises(MlxcelError, match=message):
        asyncio.run(twin())
    assert [] == server.posts


@pytest.mark.parametrize(
    ("kind", "transport", "name"),
    [
        (LLM, httpx.AsyncHTTPTransport(), "BaseTransport for LLM, not AsyncHTTPTransport"),
        (AsyncLLM, httpx.HTTPTransport(), "AsyncBaseTransport for AsyncLLM, not HTTPTransport"),
        (LLM, "tcp", "BaseTransport for LLM, not str"),
    ],
)
def test_a_transport_of_the_other_kind_is_refused(kind: Any, transport: Any, name: str) -> None:
    with pytest.raises(MlxcelError, match=f"^transport= must be an httpx.{name}"):
        kind(transport=transport)


@pytest.mark.parametrize("kind", [LLM, AsyncLLM])
def test_a_transport_and_a_model_exclude_each_other(kind: Any) -> None:
    with pytest.raises(MlxcelError, match=r"^Both model= and transport= are given\b"):
        kind(model="embedded", transport=httpx.MockTransport(lambda request: httpx.Response(200)))


@pytest.mark.parametrize("kind", [LLM, AsyncLLM])
def test_header_values_of_the_wrong_form_are_not_shown(kind: Any) -> None:
    with pytest.raises(MlxcelError, match="default_headers= must be a dictionary") as caught:
        kind(base_url="http://h", default_headers=["x-key: hunter2hunter2"])

    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown.replace('default_headers=["x-key: hunter2hunter2"]', "")


@pytest.mark.parametrize("kind", [LLM, AsyncLLM, ManagedServer])
@pytest.mark.parametrize("second", [0.5, "sk-12345678", None])
def test_a_second_argument_needs_its_name(kind: Any, second: object) -> None:
    with pytest.raises(MlxcelError, match=f"^{kind.__name__} takes one argument without") as caught:
        kind("embedded", second)

    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize("options", [{"model": 5}, {"model": "m", "socket": 5}])
def test_a_managed_server_says_so_too(options: dict[str, Any]) -> None:
    with pytest.raises(MlxcelError, match=r"^(model|socket)=5 must be a str or a path, not int.$"):
        ManagedServer(**options)


ADAPTERS = ["langchain.ChatMlxcel", "langchain.MlxcelEmbeddings", "llama_index.Mlxcel"]


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> Any:
    package, _, name = request.param.rpartition(".")
    pytest.importorskip(PACKAGES[package], reason="this framework is not installed")
    return getattr(importlib.import_module(f"mlxcel_integrations.{package}"), name)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"timeout": "hot"}, "timeout='hot'"),
        ({"num_ctx": 5}, "use ctx_size="),
        ({"socket": "/tmp/s"}, "Both base_url="),
        ({"api_key": 12345678}, "api_key= must be a str"),
        ({"default_headers": "sk-12345678"}, "default_headers= must be a dictionary"),
        (5, "valid dictionary or instance of"),
        ("text", "valid dictionary or instance of"),
    ],
    ids=str,
)
def test_a_model_that_holds_one_reports_its_errors_with_its_own(
    adapter: Any, given: Any, says: str
) -> None:
    holder = create_model("Settings", llm=(adapter, ...), other=(int, ...))
    if isinstance(given, dict):
        given = {"base_url": "http://h", "api_key": "sk-12345678", **given}

    with pytest.raises(ValidationError) as caught:
        holder(llm=given, other="no")

    assert [("llm",), ("other",)] == [error["loc"] for error in caught.value.errors()]
    assert says in str(caught.value)
    assert "12345678" not in str(caught.value)


def test_a_field_may_have_another_type_as_well(adapter: Any) -> None:
    class Other(BaseModel):
        num_ctx: int

    for kinds in (adapter | Other, Other | adapter):
        holder: Any = create_model("Settings", llm=(kinds, ...))
        for given in (Other(num_ctx=5), {"num_ctx": 5}):
            assert Other(num_ctx=5) == holder(llm=given).llm
        for given in (adapter(base_url="http://h"), {"base_url": "http://h"}):
            assert isinstance(holder(llm=given).llm, adapter)


def test_a_constructor_and_a_change_raise_a_value_error_as_pydantic_does(adapter: Any) -> None:
    model = adapter(base_url="http://h")
    for call in (
        lambda: adapter(base_url="http://h", timeout="hot"),
        lambda: adapter(base_url="http://h", num_ctx=5),
        lambda: setattr(model, "timeout", "hot"),
        lambda: model.model_copy(update={"timeout": "hot"}),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # the point
            call()
        assert isinstance(caught.value, MlxcelError)
