"""Whoever uses a model while Python ends is told so at once, with any method.

From the end of its exit handlers on, Python imports nothing and runs no new thread: some work would
fail with an error that speaks of something else, and its older versions wait for a thread for ever.
"""

from __future__ import annotations

import pytest

from mlxcel_integrations import LLM, AsyncLLM
from tests.supervisor.conftest import Fake
from tests.supervisor.test_programs import result

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
USES: dict[str, list[str]] = {
    "chat": ["'hi'", f"'hi', schema={SCHEMA}", "'hi', response_format=int", "'hi', reasoning=True"],
    "chat_stream": ["'hi'", f"'hi', schema={SCHEMA}", "'hi', progress=print"],
    "classify": ["'hi', ['a', 'b']"],
    "complete_chat": ["'hi', tools=[{}]", "'hi', temperature=0"],
    "count_message_tokens": ["'hi'"],
    "count_tokens": ["'hi'", "['a', 'b']"],
    "counts_at_once": [""],
    "decide": ["'hi', ['a', 'b']"],
    "detokenize": ["[1]"],
    "embed": ["['a']", "['a'] * 9, batch_size=1"],
    "explain_cache": ["'hi', 'ho'"],
    "fit_messages": ["'hi'"],
    "generate": ["'hi'"],
    "models": [""],
    "rerank": ["'a', ['b', 'c']"],
    "stream": ["'hi'"],
    "tokenize": ["'hi'"],
    "warm": ["'hi'"],
}
"""Arguments for each method."""

PROPERTIES = ["features", "model", "openai_client"]

OTHERS = {"close", "counting_route", "start"}

TOLD = (
    "MlxcelServerError The program is ending, so no model can be used any more. Use it earlier, at "
    "the latest in a function registered with atexit."
)

AT_THE_END = """
import asyncio, faulthandler
from mlxcel_integrations import AsyncLLM
options = {options}
llm, server = {client}(**options), ManagedServer("m", binary=binary)
async def read(answer):
    if hasattr(answer, "__aiter__"):
        return [piece async for piece in answer]
    return await answer if hasattr(answer, "__await__") else answer
async def use(code):
    return await read(eval(code))
def use_now(code):
    answer = eval(code)
    return list(answer) if hasattr(answer, "__next__") else answer
# The first event loop of a program imports modules.
asyncio.run(asyncio.sleep(0))
if {used}:
    asyncio.run(use("llm.start()")) if {client} is AsyncLLM else llm.start()
class Last:
    def __del__(self):
        faulthandler.dump_traceback_later(10, exit=True)
        for code in {codes}:
            try:
                if {client} is AsyncLLM:
                    asyncio.run(use(code))
                else:
                    use_now(code)
                say("done")
            except Exception as error:
                say(type(error).__name__, error)
        repr(llm)
        asyncio.run(llm.close()) if {client} is AsyncLLM else llm.close()
        say("closed")
last = Last()
"""


@pytest.mark.parametrize("client", ["LLM", "AsyncLLM"])
@pytest.mark.parametrize("mode", ["managed, new", "managed, used", "connected"])
def test_who_uses_a_model_while_python_ends_is_told_so_at_once(
    mode: str, client: str, fake: Fake
) -> None:
    connected = mode == "connected"
    options = (
        "{'base_url': 'http://127.0.0.1:9'}" if connected else "{'model': 'm', 'binary': binary}"
    )
    calls = [f"llm.{name}({given})" for name, rows in USES.items() for given in rows]
    codes = [
        *calls,
        *(f"llm.{name}" for name in PROPERTIES),
        "LLM(**options)",
        "ManagedServer('m')",
    ]
    body = AT_THE_END.format(
        options=options, client=client, used=mode == "managed, used", codes=codes
    )

    assert (0, "\n".join([TOLD] * len(codes)) + "\nclosed\n", "") == result(body, fake.binary())


@pytest.mark.parametrize("kind", [LLM, AsyncLLM])
def test_each_method_is_looked_at(kind: type) -> None:
    public = {name for name in dir(kind) if not name.startswith("_")}

    assert public == {*USES, *PROPERTIES, *OTHERS}


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ("langchain", ["ChatMlxcel", "MlxcelLLM", "MlxcelEmbeddings", "MlxcelRerank"]),
        ("llama_index", ["Mlxcel", "MlxcelEmbedding", "MlxcelRerank"]),
    ],
)
def test_who_makes_an_adapter_while_python_ends_is_told_so(
    package: str, names: list[str], fake: Fake
) -> None:
    pytest.importorskip("langchain_core" if package == "langchain" else "llama_index.core")
    body = f"""
from mlxcel_integrations.{package} import {", ".join(names)}
class Last:
    def __del__(self):
        for kind in ({", ".join(names)}):
            try:
                kind(base_url="http://127.0.0.1:9")
            except Exception as error:
                say(type(error).__name__, error)
last = Last()
"""
    assert (0, "\n".join([TOLD] * len(names)) + "\n", "") == result(body, fake.binary())


@pytest.mark.parametrize("kind", ["LLM", "ManagedServer"])
def test_a_server_that_is_started_then_tells_its_model(kind: str, fake: Fake) -> None:
    body = f"""
server = {kind}("m", binary=binary)
class Last:
    def __del__(self):
        try:
            server.start()
        except Exception as error:
            say(type(error).__name__, error)
last = Last()
"""
    told = "MlxcelServerError The program is ending, so the server for 'm' was not started.\n"
    assert (0, told, "") == result(body, fake.binary())


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("make", ["LLM", "AsyncLLM"])
def test_an_exit_handler_may_ask_as_long_as_its_server_is_there(
    make: str, used: bool, fake: Fake
) -> None:
    body = f"""
import asyncio, atexit
from mlxcel_integrations import AsyncLLM
llm = {make}("m", binary=binary)
async def ask():
    say(await llm.chat("hi"))
    await llm.close()
def end():
    asyncio.run(ask()) if {make} is AsyncLLM else say(llm.chat("hi"))
if {used}:
    llm.start() if {make} is LLM else asyncio.run(llm.start())
atexit.register(end)
"""
    returncode, out, error = result(body, fake.binary())

    # Some versions of Python start no thread any more, and so no server.
    told = "The program is ending, so no server was started" in error
    assert (told and not used) or (0, "echo: hi\n", "") == (returncode, out, error)
