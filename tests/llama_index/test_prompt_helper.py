"""Prompts that LlamaIndex packs with a model's own ``PromptHelper`` fit into its context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from llama_index.core import get_response_synthesizer
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.schema import NodeWithScore, TextNode

from mlxcel_integrations import MlxcelError
from mlxcel_integrations.llama_index import Mlxcel
from mlxcel_integrations.llama_index.prompt_helper import MessageCounter
from tests.fakes.server import FakeServer
from tests.fakes.text import pieces
from tests.llama_index import measure_queries
from tests.llama_index.conftest import STORY

pytestmark = pytest.mark.usefixtures("no_global_tokenizer")


@pytest.fixture(params=["v0.4.2", "newest"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with FakeServer(request.param, context_size=4096) as running:
        yield running


@pytest.fixture
def llm(server: FakeServer) -> Iterator[Mlxcel]:
    with Mlxcel(base_url=server.url, max_tokens=100) as model:
        yield model


def prompts(server: FakeServer) -> list[Any]:
    return [seen.json["messages"] for seen in server.posts]


def nodes(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text)) for text in texts]


def test_a_prompt_helper_leaves_room_for_the_template(llm: Mlxcel) -> None:
    helper = llm.prompt_helper(chunk_overlap_ratio=0.2)

    chat = [ChatMessage("word", role=role) for role in ("user", "assistant", "user")]
    assert helper.context_window == 4096 - llm.count_message_tokens(chat) + 3
    assert (100, 0.2) == (helper.num_output, helper.chunk_overlap_ratio)
    assert 77 == llm.prompt_helper(context_window=77).context_window


def test_a_prompt_helper_leaves_room_for_a_schema_of_the_model(
    llm: Mlxcel, server: FakeServer
) -> None:
    chat = [ChatMessage("word")]
    with Mlxcel(base_url=server.url, response_format=list[int]) as constrained:
        schema = constrained.count_message_tokens(chat) - llm.count_message_tokens(chat)

        assert 0 < schema
        room = llm.prompt_helper().context_window - schema
        assert room == constrained.prompt_helper().context_window


def test_a_prompt_of_messages_is_counted_with_the_models_tokenizer(llm: Mlxcel) -> None:
    template = ChatPromptTemplate([ChatMessage("{context_str} " + "word " * 50)])
    helper = llm.prompt_helper()

    packed = helper.repack(template, [STORY] * 3, llm=llm)
    assert len(packed) > 1
    room = helper.context_window - helper.num_output
    assert all(room - 80 < 50 + len(pieces(text)) < room for text in packed[:-1])


def test_messages_are_counted_with_their_roles_as_llama_index_does() -> None:
    messages = [ChatMessage("two words", role="system"), ChatMessage(role="user")]

    assert (1 + 2 + 3) + (1 + 3) == MessageCounter(pieces).estimate_tokens_in_messages(messages)


@pytest.mark.parametrize("template", [PromptTemplate, ChatPromptTemplate.from_messages])
def test_a_prompt_without_room_for_texts_is_an_error_with_both_numbers(
    llm: Mlxcel, template: Callable[[Any], Any]
) -> None:
    long = "word " * 5000 + "{context_str}"
    prompt = template(long if template is PromptTemplate else [("user", long)])

    message = r"The prompt has 500\d tokens .* the context has room for 40\d\d\. Shorten"
    with pytest.raises(MlxcelError, match=message):
        llm.prompt_helper().repack(prompt, [STORY], llm=llm)


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "accumulate"])
def test_what_is_retrieved_is_cut_to_the_context(
    llm: Mlxcel, server: FakeServer, mode: Any
) -> None:
    synthesizer = get_response_synthesizer(
        llm=llm, prompt_helper=llm.prompt_helper(), response_mode=mode
    )

    synthesizer.synthesize("Which number?", nodes(*[STORY] * 3))

    assert len(server.posts) > 1
    counts = [llm._llm.count_message_tokens(messages) for messages in prompts(server)]
    assert 3000 < max(counts) <= 4096 - 100


def test_a_query_that_does_not_fit_is_refused_before_it_is_sent(server: FakeServer) -> None:
    """Here LlamaIndex was told of a longer context than there is."""
    with Mlxcel(base_url=server.url) as llm:
        helper = llm.prompt_helper(context_window=20_000)
        synthesizer = get_response_synthesizer(llm=llm, prompt_helper=helper)

        with pytest.raises(openai.BadRequestError, match="4096") as caught:
            synthesizer.synthesize("Which number?", nodes(STORY))
        count = caught.value.body["n_prompt_tokens"]  # type: ignore[index]  # as the server's
        assert 4096 < count
        assert str(count) in str(caught.value)
        assert [] == server.posts


@pytest.mark.engine
def test_random_queries_over_long_texts_fit_into_a_small_context() -> None:
    prompts = measure_queries.measure(queries=4, sent=1, characters=6000)

    assert ([], []) == (prompts.overflows, prompts.wrong)
    assert len(prompts.counts) > 4
    assert prompts.sent
