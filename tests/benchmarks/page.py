"""Where tables go: to the terminal, and into the page of the documentation."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from tests.benchmarks.part import Cells

__all__ = ["PAGE", "conditions", "markdown", "plain", "put"]

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"

PACKAGES = (
    "httpx",
    "openai",
    "pydantic",
    "numpy",
    "langchain-core",
    "langchain-llama-cpp",
    "langchain-ollama",
    "langchain-openai",
    "llama-index-core",
    "llama-index-embeddings-openai",
    "llama-index-llms-ollama",
    "llama-index-llms-openai-like",
    "ollama",
    "xllamacpp",
)
"""Those whose versions belong to the figures."""


def plain(cells: Cells) -> str:
    """Return a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        f"  {client:{widths[0]}}  {figure:>{widths[1]}}  {ratio:>{widths[2]}}"
        for client, figure, ratio in cells
    )


def markdown(cells: Cells) -> str:
    """Return a table for the page."""
    heading, *rows = (f"| {' | '.join(row)} |" for row in cells)
    return "\n".join([heading, "| --- | ---: | ---: |", *rows])


def put(text: str, name: str, content: str) -> str:
    """Return the text of a page with other content between the two marks of a name."""
    begin, end = f"<!-- measured: {name} -->", f"<!-- end of {name} -->"
    pattern = f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})"
    changed, count = re.subn(pattern, lambda _: f"\n{content}\n\n", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{PAGE.name} needs the lines {begin} and {end} once each.")
    return changed


def conditions(rounds: int) -> str:
    """Return when, on what and with what it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in _versions())
    return (
        f"Measured on {datetime.date.today():%d %B %Y}: {_processor()}, {os.cpu_count()} cores, "
        f"{_system()}, Python {platform.python_version()}, the median of {rounds} rounds. "
        f"With {versions}."
    )


def _versions() -> list[tuple[str, str]]:
    installed = {
        distribution.name: distribution.version for distribution in metadata.distributions()
    }
    return [(name, installed[name]) for name in PACKAGES if name in installed]


def _processor() -> str:
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return named[1] if named else platform.machine()


def _system() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return platform.freedesktop_os_release()["PRETTY_NAME"]
