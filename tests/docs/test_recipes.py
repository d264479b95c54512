"""The files of the recipes are those that the pages show, and they work."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib

import httpx
import pytest

from tests import WARNINGS_ARE_ERRORS
from tests.pages import DOCS, ROOT

PAGE = (DOCS / "recipes" / "serving.md").read_text()
FOLDER = DOCS / "recipes" / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["app.py", "Dockerfile"])
def test_the_page_shows_the_file(name: str) -> None:
    assert f"\n{(FOLDER / name).read_text()}```\n" in PAGE


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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
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
