"""Fields of a chat request: which values are taken, which refused, and what they do."""

from __future__ import annotations

from typing import Any

import pytest

from .servers import CHAT, N_PREDICT, Json, Server, ask, error, is_text

# Fields; the status of v0.4.2, of newest, of llama.cpp. A wrong type is 422, a wrong value 400.
SAMPLING: list[tuple[Json, int, int, int]] = [
    ({"max_tokens": -1}, 422, 422, 200),  # llama.cpp: no limit
    ({"max_tokens": "4"}, 422, 422, 400),
    ({"n_predict": "4"}, 200, 422, 400),  # v0.4.2 ignores the name
    ({"max_completion_tokens": "4"}, 200, 422, 400),
    ({"max_tokens": 1, "max_completion_tokens": 1}, 200, 422, 200),  # two names of one field
    ({"temperature": 9, "top_p": 5, "min_p": -1}, 200, 200, 200),  # nobody checks the ranges
    ({"temperature": "hot"}, 422, 422, 400),
    ({"top_p": "x"}, 422, 422, 400),
    ({"min_p": "x"}, 422, 422, 400),
    ({"top_k": 40}, 200, 200, 200),
    ({"top_k": -1}, 422, 422, 200),  # llama.cpp: all of them
    ({"repetition_penalty": "x"}, 422, 422, 200),  # llama.cpp knows only the other name
    ({"repeat_penalty": "x"}, 200, 422, 400),
    ({"repetition_penalty": 1.1, "repeat_penalty": 1.1}, 200, 422, 200),
    ({"repetition_context_size": -1}, 422, 422, 200),
    ({"repeat_last_n": "x"}, 200, 422, 400),
    ({"repetition_context_size": 64, "repeat_last_n": 64}, 200, 422, 200),
    ({"frequency_penalty": 0.5, "presence_penalty": 0.5}, 200, 200, 200),
    ({"frequency_penalty": "x"}, 422, 422, 400),
    ({"presence_penalty": "x"}, 422, 422, 400),
    ({"logit_bias": {"1": 2.0}}, 200, 200, 200),
    ({"logit_bias": {"1": "x"}}, 422, 422, 200),
    ({"stop": "x"}, 422, 200, 200),
    ({"stop": ["x", "y"]}, 200, 200, 200),
    ({"stop": [str(number) for number in range(20)]}, 200, 200, 200),  # as many as one likes
    ({"stop": 5}, 422, 422, 200),  # llama.cpp ignores it
    ({"seed": -1}, 422, 200, 200),
    ({"seed": 7}, 200, 200, 200),
    ({"seed": 1.5}, 422, 422, 200),
    ({"dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": 2}, 200, 200, 200),
    ({"dry_multiplier": "x"}, 422, 422, 400),
    ({"dry_base": "x"}, 422, 422, 400),
    ({"dry_allowed_length": "x"}, 422, 422, 400),
    ({"dry_penalty_last_n": "x"}, 422, 422, 400),
    ({"dry_sequence_breakers": [1]}, 200, 200, 400),  # ids in mlxcel, texts in llama.cpp
    ({"dry_sequence_breakers": ["\n"]}, 422, 422, 200),
    ({"xtc_probability": 0.5, "xtc_threshold": 0.25}, 200, 200, 200),
    ({"xtc_probability": 1.5}, 400, 400, 200),  # llama.cpp checks no ranges
    ({"xtc_threshold": 0.6}, 400, 400, 200),
    ({"top_n_sigma": 1.0, "typical_p": 0.9}, 200, 200, 200),
    ({"top_n_sigma": -1}, 200, 400, 200),  # v0.4.2 does not know it
    ({"typical_p": 0}, 200, 400, 200),
    ({"max_pattern_size": 20, "min_pattern_size": 1, "min_count": 4}, 200, 200, 200),
    ({"max_pattern_size": -1}, 422, 422, 200),
    ({"min_pattern_size": -1}, 422, 422, 200),
    ({"min_count": "x"}, 422, 422, 200),
]
THINKING: list[tuple[Json, int, int, int]] = [
    ({"thinking_budget_tokens": 0}, 200, 200, 200),
    ({"thinking_budget_tokens": -1}, 200, 200, 200),
    ({"thinking_budget_tokens": -2}, 400, 400, 200),  # llama.cpp knows none of the three names
    ({"thinking_token_budget": -2}, 400, 400, 200),
    ({"thinking_budget": -2}, 400, 400, 200),
    ({"thinking_budget_tokens": 100}, 400, 400, 200),  # more than max_tokens
    ({"thinking_budget_tokens": 1, "thinking_budget": -2}, 200, 200, 200),  # the first wins
    ({"thinking_budget_tokens": "x"}, 422, 422, 200),
    ({"reasoning_budget_tokens": -2}, 200, 400, 400),  # unknown to v0.4.2
    ({"reasoning_effort": "none"}, 200, 200, 200),
    ({"reasoning": True}, 200, 200, 200),
    ({"reasoning": {"effort": "none"}}, 200, 200, 200),
    ({"reasoning_control": True}, 200, 200, 200),
    ({"chat_template_kwargs": {"enable_thinking": False}}, 200, 200, 200),
    ({"chat_template_kwargs": [1]}, 422, 422, 200),
    ({"enable_thinking": False}, 200, 200, 200),  # ignored at the root
    ({"preserve_thinking": False}, 200, 200, 200),
]
OTHERS: list[tuple[Json, int, int, int]] = [
    ({"stream": "yes"}, 422, 422, 400),
    ({"stream_options": {"other": 1}}, 200, 200, 200),
    ({"stream_options": {"include_usage": "yes"}}, 422, 422, 400),
    ({"logprobs": "x"}, 422, 422, 400),
    ({"logprobs": True, "top_logprobs": 20}, 200, 200, 200),
    ({"logprobs": True, "top_logprobs": 21}, 400, 400, 200),
    ({"top_logprobs": 1}, 400, 400, 400),
    ({"prompt_cache_key": "key", "user": "me"}, 200, 200, 200),
    ({"prompt_cache_key": 5}, 422, 422, 200),
    ({"user": 5}, 422, 422, 200),
    ({"cache_prompt": False}, 200, 200, 200),
    ({"cache_prompt": "no"}, 200, 422, 400),  # v0.4.2 does not know it
    ({"parallel_tool_calls": True}, 200, 200, 200),
    ({"parallel_tool_calls": "x"}, 422, 422, 200),
    ({"echo": True}, 200, 200, 200),
    ({"metadata": {}, "store": True, "service_tier": "x", "functions": []}, 200, 200, 200),
    ({"best_of": 2, "suffix": "x"}, 200, 200, 200),
    ({"no_such_field": {"a": [1]}}, 200, 200, 200),
    ({"extra_body": {"no_such_field": 1}}, 200, 200, 200),
]


