"""Keyword arguments of the clients are the fields of the options, and are checked as such."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from pydantic import BaseModel

from mlxcel_integrations import keywords
from mlxcel_integrations.options import fields as option_fields
from mlxcel_integrations.options import names

EVERY_REQUEST = {"bounded", "model", "return_progress", "session", "user"}


@pytest.mark.parametrize(
    ("typed", "fields", "more"),
    [
        (keywords.ServerKeywords, option_fields.ServerOptions, set()),
        (keywords.SamplingKeywords, option_fields.SamplingParams, EVERY_REQUEST),
    ],
)
def test_the_keywords_are_the_options(typed: type, fields: type[BaseModel], more: set[str]) -> None:
    named, known = set(get_type_hints(typed)), set(fields.model_fields) | more

    assert known == named, f"Write the same fields into {typed.__name__} in keywords.py."


def test_every_field_of_a_request_is_known_not_to_be_a_misspelling() -> None:
    named = get_type_hints(keywords.ChatKeywords) | get_type_hints(keywords.CompletionKeywords)

    for name in named:
        names.check_field_name(name)
    assert [] == [name for name in named if names.nearest_sampling_field(name) is not None]


RIGHT_CALLS = (
    'LLM(model="embedded", ctx_size=4096)',
    'LLM(base_url="http://host", api_key="key", timeout=60, verify=False)',
    'LLM(model="embedded", extra_args=["--flag", "value"])',
    'llm.chat("hi", temperature=0, stop="x", extra_body={"new": 1})',
    'llm.generate("hi", suffix="there")',
    'llm.count_message_tokens("hi", tools=[], reasoning_effort="low")',
)
WRONG_CALLS = (
    'LLM(model="embedded", ctx_sise=4096)',
    'LLM(base_url="http://host", timeout="long")',
    'LLM("one", "two")',
    'AsyncLLM("embedded", parallel="2")',
    'llm.generate("hi", temprature=0)',
    'llm.chat("hi", temprature=0)',
    'async_llm.chat("hi", max_tokens="many")',
)


def test_type_checkers_know_the_keywords(tmp_path: Path) -> None:
    before = ["from mlxcel_integrations import LLM, AsyncLLM", "llm, async_llm = LLM(), AsyncLLM()"]
    program = tmp_path / "program.py"
    program.write_text("\n".join([*before, *RIGHT_CALLS, *WRONG_CALLS]))

    # With the settings of the project, whose cache is then of use.
    command, project = [sys.executable, "-m", "mypy", str(program)], Path(__file__).parents[1]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    found = {int(line) for line in re.findall(r":(\d+): error:", done.stdout)}
    first = len(before) + len(RIGHT_CALLS) + 1
    assert {*range(first, first + len(WRONG_CALLS))} == found, done.stdout + done.stderr
