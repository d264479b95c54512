from __future__ import annotations

import pytest

from mlxcel_integrations.cli.ask.prompt import prompt_style
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
