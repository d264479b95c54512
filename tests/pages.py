"""The examples of the README and the docs: they are run in their order, and show what they print.

`python -m tests.pages` runs all of them and writes the outputs that have changed into the pages;
with the names of pages, such as `chat.md`, only those of these pages. A test compares. For another
output where it may differ, delete the one that is there.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from mlxcel_integrations import LLM
from tests.fakes.ports import free_port
from tests.fakes.program import executable
from tests.fakes.server import FakeServer

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("recipes/*.md"))]
COMMAND = "python -m tests.pages"

MAY_DIFFER = "<!-- may differ -->\n"
"""Stands before an output that depends on the machine, the model's choice or chance."""

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?```python *\n(?P<code>.*?)^```\n"
    rf"(?:\n(?P<mark>{MAY_DIFFER})?"
    r"```\{ \.text \.output \}\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)

IN_A_MODELS_WORDS = {
    "echo: Hello!": "Hello! How can I help you?",
    "echo: What is the capital of France?": "Paris",
    "echo: Name three primary colours.": "Red, yellow and blue.",
    "echo: What is a lighthouse?": "A tower with a light that guides ships.",
    "echo: What is in this picture?<image_url>": "A white lighthouse on a rock by the sea.",
    "echo: My name is Ada.": "Hello, Ada!",
    "echo: What is my name?": "Your name is Ada.",
}
"""What pages show for an answer of the scripted server, which takes the place of mlxcel."""


PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(64)
"""The beginning of a picture, of which nobody here reads the rest."""


@dataclass(frozen=True)
class Example:
    """A fenced block of Python with the output that is shown behind it.

    Attributes:
        code: The block.
        line: Its first line in the page.
        reason: Why it is not run, if so.
        output: What the page says that it prints.
        may_differ: Whether that is marked as one output of many.
    """

    code: str
    line: int
    reason: str | None
    output: str
    may_differ: bool

    def agrees(self, printed: str) -> bool:
        """Return whether the page shows what was printed: the text, or that there is one."""
        if self.may_differ:
            return bool(printed) == bool(self.output)
        return printed == self.output


def examples(page: Path) -> list[Example]:
    text = page.read_text()
    return [
        Example(
            found["code"],
            text.count("\n", 0, found.start("code")),
            found["reason"],
            found["output"] or "",
            found["mark"] is not None,
        )
        for found in FENCE.finditer(text)
    ]


@contextlib.contextmanager
def stand_ins(folder: Path) -> Iterator[dict[str, str]]:
    """Start what examples ask for, and yield what takes the place of their addresses and folders.

    Args:
        folder: An empty folder for sockets, programs and data.
    """
    path, picture = folder / "server.sock", folder / "picture.png"
    picture.write_bytes(PIXEL)
    environment = {
        "MLXCEL_BIN": str(executable(folder)),
        # Ray tells nobody about itself, and leaves no token in the user's home.
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    with (
        mock.patch.dict(os.environ, environment),
        FakeServer(model_id="qwen") as tcp,
        FakeServer(socket=path, model_id="qwen"),
    ):
        tcp.media = {"image_url"}
        yield {
            "http://127.0.0.1:8080": tcp.url,
            "http://gpu-box:8080": tcp.url,
            "/run/mlxcel/server.sock": str(path),
            "port=8765": f"port={free_port()}",
            "my-index": str(folder / "index"),
            "my-notes": str(folder / "notes"),
            "lighthouse.png": str(picture),
        }


def outputs(page: Path, places: Mapping[str, str]) -> list[str]:
    """Run the examples of a page in their order, and return what each prints.

    Args:
        page: The page.
        places: What takes the place of texts in examples; see `stand_ins`.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    return [
        "" if example.reason else _run(example, page, namespace, places)
        for example in examples(page)
    ]


def _run(example: Example, page: Path, namespace: dict[str, Any], places: Mapping[str, str]) -> str:
    code = example.code
    for shown, real in places.items():
        code = code.replace(shown, real)
    # Tracebacks name the line of the page; annotations are no texts, as in this file.
    program = compile("\n" * example.line + code, page, "exec", dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        exec(program, namespace)
    return as_shown(stdout.getvalue(), places)


def as_shown(printed: str, places: Mapping[str, str]) -> str:
    """Return a text as a page shows it: with the page's addresses, and without blank edges."""
    for shown, real in places.items():
        printed = printed.replace(real, shown)
    for echo, answer in IN_A_MODELS_WORDS.items():
        printed = printed.replace(echo, answer)
    lines = [line.rstrip() for line in printed.splitlines()]
    return "\n".join(lines).strip("\n") + "\n" if printed.strip() else ""


def with_outputs(text: str, printed: list[str]) -> str:
    """Return a page with these outputs behind its examples. The marks stay."""
    remaining = iter(printed)

    def block(found: re.Match[str]) -> str:
        output = next(remaining)
        code = found[0][: found.end("code") - found.start()] + "```\n"
        if not output:
            return code
        return f"{code}\n{found['mark'] or ''}```{{ .text .output }}\n{output}```\n"

    return FENCE.sub(block, text)


def main(names: list[str]) -> None:
    """Write the outputs that do not agree, in the pages with these names or in all."""
    # The one server that all examples share.
    with LLM(model="embedded"):
        for page in PAGES:
            if examples(page) and (not names or page.name in names):
                with tempfile.TemporaryDirectory() as folder, stand_ins(Path(folder)) as places:
                    printed = outputs(page, places)
                shown = [
                    example.output if example.agrees(text) else text
                    for example, text in zip(examples(page), printed, strict=True)
                ]
                page.write_text(with_outputs(page.read_text(), shown))


if __name__ == "__main__":
    main(sys.argv[1:])
