from __future__ import annotations

import pytest

from mlxcel_integrations import LLM
from mlxcel_integrations.cli.ask.prompt import INSTRUCTION, prompt_style
from mlxcel_integrations.embedded import BUILT_IN_MODEL
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel


def test_the_built_in_model_is_given_less_and_stopped_sooner() -> None:
    small, usual = prompt_style(BUILT_IN_MODEL), prompt_style("mlx-community/Qwen3-4B-4bit")

    assert small.sources < usual.sources
    assert small.options["max_tokens"] < usual.options["max_tokens"]


@pytest.mark.parametrize("model", [BUILT_IN_MODEL, "another"])
def test_the_options_are_fields_of_both_frameworks(model: str) -> None:
    names = prompt_style(model).options.keys()

    assert names <= ChatMlxcel.model_fields.keys()
    assert names <= Mlxcel.model_fields.keys()


@pytest.mark.engine
def test_the_built_in_model_answers_in_one_line_that_is_not_blank() -> None:
    """Without these options, the first answer is blank, and the second one repeats its line."""
    asked = {
        "Who informs the neighbours?": "Task: Order the scaffold; Owner: Helen Marsh; Until: 20 "
        "April\n\nTask: Inform the neighbours; Owner: Dev Patel; Until: 5 May",
        "How much notice must be given to end the lease?": "The tenant must not keep dogs.\n"
        "The rent is due on the third day of each month.\n"
        "Either party may end the lease with a notice of two months in writing.",
    }
    options = prompt_style(BUILT_IN_MODEL).options
    with LLM(model=BUILT_IN_MODEL) as llm:
        for question, text in asked.items():
            instruction = {"role": "system", "content": f"{INSTRUCTION}\n\n{text}"}
            answer = llm.chat([instruction, {"role": "user", "content": question}], **options)

            assert [answer.strip()] == answer.splitlines()
