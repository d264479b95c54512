"""Errors of ``openai`` that LangChain's handlers catch, too."""

from __future__ import annotations

import openai
import pytest
from langchain_core import exceptions as lc

from mlxcel_integrations.langchain import ChatMlxcel
from tests.fakes.server import FakeServer, Reply
from tests.langchain.ways import ALL_WAYS, Ask


@pytest.mark.parametrize(
    ("status", "kind", "native", "langchain"),
    [
        (400, "invalid_request_error", openai.BadRequestError, lc.ModelInvalidRequestError),
        (401, "authentication_error", openai.AuthenticationError, lc.ModelAuthenticationError),
        (403, "feature_disabled", openai.PermissionDeniedError, lc.ModelPermissionDeniedError),
        (404, "not_found_error", openai.NotFoundError, lc.ModelNotFoundError),
        (413, "invalid_request_error", openai.APIStatusError, lc.ModelAPIError),
        (422, "", openai.UnprocessableEntityError, lc.ModelInvalidRequestError),
        (429, "", openai.RateLimitError, lc.ModelRateLimitError),
        (500, "server_error", openai.InternalServerError, lc.ModelAPIError),
        (503, "server_busy", openai.InternalServerError, lc.ModelAPIError),
    ],
)
@ALL_WAYS
def test_errors_are_openais_and_langchains(
    server: FakeServer, status: int, kind: str, native: type, langchain: type, ask: Ask
) -> None:
    server.script(Reply.error(status, "the reason", type=kind))
    llm = ChatMlxcel(base_url=server.url, max_retries=0)
    with pytest.raises(native, match="the reason") as caught:
        ask(llm, "x")

    assert isinstance(caught.value, langchain)
    assert status == caught.value.status_code
    assert 1 == len(server.posts)


@ALL_WAYS
def test_a_prompt_that_is_too_long_is_a_context_overflow_with_both_numbers(
    server: FakeServer, llm: ChatMlxcel, ask: Ask
) -> None:
    error = {
        "message": "too long", "type": "exceed_context_size_error", "code": 400,
        "n_prompt_tokens": 5000, "n_ctx": 4096,
    }  # fmt: skip
    server.script(Reply.json({"error": error}, 400))

    with pytest.raises(lc.ContextOverflowError, match=r"5000 tokens .* 4096") as caught:
        ask(llm, "x")

    assert isinstance(caught.value, openai.BadRequestError)
    assert (5000, 4096) == (caught.value.n_prompt_tokens, caught.value.n_ctx)  # type: ignore[attr-defined]  # of our class


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Too many.", "code": "context_length_exceeded"},
        {"message": "litellm.ContextWindowExceededError: it exceeds the available context size"},
        {"message": "This model's maximum context length is 4096 tokens, but you sent 5000."},
        {"message": "prompt is too long: 5000 tokens > 4096 maximum"},
        {"message": "Input tokens exceed the configured limit of 4096 tokens."},
    ],
)
@ALL_WAYS
def test_a_prompt_that_is_too_long_for_a_gateway_is_a_context_overflow(
    server: FakeServer, llm: ChatMlxcel, error: dict[str, str], ask: Ask
) -> None:
    server.script(Reply.json({"error": error}, 400))

    with pytest.raises(lc.ContextOverflowError, match=r"shorten the prompt") as caught:
        ask(llm, "x")

    assert isinstance(caught.value, openai.BadRequestError)
    assert error["message"].rstrip(".") in str(caught.value)


@ALL_WAYS
def test_a_server_that_is_not_there_is_a_connection_error_of_both(ask: Ask) -> None:
    llm = ChatMlxcel(socket="/nowhere/x.sock", served_model="fake-model", max_retries=0)
    with pytest.raises(lc.ModelConnectionError, match="nowhere") as caught:
        ask(llm, "x")

    assert isinstance(caught.value, openai.APIConnectionError)
