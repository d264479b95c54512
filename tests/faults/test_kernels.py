"""An interrupt in a notebook ends the call; the server ends with its kernel."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.supervisor.conftest import Fake, runs, wait_until
from tests.supervisor.test_programs import ROOT


class Kernel:
    """A kernel as a notebook has it."""

    def __init__(self, folder: Path) -> None:
        # Without folders to search, the only kernel is the one of this interpreter.
        specs = KernelSpecManager(kernel_dirs=[])
        self.manager = KernelManager(kernel_name="python3", kernel_spec_manager=specs)
        self.manager.transport = "ipc"
        self.manager.ip = str(folder / "k")
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=str(folder))
        self._connect()

    def _connect(self) -> None:
        self._client: BlockingKernelClient = self.manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=30)

    def begin(self, code: str) -> str:
        """Run a cell; return the id of its reply."""
        # Else the cells after one that was interrupted are refused for a while.
        return str(self._client.execute(code, stop_on_error=False))

    def wait_for_text(self, text: str) -> None:
        """Wait until a cell has printed something."""
        deadline = time.monotonic() + 20
        printed = ""
        while text not in printed:
            message = self._client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]

    def wait_for_reply(self, cell: str) -> str:
        """Wait for the end of a cell; return the name of the exception, or "ok"."""
        content = self._reply(cell)
        return str(content.get("ename", content["status"]))

    def _reply(self, cell: str) -> dict[str, Any]:
        while True:
            reply = self._client.get_shell_msg(timeout=30)
            if reply["parent_header"].get("msg_id") == cell:
                content: dict[str, Any] = reply["content"]
                return content

    def run(self, code: str, expression: str = "None") -> str:
        """Run a cell to its end; return the value of an expression, or the name of an error."""
        cell = self._client.execute(code, user_expressions={"value": expression})
        content = self._reply(cell)
        value = content.get("user_expressions", {}).get("value", content)
        return str(value["data"]["text/plain"] if value["status"] == "ok" else value["ename"])

    def restart(self) -> None:
        self._client.stop_channels()
        self.manager.restart_kernel(now=False)
        self._connect()

    def kill(self) -> None:
        self.manager.signal_kernel(signal.SIGKILL)

    def end(self) -> None:
        self._client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kernel]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    kernel = Kernel(tmp_path)
    try:
        yield kernel
    finally:
        kernel.end()


ANSWER = "llm.invoke('hi').text"


def imports(binary: str, options: str = "") -> str:
    return f"""
from mlxcel_integrations.langchain import ChatMlxcel
llm = ChatMlxcel(model="m", binary={binary!r}{options})
"""


@pytest.mark.parametrize(
    "call",
    [
        "for chunk in llm.stream('a b c d ' * 9): print(chunk.text, end='', flush=True)",
        "async for chunk in llm.astream('a b c d ' * 9): print(chunk.text, end='', flush=True)",
        "print('a', flush=True); llm.invoke('a b c d ' * 9)",
    ],
    ids=["stream", "astream", "invoke"],
)
def test_an_interrupt_ends_the_call_and_leaves_the_server(
    call: str, fake: Fake, kernel: Kernel
) -> None:
    # An answer before: an interrupt during an import of LangChain leaves half a module behind.
    kernel.run(imports(fake.binary(TOKEN_SECONDS="0.3")) + "llm.invoke('hi', max_tokens=1)")
    (server,) = fake.running
    cell = kernel.begin(call)
    kernel.wait_for_text("a")

    interrupted = time.monotonic()
    kernel.manager.interrupt_kernel()

    assert kernel.wait_for_reply(cell) in ("KeyboardInterrupt", "CancelledError")
    # The whole answer takes ten seconds and more.
    assert time.monotonic() - interrupted < 4
    assert [server] == fake.running
    assert "'echo:'" == kernel.run("", "llm.invoke('again', max_tokens=1).text.strip()")
    assert 1 == len(fake.starts)


def test_an_interrupt_during_a_start_leaves_nothing(fake: Fake, kernel: Kernel) -> None:
    kernel.run(imports(fake.binary(LOAD_SECONDS="60")))
    cell = kernel.begin("llm.invoke('hi')")
    fake.wait_for_start()

    kernel.manager.interrupt_kernel()

    assert "KeyboardInterrupt" == kernel.wait_for_reply(cell)
    fake.wait_for_nothing()


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_the_server_ends_with_the_kernel(end: str, fake: Fake, kernel: Kernel) -> None:
    binary = fake.binary()
    assert "'echo: hi'" == kernel.run(imports(binary), ANSWER)

    getattr(kernel, end)()

    fake.wait_for_nothing()


def test_the_server_ends_with_a_kernel_that_is_restarted_inside_a_stream(
    fake: Fake, kernel: Kernel
) -> None:
    kernel.run(imports(fake.binary(TOKEN_SECONDS="0.3")))
    kernel.begin("for chunk in llm.stream('a b c d ' * 99): print(chunk.text, flush=True)")
    kernel.wait_for_text("a")

    kernel.restart()

    fake.wait_for_nothing()
    assert "'echo: hi'" == kernel.run(imports(fake.binary()), ANSWER)


def test_a_restarted_kernel_finds_the_model_still_loaded(fake: Fake, kernel: Kernel) -> None:
    code = imports(fake.binary(), ", share='user', keep_alive=30")
    assert "'echo: hi'" == kernel.run(code, ANSWER)
    (server,) = fake.running

    kernel.restart()

    assert "'echo: hi'" == kernel.run(code, ANSWER)
    assert [server] == fake.running
    kernel.kill()
    assert not wait_until(lambda: not runs(server), 0.5)
    # Nobody has to wait for the end of its time.
    os.kill(server, signal.SIGTERM)
    fake.wait_for_nothing()
    assert 1 == len(fake.starts)
