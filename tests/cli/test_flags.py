"""Options of Python in messages become what the command line has in their place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mlxcel_integrations
from mlxcel_integrations.cli.flags import _PHRASES, WORDS, in_flags
from mlxcel_integrations.cli.parser import make_parser
from mlxcel_integrations.keywords import ClientKeywords

OPTIONS = ["model", *ClientKeywords.__annotations__]


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("ask", "Pass base_url= for a server.", "Pass --base-url for a server."),
        ("ask", 'or try model="embedded" (x).', "or try --model embedded (x)."),
        ("demo", 'or try model="embedded" (x).', "or try MLXCEL_MODEL=embedded (x)."),
        ("chat", "model='http://h:1' is an address", "--model http://h:1 is an address"),
        ("ask", "model='two words' is one", "--model 'two words' is one"),
        (
            "serve",
            "drop model=, or pass another port=.",
            "drop --model, or pass another --port.",
        ),
        ("serve", "port=5 is one", "--port 5 is one"),
        ("ask", "keep_alive= and embedding_model= need", "--keep and --embedding-model need"),
        ("ask", "socket='/a.sock' is one", "MLXCEL_SOCKET=/a.sock is one"),
        ("ask", "in 600 s (timeout=)", "in 600 s (timeout= in Python)"),
        ("serve", "or use base_url='http://h:1' if", "or use base_url='http://h:1' in Python if"),
        ("ask", "served_model= out; timeout=5", "served_model= in Python out; timeout=5 in Python"),
        ("ask", "It said:\n  | model= is loaded", "It said:\n  | model= is loaded"),
    ],
)
def test_options_become_words_of_the_command(command: str, message: str, expected: str) -> None:
    assert expected == in_flags(message, command)


def test_each_command_has_words() -> None:
    missing = make_parser().commands.keys() - WORDS.keys()

    assert set() == missing, f"Add {missing} to WORDS in cli/flags.py, with its flags or variables."


@pytest.mark.parametrize("command", WORDS)
def test_the_words_of_a_command_are_its_flags(command: str) -> None:
    known = make_parser().commands[command].format_help()
    flags = [word for word in WORDS[command].values() if word.startswith("-")]
    of_python = [name for name in OPTIONS if f"--{name.replace('_', '-')} " in known]

    assert [] == [flag for flag in flags if f"{flag} " not in known]
    missing = [name for name in of_python if not WORDS[command].get(name, "").startswith("-")]
    assert [] == missing, f"Add their flags to WORDS[{command!r}] in cli/flags.py."


@pytest.mark.parametrize("phrase", _PHRASES)
def test_each_phrase_is_one_of_the_package(phrase: str) -> None:
    files = Path(mlxcel_integrations.__file__).parent.rglob("*.py")
    trees = [ast.parse(file.read_text()) for file in files if file.name != "flags.py"]
    nodes = [node for tree in trees for node in ast.walk(tree)]

    assert any(phrase in str(node.value) for node in nodes if isinstance(node, ast.Constant))