@pytest.mark.parametrize(
    ("fields", "old", "newest", "llama_cpp"), SAMPLING + THINKING + OTHERS, ids=repr
)
def test_what_is_taken_and_what_refused(
    server: Server, fields: Json, old: int, newest: int, llama_cpp: int
) -> None:
    """Values of a wrong type are refused, ranges hardly checked, unknown fields ignored."""
    few = {} if server.dialect == "llama.cpp" and "max_tokens" in fields else {"max_tokens": 1}

    response = server.post(CHAT, ask(**{**few, **fields}))

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == response.status_code
    if response.status_code == 422:
        assert is_text(response)


@pytest.mark.parametrize("body", [{"model": None}, {"model": ...}, {"model": 5}], ids=repr)
def test_a_model_must_be_named(server: Server, body: Json) -> None:
    """The name is required; llama.cpp does without."""
    fields = {name: value for name, value in (ask() | body).items() if value is not ...}

    response = server.post(CHAT, fields)

    assert server.choose(old=422, newest=422, llama_cpp=200) == response.status_code


def test_any_model_may_be_named(server: Server) -> None:
    """What is asked for is not checked; the answer has the name of the served model."""
    served = server.get("/v1/models").json()["data"][0]["id"]

    assert served == server.ok(CHAT, ask(model="any"))["model"]


def test_max_tokens_limits_the_answer(server: Server) -> None:
    """An answer of as many tokens as allowed ends with `length`."""
    answer = server.ok(CHAT, ask("Count: 1, 2, 3, 4, 5, 6, 7, 8,", max_tokens=3))

    assert 3 == answer["usage"]["completion_tokens"]
    assert "length" == answer["choices"][0]["finish_reason"]


