"""The files of the recipes are those that the pages show, and they work."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib

import httpx
import pytest

from tests import WARNINGS_ARE_ERRORS
from tests.fakes.ports import free_port
from tests.pages import DOCS, ROOT

RECIPES = DOCS / "recipes"
FOLDER = RECIPES / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("serving.md", "docker/app.py"),
        ("serving.md", "docker/Dockerfile"),
        ("mcp.md", "mcp/weather.py"),
        ("mcp.md", "mcp/agent.py"),
        ("chat-page.md", "streamlit/app.py"),
        ("tracing.md", "tracing/spans.py"),
    ],
)
def test_the_page_shows_the_file(page: str, name: str) -> None:
    assert f"\n{(RECIPES / name).read_text()}```\n" in (RECIPES / page).read_text()


def printed(program: str) -> str:
    """Run a program of a recipe, and return what it prints."""
    ended = subprocess.run(
        [sys.executable, RECIPES / program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ended.returncode, ended.stderr
    return ended.stdout


@pytest.mark.engine
def test_an_agent_calls_the_tool_of_an_mcp_server() -> None:
    pytest.importorskip("langchain_mcp_adapters", reason="langchain-mcp-adapters is not installed")

    shown = printed("mcp/agent.py")

    assert "'name': 'get_weather', 'args': {'city': 'Paris', 'days': 3}" in shown
    assert "tool | It will be sunny in Paris for 3 days.\n" in shown


@pytest.mark.engine
def test_a_span_has_what_the_page_shows() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
    page = (RECIPES / "tracing.md").read_text()
    expected = page.partition("```text\n")[2].partition("```")[0]

    # The object of the prompt and of the answer depends on the version of LangChain.
    assert names_and_counts(expected) == names_and_counts(printed("tracing/spans.py"))


def names_and_counts(shown: str) -> list[str]:
    return [re.sub(r" = \{.*", "", line) for line in shown.splitlines()]


@pytest.mark.engine
def test_a_page_keeps_the_conversation_of_its_visitor() -> None:
    testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed")
    page = testing.AppTest.from_file(str(RECIPES / "streamlit" / "app.py"), default_timeout=120)

    page.run()
    for question in ("What is the capital of France?", "And of Italy?"):
        page.chat_input[0].set_value(question).run()

    assert not page.exception
    shown = [(message.name, message.markdown[0].value) for message in page.chat_message]
    assert ["human", "ai", "human", "ai"] == [name for name, _ in shown]
    assert "Paris" in shown[1][1]
    assert "Rome" in shown[3][1]


def test_the_image_copies_and_installs_what_there_is() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in line.split()
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"/src\[(.+?)\]", DOCKERFILE)

    assert "mlxcel_integrations" in copied
    assert [] == [source for source in copied if not (ROOT / source).exists()]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()


@pytest.mark.engine
def test_the_app_streams_an_answer_and_ends_with_its_server() -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    port = free_port()
    command = [sys.executable, *WARNINGS_ARE_ERRORS, "-m", "uvicorn", "app:app", f"--port={port}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=FOLDER, env=environment, stderr=subprocess.PIPE) as app:
        try:
            assert app.stderr is not None
            assert any(b"running on" in line for line in app.stderr)
            answer = httpx.get(
                f"http://127.0.0.1:{port}/ask",
                params={"question": "What is the capital of France?"},
                timeout=60,
                trust_env=False,
            )
            app.send_signal(signal.SIGTERM)
            said = app.stderr.read()
        finally:
            app.kill()

    assert "Paris" in answer.text
    assert b"Application shutdown complete." in said


@pytest.mark.timeout(900)
def test_the_image_is_built() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("Docker is not running")

    subprocess.run([docker, "build", "-q", "-f", FOLDER / "Dockerfile", ROOT], check=True)
