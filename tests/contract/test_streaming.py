"""Streams: the order of their events, what each holds, how they fail and how they are left."""

from __future__ import annotations

import time

import pytest

from tests.fakes.server import Reply

from .servers import CHAT, COMPLETIONS, Json, Server, ask, data_lines, deltas, error, is_text

USAGE = {"stream_options": {"include_usage": True}}


def test_events_come_in_order(server: Server) -> None:
    """First the role, then the text, then why it ended, then the usage, then the mark."""
    first, *middle, last, usage = server.events(CHAT, ask(**USAGE))

    (choice,) = first["choices"]
    # llama.cpp says as well that there is no text yet.
    role = {"role": "assistant"}
    assert (
        server.choose(old=role, newest=role, llama_cpp={**role, "content": None})
        == (choice["delta"])
    )
    for event in middle:
        (choice,) = event["choices"]
        assert choice["finish_reason"] is None
        assert 1 == len(choice["delta"])
        assert choice["delta"].keys() <= {"content", "reasoning_content"}
    (choice,) = last["choices"]
    assert ({}, True) == (choice["delta"], choice["finish_reason"] in ("stop", "length"))
    assert [] == usage["choices"]
    assert usage["usage"]["completion_tokens"] > 0
    assert not any("usage" in event for event in (first, *middle, last))


def test_usage_is_sent_on_demand_only(server: Server) -> None:
    """Without it, no event has it."""
    assert not any("usage" in event for event in server.events(CHAT, ask()))


def test_events_have_the_same_id_and_model(server: Server) -> None:
    """All have the same id and the same model."""
    events = server.events(CHAT, ask(**USAGE))

    assert {"chat.completion.chunk"} == {event["object"] for event in events}
    assert 1 == len({(event["id"], event["model"]) for event in events})
    assert all(isinstance(event["created"], int) for event in events)
    assert all("system_fingerprint" in event for event in events)
    choices = [choice for event in events for choice in event["choices"]]
    assert {0} == {choice["index"] for choice in choices}
    # llama.cpp leaves out what there is not.
    assert server.dialect == "llama.cpp" or all("logprobs" in choice for choice in choices)


def test_a_stream_is_the_whole_answer_in_parts(server: Server) -> None:
    """Joined, they are the same."""
    question = {"temperature": 0, "chat_template_kwargs": {"enable_thinking": False}}
    body = ask("What is the capital of France?", **question)

    parts = [delta.get("content") or "" for delta in deltas(server.events(CHAT, body))]

    assert server.ok(CHAT, body)["choices"][0]["message"]["content"] == "".join(parts).rstrip()


def test_thinking_comes_before_the_answer(scripted: Server) -> None:
    """One of the two in each event."""
    scripted.fake.script(Reply.text("4 .", reasoning="2 and"))

    keys = [list(delta) for delta in deltas(scripted.events(CHAT, ask()))]

    assert [["role"], *[["reasoning_content"]] * 2, *[["content"]] * 2, []] == keys


def test_thinking_that_is_all_there_is(scripted: Server) -> None:
    """Newest says so in the event that ends the answer."""
    scripted.fake.script(Reply.text("", reasoning="2 and", finish="length"))

    last = scripted.events(CHAT, ask())[-1]["choices"][0]

    assert scripted.choose(old=None, newest=True) == last.get("reasoning_only")
    assert "length" == last["finish_reason"]