@pytest.mark.parametrize("name", ["max_completion_tokens", "n_predict"])
def test_other_names_of_max_tokens(server: Server, name: str) -> None:
    """v0.4.2 ignores them, and answers up to the server's own limit."""
    body = ask("Count: 1, 2, 3, 4, 5, 6, 7, 8,", **{name: 2})
    del body["max_tokens"]

    made = server.ok(CHAT, body)["usage"]["completion_tokens"]

    assert server.choose(old=False, newest=True, llama_cpp=True) == (made == 2)


def test_the_server_has_a_limit_of_its_own(server: Server) -> None:
    """It holds for requests without one."""
    body = ask("Count to a thousand: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, " + "11, " * N_PREDICT)
    del body["max_tokens"]

    answer = server.ok(CHAT, body)

    assert N_PREDICT >= answer["usage"]["completion_tokens"]


def test_more_tokens_than_the_context_has_are_no_error(scripted: Server) -> None:
    """The limit is lowered in silence."""
    assert "stop" == scripted.chat(max_tokens=10**9)["finish_reason"]


def test_an_answer_ends_before_a_stop_text(server: Server) -> None:
    """The text that stops an answer is not part of it; v0.4.2 takes it and goes on."""
    question = "What is the capital of France?"
    whole = server.text(question, max_tokens=6)
    stop = whole.strip()[2]

    choice = server.chat(question, max_tokens=6, temperature=0, stop=[stop],
                         chat_template_kwargs={"enable_thinking": False})  # fmt: skip

    cut = whole[: whole.index(stop)].rstrip()
    expected = server.choose(old=whole, newest=cut, llama_cpp=cut)
    assert expected == choice["message"]["content"].rstrip()
    assert server.dialect == "v0.4.2" or "stop" == choice["finish_reason"]


def test_there_is_one_answer_whatever_n_is(server: Server) -> None:
    """`n` is ignored; llama.cpp makes as many answers."""
    choices = server.ok(CHAT, ask(n=2, max_tokens=1))["choices"]

    assert server.choose(old=1, newest=1, llama_cpp=2) == len(choices)


@pytest.mark.parametrize("name", ["X-Priority", "X-Conversation-Id"])
def test_headers_of_the_scheduler_are_taken(server: Server, name: str) -> None:
    """The answer is the same."""
    assert 200 == server.post(CHAT, ask(max_tokens=1), **{name: "1"}).status_code


def test_thinking_is_switched_off_in_the_template(server: Server) -> None:
    """There, and not at the root, so that there is nothing but an answer."""
    message = server.chat(chat_template_kwargs={"enable_thinking": False})["message"]

    assert not message.get("reasoning_content")
    assert message["content"]


PREFILL = [{"role": "user", "content": "Say sure."}, {"role": "assistant", "content": "Sure"}]


def test_a_last_turn_of_the_assistant_is_continued(server: Server) -> None:
    """v0.4.2 answers it as any other turn, and cannot show its prompt."""
    response = server.post("/apply-template", {"messages": PREFILL})

    assert server.choose(old=404, newest=200, llama_cpp=200) == response.status_code
    if response.status_code == 200:
        assert response.json()["prompt"].rstrip().endswith("Sure")


def test_what_is_continued_can_be_repeated(scripted: Server) -> None:
    """`echo` puts the given beginning into the answer; v0.4.2 does not know it."""
    texts = [
        scripted.chat(messages=PREFILL, echo=echo)["message"]["content"] for echo in (False, True)
    ]

    assert scripted.choose(old=False, newest=True) == (texts[1] == "Sure" + texts[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"xtc_probability": 2}, "xtc_probability"), ({"top_logprobs": 1}, "logprobs")],
    ids=repr,
)
def test_a_wrong_value_is_named(scripted: Server, fields: Any, message: str) -> None:
    """The error is JSON, of the type `invalid_request_error`, and its code is null."""
    problem = error(scripted.post(CHAT, ask(**fields)))

    assert message in problem["message"]
    assert ("invalid_request_error", None) == (problem["type"], problem["code"])
