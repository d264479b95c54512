"""What a user reads of a failed call: few lines in a script, the user's own ones in a notebook."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from mlxcel_integrations import LLM, MlxcelError

# Each notebook has cells of both.
for framework in ("langchain_core", "llama_index.core"):
    pytest.importorskip(framework, reason=f"{framework} is not installed")

from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings  # noqa: E402
from mlxcel_integrations.llama_index import Mlxcel  # noqa: E402

NOWHERE = "http://127.0.0.1:9"
MESSAGE = f"Cannot reach {NOWHERE}: Connection refused. Check that the server is running"

SETUP = f"""
from langchain_core.runnables import RunnableLambda
from llama_index.core.llms import ChatMessage
from mlxcel_integrations import LLM, AsyncLLM
from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings, MlxcelLLM, MlxcelRerank
from mlxcel_integrations.llama_index import Mlxcel, MlxcelEmbedding

where = {{"base_url": {NOWHERE!r}, "max_retries": 0}}
llm, async_llm, chat, model = LLM(**where), AsyncLLM(**where), ChatMlxcel(**where), Mlxcel(**where)
messages = [ChatMessage("hi")]
"""

CELLS = (
    'llm.chat("hi")',
    'list(llm.chat_stream("hi"))',
    'llm.embed(["hi"])',
    'await async_llm.chat("hi")',
    '[piece async for piece in async_llm.chat_stream("hi")]',
    'chat.invoke("hi")',
    'list(chat.stream("hi"))',
    'await chat.ainvoke("hi")',
    '[chunk async for chunk in chat.astream("hi")]',
    'chat.batch(["hi", "ho"])',
    '(chat | RunnableLambda(str)).invoke("hi")',
    'chat.with_structured_output({"title": "A", "type": "object"}).invoke("hi")',
    'MlxcelLLM(**where).invoke("hi")',
    'MlxcelEmbeddings(**where).embed_query("hi")',
    "model.chat(messages)",
    "list(model.stream_chat(messages))",
    "await model.achat(messages)",
    "[chunk async for chunk in await model.astream_chat(messages)]",
    'model.complete("hi")',
    'MlxcelEmbedding(**where).get_query_embedding("hi")',
)


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    """A notebook without a kernel, in which the cell ``SETUP`` has run."""
    config = pytest.importorskip("traitlets.config", reason="IPython is not installed").Config()
    from IPython.core import async_helpers
    from IPython.core.interactiveshell import InteractiveShell

    config.HistoryManager.enabled = False
    notebook = InteractiveShell.instance(config=config, colors="nocolor")
    assert notebook.run_cell(SETUP).success
    yield notebook
    notebook.run_cell("llm.close(); chat.close(); model.close(); await async_llm.close()")
    async_helpers.get_asyncio_loop().close()
    notebook.restore_sys_module_state()
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("cell", CELLS)
def test_a_notebook_shows_the_cell_and_the_message(
    shell: Any, capsys: pytest.CaptureFixture[str], cell: str
) -> None:
    shell.run_cell(cell)

    shown = capsys.readouterr().out
    assert cell in shown
    assert MESSAGE in shown
    # A comprehension is a frame of its own before Python 3.12.
    assert 9 >= len(shown.strip().splitlines()), shown


def test_a_function_of_the_user_between_cell_and_message_is_shown(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("def ask():\n    return chat.invoke('hi')")
    shell.run_cell("RunnableLambda(lambda text: ask()).invoke('hi')")

    shown = capsys.readouterr().out
    assert "return chat.invoke('hi')" in shown
    assert "site-packages" not in shown


def test_a_notebook_in_verbose_mode_shows_all_frames(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_line_magic("xmode", "Verbose")
    try:
        shell.run_cell('chat.invoke("hi")')
    finally:
        shell.run_line_magic("xmode", "Context")

    assert "langchain_core" in capsys.readouterr().out


def test_an_error_that_no_line_of_the_user_raised_is_shown(shell: Any) -> None:
    assert "MlxcelError: in a thread" == MlxcelError("in a thread")._render_traceback_()[-1]


@pytest.mark.parametrize(
    ("call", "most"),
    [
        # One of these frames finds the thread of the config.
        (lambda: ChatMlxcel(base_url=NOWHERE, max_retries=0).invoke("hi"), 9),
        (lambda: list(ChatMlxcel(base_url=NOWHERE, max_retries=0).stream("hi")), 5),
        (lambda: MlxcelEmbeddings(base_url=NOWHERE, max_retries=0).embed_query("hi"), 3),
        (lambda: LLM(base_url=NOWHERE, max_retries=0).embed(["hi"]), 6),
        # All of these frames are between the call and the network, and asyncio adds its own.
        (lambda: LLM(base_url=NOWHERE, max_retries=0).chat("hi"), 9),
        (lambda: Mlxcel(base_url=NOWHERE, max_retries=0).complete("hi"), 10),
        (lambda: asyncio.run(ChatMlxcel(base_url=NOWHERE, max_retries=0).ainvoke("hi")), 12),
    ],
    ids=["invoke", "stream", "embed_query", "embed", "chat", "complete", "ainvoke"],
)
def test_a_script_prints_one_error_with_few_frames(call: Any, most: int) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - of openai
        shown, cause = traceback.format_exc(), error.cause  # type: ignore[attr-defined]  # ours

    assert 1 == shown.count("Traceback (most recent call last)")
    assert MESSAGE in shown
    # Without the frame of this test.
    assert most >= shown.count("\n  File ") - 1, shown
    assert isinstance(cause, ConnectionRefusedError)