def test_a_call_comes_in_two_events_at_the_end(scripted: Server) -> None:
    """First its name, then all of its arguments."""
    calls = [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": "{}"}]
    scripted.fake.script(Reply.text("", tool_calls=calls))

    *events, last = scripted.events(CHAT, ask())
    parts = [delta["tool_calls"][0] for delta in deltas(events)[1:]]

    assert [0, 0, 1, 1] == [part["index"] for part in parts]
    assert ["f", "g"] == [part["function"]["name"] for part in parts[::2]]
    assert {"index", "id", "type", "function"} == parts[0].keys()
    assert {"index": 0, "function": {"arguments": '{"a": 1}'}} == parts[1]
    assert "tool_calls" == last["choices"][0]["finish_reason"]


@pytest.mark.parametrize(("path", "body"), [(CHAT, ask()), (COMPLETIONS, {"prompt": "a"})])
def test_a_failure_is_a_finish_reason(scripted: Server, path: str, body: Json) -> None:
    """The stream ends as others do, but for its usage; what went wrong is only in the log."""
    scripted.fake.script(Reply.text("half", finish="error"))

    events = scripted.events(path, {"model": "any", **body, **USAGE})

    assert "error" == events[-1]["choices"][0]["finish_reason"]
    assert not any("usage" in event or "error" in event for event in events)


def test_an_open_stream_is_kept_awake_by_comments(scripted: Server) -> None:
    """They are lines with nothing but a colon."""
    scripted.fake.ping_every = 0.01
    scripted.fake.script(Reply.text("a b", delay=0.05))

    stream = scripted.post(CHAT, ask(stream=True)).text

    assert "\n\n:\n\n:\n\n" in stream
    assert "[DONE]" == data_lines(stream)[-1]


def test_logprobs_come_with_their_text(server: Server) -> None:
    """Each event has those of its own tokens."""
    events = server.events(CHAT, ask(logprobs=True, top_logprobs=1, max_tokens=3))

    found = [choice["logprobs"] for event in events for choice in event["choices"]
             if choice.get("logprobs")]  # fmt: skip
    assert found
    assert all({"token", "logprob", "bytes", "top_logprobs"} <= entry.keys()
               for logprobs in found for entry in logprobs["content"])  # fmt: skip


def test_events_of_text_completions_have_no_role(server: Server) -> None:
    """There is no role, and the event that ends the answer has no text."""
    body = {"model": "any", "prompt": "one two three", "max_tokens": 2, **USAGE}
    events = server.events(COMPLETIONS, body)
    *middle, last = [event for event in events if event["choices"]]

    assert {"text_completion"} == {event["object"] for event in events}
    keys = {"index", "text", "finish_reason", "logprobs"}
    assert all(keys == event["choices"][0].keys() for event in middle)
    assert ("", "length") == (
        last["choices"][0]["text"],
        last["choices"][0]["finish_reason"],
    )
    # llama.cpp puts the usage of text completions into that event.
    assert server.choose(old=False, newest=False, llama_cpp=True) == ("usage" in last)
    assert 2 == events[-1]["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("fields", "old", "newest", "llama_cpp"),
    [({"temperature": "x"}, 422, 422, 400), ({"top_logprobs": 1}, 400, 400, 400)],
    ids=repr,
)
def test_what_is_refused_is_refused_before_the_stream(
    server: Server, fields: Json, old: int, newest: int, llama_cpp: int
) -> None:
    """It is an ordinary error then."""
    response = server.post(CHAT, ask(stream=True, **fields))

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == response.status_code
    assert (response.status_code == 422) == is_text(response)


def test_a_full_queue_is_told_before_the_stream(scripted: Server) -> None:
    """It is an ordinary error too."""
    scripted.fake.busy = True

    response = scripted.post(CHAT, ask(stream=True))

    assert (503, "server_busy") == (response.status_code, error(response)["type"])


def test_a_client_that_leaves_frees_its_slot(server: Server) -> None:
    """The server stops as soon as it sends again."""
    if server.fake:
        server.fake.script(Reply.text("1, 2", first_delay=60))
    body = ask("Count: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,", stream=True, max_tokens=2000)

    with server.http.stream("POST", CHAT, json=body) as response:
        stream = response.iter_bytes()
        next(stream)
        wait_until_busy(server, True)
        stream.close()

    wait_until_busy(server, False)


def wait_until_busy(server: Server, busy: bool) -> None:
    """Wait until a slot is in use, or none."""
    deadline = time.monotonic() + 10
    while busy != any(slot["is_processing"] for slot in server.get("/slots").json()):
        assert time.monotonic() < deadline, server.get("/slots").text
