"""What the README and the documentation show is true: examples, links, lists, messages."""

from __future__ import annotations

import ast
import asyncio
import gc
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import llama_index.core
import pytest
from llama_index.core import Settings

from tests import WARNINGS_ARE_ERRORS, pages
from tests.pages import DOCS, PAGES, README, ROOT, examples

PACKAGE = ROOT / "mlxcel_integrations"

RIGHT = {
    "README.md": ("Red", "32 metres"),
    "core.md": ("red 32",),
    "llama-index.md": ("Paris", "Oslo"),
    "llama-index-agents.md": ("{'city': 'Paris', 'days': 3}",),
    "llama-index-structured.md": ("red 32", "colour='red' metres=32"),
    "rag.md": ("32 metres", "Forty"),
    "reasoning.md": ("20",),
    "structured-output.md": ("red 32",),
}
"""Answers that the built-in model must give on a page, beside those of the fake server."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Take back what an example does to what the whole test run shares."""
    levels = {logger: logger.level for logger in (logging.getLogger("mlxcel.server"), logging.root)}
    handlers = logging.root.handlers[:]
    settings = dict(vars(Settings))
    # LlamaIndex would make an event loop for the main thread, which nobody closes.
    asyncio.set_event_loop(None)
    yield
    vars(Settings).update(settings)
    llama_index.core.global_tokenizer = None
    for logger, level in levels.items():
        logger.setLevel(level)
    logging.root.handlers[:] = handlers
    # The functions of a page refer to its objects, which keep their servers from other tests.
    gc.collect()


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What takes the place of addresses and folders in examples."""
    with pages.stand_ins(tmp_path) as found:
        yield found


# LlamaIndex's own: its agents look up in themselves what Pydantic 1 had, and more.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.filterwarnings("ignore:is_running called from within a step")
# LangChain's own: the third version of its events is new.
@pytest.mark.filterwarnings("ignore:The method .* is in beta")
# Ray's own: what it sets by itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.engine
@pytest.mark.parametrize(
    "page", [page for page in PAGES if examples(page)], ids=lambda page: page.name
)
def test_the_examples_of_a_page_print_what_it_shows(
    page: Path, engine: None, places: dict[str, str]
) -> None:
    if page.name == "batches.md":
        pytest.importorskip("ray", reason="the extra [ray] is not installed")

    printed = pages.outputs(page, places)

    shown = examples(page)
    assert [] == [
        (f"line {example.line}", example.output, text)
        for example, text in zip(shown, printed, strict=True)
        if not example.agrees(text)
    ], f"see that these outputs are as they should be, and run `{pages.COMMAND} {page.name}`"
    assert [] == [answer for answer in RIGHT.get(page.name, ()) if answer not in "".join(printed)]


def test_an_output_is_written_behind_its_example_and_keeps_its_mark() -> None:
    mark, before, after = (
        pages.MAY_DIFFER,
        "```{ .text .output }\nold\n```\n",
        "```python\n2\n```\n",
    )
    text = f"A\n\n```python\n1\n```\n\n{mark}{before}\n{after}"

    assert text.replace("old", "new") == pages.with_outputs(text, ["new\n", ""])
    assert text + f"\n{before}" == pages.with_outputs(text, ["old\n", "old\n"])
    assert f"A\n\n```python\n1\n```\n\n{after}" == pages.with_outputs(text, ["", ""])


def test_only_examples_with_a_test_of_their_own_are_not_run() -> None:
    reasons = [example.reason for page in PAGES for example in examples(page) if example.reason]

    assert [
        "tests/langchain/test_web_server.py runs it in uvicorn",
        "tests/docs/test_recipes.py opens the page",
        "tests/docs/test_recipes.py has an agent call it",
        "tests/docs/test_recipes.py runs it as a program",
        "tests/docs/test_recipes.py runs it in uvicorn",
        "tests/docs/test_recipes.py runs it, since it sets variables of the process",
    ] == reasons


def test_no_python_block_escapes() -> None:
    """An indented or differently spelt fence would be shown, and not run."""
    fences = {page: len(re.findall(r"```\s*\{?\.?py", page.read_text())) for page in PAGES}

    assert fences == {page: len(examples(page)) for page in PAGES}
    assert any(fences.values())


@pytest.mark.engine
def test_the_first_example_runs_as_a_file(tmp_path: Path, engine: None) -> None:
    program = tmp_path / "first.py"
    program.write_text(examples(README)[0].code)

    ended = subprocess.run(
        [sys.executable, *WARNINGS_ARE_ERRORS, program], capture_output=True, text=True, check=False
    )

    assert (0, "") == (ended.returncode, ended.stderr)
    assert ended.stdout.strip()


LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def test_the_links_of_the_readme_lead_to_files() -> None:
    links = LINK.findall(README.read_text())

    assert "docs/core.md" in links
    assert [] == [link for link in links if not (ROOT / link).exists()]


def test_the_links_of_notebooks_lead_to_files() -> None:
    """What checks the links of pages reads no notebooks."""
    links = [
        (path.parent / link).resolve()
        for path in sorted(ROOT.glob("notebooks/*.ipynb"))
        for cell in json.loads(path.read_text())["cells"]
        for link in LINK.findall("".join(cell["source"]))
        if cell["cell_type"] == "markdown"
    ]

    assert DOCS / "rag.md" in links
    assert [] == [link for link in links if not link.exists()]


def texts_to_copy() -> dict[str, str]:
    """Return the pages and the explanations in notebooks, by their paths."""
    pages_of_the_site = {str(path): path.read_text() for path in [README, *DOCS.rglob("*.md")]}
    return pages_of_the_site | {
        str(path): "".join(
            f"{''.join(cell['source'])}\n"
            for cell in json.loads(path.read_text())["cells"]
            if cell["cell_type"] == "markdown"
        )
        for path in ROOT.glob("notebooks/*.ipynb")
    }


def test_a_command_is_copied_without_a_prompt() -> None:
    assert {} == {
        name: found
        for name, text in texts_to_copy().items()
        if (found := re.findall(r"^\$ .*", text, re.MULTILINE))
    }


def test_notebooks_install_the_package_from_a_clone() -> None:
    """It is not on PyPI."""
    commands = {
        name: re.findall(r"pip install [^`\n]*", text)
        for name, text in texts_to_copy().items()
        if name.endswith(".ipynb")
    }

    assert 8 == len(commands)
    assert {} == {
        name: found
        for name, found in commands.items()
        if [command for command in found if not command.startswith('pip install ".[')] or not found
    }


OF_OTHERS = {
    "asyncio.run() cannot be called from a running event loop",
    "Expected a Runnable, callable or dict",
    "Unsupported message type",
    "package not found, please run",
    "Input should be a valid dictionary or instance of ChatMessage",
}
"""Messages of Python and of the frameworks that the page explains."""


def shown_messages() -> list[str]:
    return re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """All texts in the package's code, with `…` for what is put into them."""
    nodes = [
        node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
    ]
    return [text for node in nodes if (text := _text(node))]


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


@pytest.mark.parametrize("message", shown_messages())
def test_the_messages_of_the_troubleshooting_page_exist(message: str, texts: list[str]) -> None:
    assert message in OF_OTHERS or any(message in text for text in texts)
