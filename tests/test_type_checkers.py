"""What type checkers know: keywords, and the types of objects. One run of mypy for all programs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")

PROGRAMS = {
    "keywords": """
from mlxcel_integrations import LLM, AsyncLLM

llm, async_llm = LLM(), AsyncLLM()

LLM(model="embedded", ctx_size=4096)
LLM(base_url="http://host", api_key="key", timeout=60, verify=False)
LLM(model="embedded", extra_args=["--flag", "value"])
llm.chat("hi", temperature=0, stop="x", extra_body={"new": 1})
llm.generate("hi", suffix="there")
llm.count_message_tokens("hi", tools=[], reasoning_effort="low")

LLM(model="embedded", ctx_sise=4096)  # wrong
LLM(base_url="http://host", timeout="long")  # wrong
LLM("one", "two")  # wrong
AsyncLLM("embedded", parallel="2")  # wrong
llm.generate("hi", temprature=0)  # wrong
llm.chat("hi", temprature=0)  # wrong
async_llm.chat("hi", max_tokens="many")  # wrong
""",
    "options": """
from pathlib import Path
from typing import assert_type
from pydantic import SecretStr
from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings, MlxcelLLM
from mlxcel_integrations.llama_index import Mlxcel, MlxcelEmbedding

ChatMlxcel(model=Path("m.gguf"), api_key="key", client_cert=Path("c.pem"), verify=Path("ca.pem"))
MlxcelLLM(socket=Path("a.sock"), api_key=SecretStr("key"), default_headers={"x-team": "blue"})
MlxcelEmbeddings(model=Path("m.gguf"), api_key="key")
Mlxcel(model=Path("m.gguf"), api_key="key", verify=False)
MlxcelEmbedding(model="m.gguf", api_key="key")
llm = ChatMlxcel(temperature=0.5, verbose=True)
assert_type(llm.model, str | None)
assert_type(llm.api_key, SecretStr | None)

ChatMlxcel(model=3)  # wrong
ChatMlxcel(api_key=b"key")  # wrong
Mlxcel(verify="yes", socket=1)  # wrong
ChatMlxcel(modell="m")  # wrong
""",
    "langchain": """
from typing import Any, TypedDict, assert_type
from pydantic import BaseModel
from mlxcel_integrations.langchain import ChatMlxcel

class City(BaseModel):
    name: str

class Row(TypedDict):
    name: str

def ask(llm: ChatMlxcel, json_schema: dict[str, Any], raw: bool) -> None:
    assert_type(llm.with_structured_output(City).invoke("x"), City)
    assert_type(llm.with_structured_output(Row, method="json_mode").invoke("x"), Row)
    assert_type(llm.with_structured_output(list[City], seed=1).batch(["x"]), list[list[City]])
    assert_type(llm.with_structured_output(json_schema).invoke("x"), Any)
    assert_type(llm.with_structured_output(City, include_raw=True).invoke("x"), dict[str, Any])
    assert_type(llm.with_structured_output(City, include_raw=raw).invoke("x"), Any)
    llm.with_structured_output(City, method="xml")  # wrong
""",
    "llama_index": """
from typing import assert_type
from llama_index.core import PromptTemplate
from pydantic import BaseModel
from mlxcel_integrations.llama_index import Mlxcel

class City(BaseModel):
    name: str

async def ask(llm: Mlxcel, prompt: PromptTemplate) -> None:
    assert_type(llm.structured_predict(City, prompt), City)
    assert_type(await llm.astructured_predict(City, prompt, {"seed": 1}, topic="x"), City)
    llm.structured_predict(City)  # wrong
""",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of all programs."""
    folder = tmp_path_factory.mktemp("programs")
    for name, program in PROGRAMS.items():
        (folder / f"{name}_program.py").write_text(program)
    # With the settings of the project, whose cache is then of use.
    command = [sys.executable, "-m", "mypy", *map(str, sorted(folder.iterdir()))]
    project = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_only_the_lines_that_are_wrong_are_told(name: str, said: str) -> None:
    wrong = {
        number
        for number, line in enumerate(PROGRAMS[name].splitlines(), 1)
        if line.endswith("# wrong")
    }

    found = {int(line) for line in re.findall(rf"{name}_program\.py:(\d+): error:", said)}
    assert wrong == found, said
