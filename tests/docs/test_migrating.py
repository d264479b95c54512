"""Options of other packages: each leads to ours, in errors and on the migration pages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlxcel_integrations import LLM, MlxcelError
from mlxcel_integrations.keywords import ClientKeywords
from mlxcel_integrations.langchain import ChatMlxcel, MlxcelEmbeddings, MlxcelLLM
from mlxcel_integrations.llama_index import Mlxcel, MlxcelEmbedding
from tests import migration
from tests.migration import CLIENTS, LANGCHAIN, LLAMA_INDEX, Origin

OURS: dict[str, Any] = {
    "OpenAI": MlxcelLLM,
    "OllamaLLM": MlxcelLLM,
    "AzureOpenAI": MlxcelLLM,
    "OpenAIEmbeddings": MlxcelEmbeddings,
    "AzureOpenAIEmbeddings": MlxcelEmbeddings,
    "OllamaEmbeddings": MlxcelEmbeddings,
    "OpenAIEmbedding": MlxcelEmbedding,
    "OllamaEmbedding": MlxcelEmbedding,
}
"""Our class for each of theirs; those that are not here are chat models."""


ORIGINS = [*LANGCHAIN, *LLAMA_INDEX, *CLIENTS]
IDS = [f"{origin.module}.{origin.name}" for origin in ORIGINS]

NAMES = {
    LLM: {*ClientKeywords.__annotations__, "model"},
    **{kind: {*kind.model_fields} for kind in {*OURS.values(), ChatMlxcel, Mlxcel}},
}
"""The options of our classes."""


def ours(origin: Origin) -> Any:
    if origin in CLIENTS:
        return LLM
    return OURS.get(origin.name, ChatMlxcel if origin in LANGCHAIN else Mlxcel)


@pytest.mark.parametrize("origin", ORIGINS, ids=IDS)
def test_each_option_of_another_package_is_ours_or_leads_to_ours(origin: Origin) -> None:
    model = ours(origin)
    without = []
    for name in {*origin.options} - NAMES[model]:
        with pytest.raises(MlxcelError) as caught:
            model(model="embedded", **{name: 1})
        # These are what is said of a name that nothing is known of.
        if re.search("To send it|(Its|The) options are|Did you mean", str(caught.value)):
            without.append(name)

    assert [] == without


@pytest.mark.parametrize("origin", ORIGINS, ids=IDS)
def test_the_recorded_options_are_those_of_the_installed_package(origin: Origin) -> None:
    installed = origin.load()
    if installed is None:
        pytest.skip("this package is not installed")

    assert set() == migration.installed_options(installed) - set(origin.options), (
        "add these to migration.py"
    )


@pytest.mark.parametrize(
    ("model", "option", "hint"),
    [
        (ChatMlxcel, "num_predict", "Here, use max_tokens=, and leave it out instead of -1 or -2."),
        (LLM, "reasoning_effort", "Here, use reasoning=. Pass it with each request."),
        (LLM, "reasoning", "Pass it with each request."),
        (LLM, "maxTokens", "Here, use max_tokens=. Pass it with each request."),
        (LLM, "contextLength", "Here, use ctx_size=, which is set for a server that is"),
        (LLM, "dimensions", "Pass it with each request."),
        (ChatMlxcel, "maxTokens", "Here, use max_tokens=."),
        (ChatMlxcel, "minPSampling", "Here, use min_p=."),
        (ChatMlxcel, "offloadKVCacheToGpu", "Pass it to the program that runs the model, in"),
        (ChatMlxcel, "dimensions", "Leave it out: it is an option of embedding models only."),
        (ChatMlxcel, "instruction", "Leave it out: it is an option of embedding models and rerank"),
        (MlxcelEmbeddings, "maxTokens", "Leave it out: it is an option of models of text only."),
        (MlxcelLLM, "reasoning_effort", "Leave it out: it is an option of chat models only."),
        (MlxcelEmbeddings, "top_k", "Leave it out: it is an option of models of text only."),
        (MlxcelEmbeddings, "num_ctx", "Here, use ctx_size=, which is set for a server that is"),
        (Mlxcel, "streaming", "Call the methods that stream, for an answer in pieces."),
    ],
)
def test_a_hint_names_only_what_the_class_has(model: Any, option: str, hint: str) -> None:
    with pytest.raises(MlxcelError) as caught:
        model(base_url="http://127.0.0.1:9", **{option: 1})

    assert f". {hint}" in str(caught.value)


@pytest.mark.parametrize(
    "model", [ChatMlxcel, MlxcelLLM, MlxcelEmbeddings, Mlxcel, MlxcelEmbedding]
)
@pytest.mark.parametrize(
    ("given", "option"),
    [
        ("qwen", "model='qwen'"),
        ("http://host:8080", "base_url='http://host:8080'"),
        (5, "model='embedded'"),
    ],
)
def test_a_positional_model_is_an_error_that_names_the_option(
    model: Any, given: object, option: str
) -> None:
    with pytest.raises(
        MlxcelError, match=f"^{model.__name__} takes its options by name, such as {option}"
    ):
        model(given)


@pytest.mark.parametrize("model", [LLM, ChatMlxcel, Mlxcel, MlxcelEmbeddings])
def test_a_duration_is_an_error_that_says_the_seconds(model: Any) -> None:
    with pytest.raises(MlxcelError, match=r"keep_alive='5m' must be in seconds: keep_alive=300\.$"):
        model(model="embedded", keep_alive="5m")


@pytest.mark.parametrize("page", migration.PAGES)
def test_the_tables_of_a_page_are_those_of_today(page: str) -> None:
    text = (migration.DOCS / page).read_text()

    assert migration.with_tables(text, migration.PAGES[page]) == text, f"run `{migration.COMMAND}`"


@pytest.mark.parametrize("name", migration._SAME_NAME)
def test_notes_are_of_options_that_keep_their_name(name: str) -> None:
    assert name in {*ChatMlxcel.model_fields, *Mlxcel.model_fields}
