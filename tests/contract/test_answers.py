"""Whole answers of chats: their form, thinking, logprobs, and generations that fail."""

from __future__ import annotations

from tests.fakes.server import Reply

from .servers import CHAT, Json, Server, ask, error


def test_the_form_of_an_answer(server: Server) -> None:
    """One choice with a message, and a usage that adds up."""
    answer = server.ok(CHAT, ask())

    assert answer["id"].startswith("chatcmpl-")
    assert "chat.completion" == answer["object"]
    assert isinstance(answer["created"], int)
    # llama.cpp tells its build there.
    assert server.choose(old=None, newest=None, llama_cpp=str) in (
        answer["system_fingerprint"],
        type(answer["system_fingerprint"]),
    )
    (choice,) = answer["choices"]
    assert (0, "assistant") == (choice["index"], choice["message"]["role"])
    assert choice["finish_reason"] in ("stop", "length")
    assert choice.get("logprobs") is None
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert "completion_tokens_details" not in usage


def test_what_is_not_there_has_no_key(server: Server) -> None:
    """Neither thinking nor calls are null, and the text is a string."""
    message = server.chat(chat_template_kwargs={"enable_thinking": False})["message"]

    assert isinstance(message["content"], str)
    assert {"role", "content"} == message.keys()


def test_usage_tells_what_came_from_the_cache(server: Server) -> None:
    """The count is there unless the cache is off."""
    assert 0 <= server.ok(CHAT, ask())["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_timings_are_no_part_of_an_ordinary_answer(server: Server) -> None:
    """Only llama.cpp always sends them."""
    answer = server.ok(CHAT, ask())

    assert server.choose(old=False, newest=False, llama_cpp=True) == ("timings" in answer)


def test_thinking_is_apart_from_the_answer(scripted: Server) -> None:
    """It has a key of its own."""
    scripted.fake.script(Reply.text("4", reasoning="2 and 2"))

    message = scripted.chat()["message"]

    assert ("4", "2 and 2") == (message["content"], message["reasoning_content"])


def test_an_answer_that_ends_inside_the_thinking(scripted: Server) -> None:
    """The text is empty and all is thinking; newest says that there is nothing else."""
    scripted.fake.script(Reply.text("", reasoning="2 and", finish="length"))

    choice = scripted.chat()

    assert ("", "2 and") == (choice["message"]["content"], choice["message"]["reasoning_content"])
    assert "length" == choice["finish_reason"]
    assert scripted.choose(old=None, newest=True) == choice.get("reasoning_only")


def test_an_answer_of_exactly_so_many_tokens(scripted: Server) -> None:
    """v0.4.2 calls every answer cut that has as many tokens as allowed."""
    choice = scripted.chat("b c", max_tokens=3)  # "echo: b c"

    assert "echo: b c" == choice["message"]["content"]
    assert scripted.choose(old="length", newest="stop") == choice["finish_reason"]


def test_logprobs_tell_each_token_and_the_nearest_others(server: Server) -> None:
    """Each token has its text, its bytes and its probability, and the nearest others."""
    answer = server.ok(CHAT, ask(logprobs=True, top_logprobs=2, max_tokens=2))
    content = answer["choices"][0]["logprobs"]["content"]

    assert answer["usage"]["completion_tokens"] == len(content)
    for entry in content:
        assert {"token", "logprob", "bytes", "top_logprobs"} <= entry.keys()
        # Half a character has no text of its own.
        assert "\ufffd" in entry["token"] or list(entry["token"].encode()) == entry["bytes"]
        assert 2 == len(entry["top_logprobs"])
        assert {"token", "logprob", "bytes"} <= entry["top_logprobs"][0].keys()


def test_logprobs_are_without_others_unless_a_number_is_asked_for(server: Server) -> None:
    """How many of them is zero unless a number is asked for."""
    content = server.chat(logprobs=True, max_tokens=1)["logprobs"]["content"]

    others: list[Json] = content[0]["top_logprobs"]
    assert server.choose(old=0, newest=0, llama_cpp=20) == len(others)


def test_a_generation_that_fails_is_an_error_of_the_server(scripted: Server) -> None:
    """v0.4.2 says 400, as if the request were wrong; the type tells that it is not."""
    scripted.fake.script(Reply.text("half", finish="error"))

    response = scripted.post(CHAT, ask())

    assert scripted.choose(old=400, newest=500) == response.status_code
    assert "server_error" == error(response)["type"]
