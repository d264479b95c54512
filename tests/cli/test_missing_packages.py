"""Every command without the packages of the extras: it works, or names what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import CommandLine

ASK = ("bs4", "mammoth", "markdownify", "numpy", "pypdf", "semantic_text_splitter", "Stemmer")
EVERYTHING = (*ASK, "langchain_core", "llama_index", "xllamacpp")


@pytest.mark.parametrize("hidden", [("langchain_core",), ("mammoth",), ASK], ids=str)
def test_the_demo_names_the_missing_packages_and_their_extras(
    hidden: tuple[str, ...], command_line: CommandLine
) -> None:
    done = run_without(hidden, command_line, "demo")

    assert 1 == done.returncode
    expected = f"Some packages are not installed ({', '.join(hidden)}): pip install "
    assert f"{expected}'mlxcel-integrations[ask,langchain,embedded]'.\n" == done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ask README.md Who?", "'mlxcel-integrations[ask,embedded]'"),
        ("ask README.md Who? --with llamaindex", "'mlxcel-integrations[ask,llama-index,embedded]'"),
        ("chat", "'mlxcel-integrations[embedded]'"),
        ("serve", "'mlxcel-integrations[embedded]'"),
        ("doctor", "Not ready to chat: see the problems above."),
        ("models", "There is no mlxcel on this machine"),
    ],
)
def test_a_command_without_any_extra_says_what_it_needs(
    arguments: str, message: str, command_line: CommandLine
) -> None:
    done = run_without(EVERYTHING, command_line, *arguments.split())

    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def run_without(
    modules: tuple[str, ...], command_line: CommandLine, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that cannot import these modules."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({modules!r}));"
        "from mlxcel_integrations.cli import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=command_line.environ,
    )
