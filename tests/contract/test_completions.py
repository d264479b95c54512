"""Text completions: OpenAI's route, and the native ones of llama.cpp."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.server import Reply

from .servers import COMPLETIONS, Json, Server, data_lines, error, is_text

SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}


def prompt(text: Any = "Hi", **fields: Any) -> Json:
    return {"model": "any", "prompt": text, "max_tokens": 2, **fields}


@pytest.mark.parametrize(
    ("body", "old", "newest", "llama_cpp"),
    [
        (prompt(""), 200, 200, 200),
        (prompt(" \n\t"), 400, 400, 200),
        # llama.cpp takes lists, and tokens instead of texts.
        (prompt(["a", "b"]), 422, 422, 200),
        (prompt([1, 2]), 422, 422, 200),
        ({"model": "any"}, 422, 422, 400),
        ({"prompt": "a", "max_tokens": 1}, 422, 422, 200),
        (prompt(stop="x"), 422, 200, 200),
        (prompt(seed=-1), 422, 200, 200),
        (prompt(logprobs=5), 200, 200, 200),
        (prompt(logprobs=6), 400, 400, 200),
        (prompt(logprobs=True), 422, 422, 200),
        (prompt(xtc_threshold=1), 400, 400, 200),
        (prompt(typical_p=2), 200, 400, 200),
        (prompt(thinking_budget=-2), 400, 400, 200),
        (prompt(response_format={"type": "json_object"}), 400, 400, 200),
        (prompt(max_tokens=1, max_completion_tokens=1), 200, 422, 200),
        (prompt(n=2, tools=[], best_of=2, suffix="x", echo=True), 200, 200, 200),
    ],
    ids=repr,
)
def test_what_is_taken_and_what_refused(
    server: Server, body: Json, old: int, newest: int, llama_cpp: int
) -> None:
    """A prompt is one text, which may be empty but not blank."""
    response = server.post(COMPLETIONS, body)

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == response.status_code
    assert (response.status_code == 422) == is_text(response)


def test_the_form_of_an_answer(server: Server) -> None:
    """One choice with a text; v0.4.2 does not tell what came from the cache."""
    answer = server.ok(COMPLETIONS, prompt())

    # llama.cpp names all of them alike.
    assert answer["id"].startswith(
        server.choose(old="cmpl-", newest="cmpl-", llama_cpp="chatcmpl-")
    )
    assert "text_completion" == answer["object"]
    (choice,) = answer["choices"]
    assert {"index", "text", "finish_reason", "logprobs"} == choice.keys()
    details = "prompt_tokens_details" in answer["usage"]
    assert server.choose(old=False, newest=True, llama_cpp=True) == details


def test_a_prompt_is_the_whole_prompt(server: Server) -> None:
    """There is no chat template around it, but the beginning of the model's texts."""
    text = "one two three"

    made = server.ok("/tokenize", {"content": text, "add_special": True})["tokens"]

    assert len(made) == server.ok(COMPLETIONS, prompt(text))["usage"]["prompt_tokens"]


def test_a_beginning_is_not_put_before_itself(scripted: Server) -> None:
    """Counting adds one where answering does not."""
    text = "<bos>one two"

    counted = scripted.ok("/tokenize", {"content": text, "add_special": True})["tokens"]

    assert len(counted) - 1 == scripted.ok(COMPLETIONS, prompt(text))["usage"]["prompt_tokens"]


def test_thinking_stays_in_the_text(scripted: Server) -> None:
    """Nothing is read out of a raw text."""
    scripted.fake.script(Reply.text("4", reasoning="2 and 2"))

    (choice,) = scripted.ok(COMPLETIONS, prompt())["choices"]

    assert "<think>2 and 2</think>4" == choice["text"]


def test_logprobs_have_the_older_form(server: Server) -> None:
    """llama.cpp sends those of chats."""
    (choice,) = server.ok(COMPLETIONS, prompt("é é", logprobs=1))["choices"]
    logprobs = choice["logprobs"]

    if server.dialect == "llama.cpp":
        assert {"content"} == logprobs.keys()
        return
    assert {"tokens", "token_logprobs", "text_offset", "top_logprobs"} == logprobs.keys()
    assert choice["text"] == "".join(logprobs["tokens"])
    # Offsets count bytes.
    sizes = [len(token.encode()) for token in logprobs["tokens"]]
    assert [sum(sizes[:index]) for index in range(len(sizes))] == logprobs["text_offset"]
    assert all(1 == len(others) for others in logprobs["top_logprobs"])


def test_zero_logprobs_are_those_of_the_tokens_alone(scripted: Server) -> None:
    """Others are null then."""
    (choice,) = scripted.ok(COMPLETIONS, prompt(logprobs=0))["choices"]

    assert len(choice["logprobs"]["tokens"]) == len(choice["logprobs"]["token_logprobs"])
    assert {None} == set(choice["logprobs"]["top_logprobs"])


@pytest.mark.parametrize("path", ["/completion", "/completions"])
def test_the_route_without_its_version_is_native(server: Server, path: str) -> None:
    """One is native everywhere, the other was OpenAI's in v0.4.2."""
    answer = server.ok(path, prompt(n_predict=2))

    native = server.choose(old=path == "/completion", newest=True, llama_cpp=True)
    assert native == ("content" in answer)
    assert native != ("choices" in answer)
    if native:
        assert {"stop", "model", "tokens_predicted", "tokens_evaluated"} <= answer.keys()
        assert {"generation_settings", "timings"} <= answer.keys()
        assert {"prompt_n", "prompt_ms", "predicted_n"} <= answer["timings"].keys()


@pytest.mark.parametrize(
    ("fields", "old", "newest", "llama_cpp"),
    [
        ({"n_predict": 1, "repeat_penalty": 1.1, "repeat_last_n": 64}, 200, 200, 200),
        ({"n_predict": -1, "stop": ["\n", " "]}, 422, 200, 200),
        ({"stop": "x"}, 422, 200, 200),
        ({"response_format": {"type": "text"}}, 200, 200, 200),
        ({"response_format": SCHEMA}, 400, 400, 200),  # llama.cpp ignores it
    ],
    ids=repr,
)
def test_fields_of_the_native_route_have_the_names_of_llama_cpp(
    server: Server, fields: Json, old: int, newest: int, llama_cpp: int
) -> None:
    """They have the names of llama.cpp."""
    response = server.post("/completion", {"prompt": "Hi", "n_predict": 1, **fields})

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == response.status_code


@pytest.mark.parametrize(("limit", "why"), [(2, "limit"), (20, "stop")])
def test_a_native_stream_ends_with_the_reason(scripted: Server, limit: int, why: str) -> None:
    """Texts, then an event that says why it ended; v0.4.2 sends no mark of the end."""
    body = {"prompt": "a b c d", "n_predict": limit, "stream": True}
    events = data_lines(scripted.post("/completion", body).text)

    assert scripted.choose(old=False, newest=True) == ("[DONE]" == events[-1])
    events = [event for event in events if event != "[DONE]"]
    assert '{"content":"echo:","stop":false}' == events[0]
    assert f'{{"content":"","stop":true,"stop_type":"{why}"}}' == events[-1]


def test_a_native_stream_hides_its_failure(scripted: Server) -> None:
    """Nothing tells it from an ordinary end, which is why the client streams elsewhere."""
    scripted.fake.script(Reply.text("half", finish="error"))

    lines = data_lines(scripted.post("/completion", {"prompt": "a", "stream": True}).text)

    assert '{"content":"","stop":true,"stop_type":"stop"}' in lines[-2:]


def test_filling_in_needs_a_model_made_for_it(server: Server) -> None:
    """v0.4.2 has no such route; a model that was not trained for it is told."""
    if server.fake:
        server.fake.infill = False
    # Only who names a real model knows whether it was.
    newest = (501,) if server.fake else (501, 200)

    response = server.post("/infill", {"input_prefix": "a", "input_suffix": "b", "n_predict": 1})

    assert response.status_code in server.choose(old=(404,), newest=newest, llama_cpp=(501,))
    if response.status_code == 501:
        assert "not_supported_error" == error(response)["type"]
