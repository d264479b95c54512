"""Progress of a prompt: what a server reports, and what of it is passed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlxcel_integrations.protocol.answers.chat_streams import ChatStream, ToolStream
from mlxcel_integrations.protocol.answers.delta import Delta
from mlxcel_integrations.protocol.answers.prompt_progress import PromptProgress, progress_of
from mlxcel_integrations.protocol.answers.stream import DeltaStream
from mlxcel_integrations.protocol.completions import CompletionStream
from mlxcel_integrations.protocol.features import read_features
from mlxcel_integrations.protocol.sampling import asking_for_progress, without_progress
from tests.fakes.wire import LLAMA_CPP, dumps, event, progress

TOKEN = event(dumps({"choices": [{"index": 0, "delta": {"content": "Hi"}}]}))


def told(**numbers: Any) -> dict[str, Any]:
    return {"prompt_progress": {"total": 10, "cache": 2, "processed": 4, "time_ms": 5, **numbers}}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (told(), PromptProgress(10, 2, 4, 5.0)),
        (told(processed=0, cache=0), PromptProgress(10, 0, 0, 5.0)),
        (told(processed=10), PromptProgress(10, 2, 10, 5.0)),
        (told(time_ms="soon"), PromptProgress(10, 2, 4, 0.0)),
        (told(cache=99), PromptProgress(10, 10, 4, 5.0)),
        (told(cache=-1, processed=-4), PromptProgress(10, 0, 0, 5.0)),
        (told(processed=11), None),
        (told(total=0), None),
        (told(total=True), None),
        (told(total="10"), None),
        ({"prompt_progress": [1, 2]}, None),
        ({"prompt_progress": None}, None),
        ({}, None),
    ],
)
def test_a_progress_is_read_if_it_is_possible(answer: Any, expected: PromptProgress | None) -> None:
    assert expected == progress_of(answer)


def test_the_share_counts_what_was_cached() -> None:
    assert 0.4 == PromptProgress(total=10, cache=2, processed=4, time_ms=5).share


@pytest.mark.parametrize("kind", [ChatStream, ToolStream, CompletionStream])
def test_progress_that_stands_still_or_goes_backwards_is_not_passed_on(
    kind: Callable[[], DeltaStream],
) -> None:
    stream = kind()
    if kind is CompletionStream:
        frames = [{**progress(n), "choices": [{"text": ""}]} for n in (0, 0, 512, 100, 512, 2000)]
    else:
        frames = [progress(n) for n in (0, 0, 512, 100, 512, 2000)]

    seen = []
    for frame in frames:
        deltas = stream.feed(event(dumps(frame)))
        seen.append([d.prompt_progress.processed for d in deltas if d.prompt_progress])
        assert bool(deltas) != stream.stands_still

    assert [[0], [], [512], [], [], [2000]] == seen
    assert "" == stream.text


def test_tokens_beside_a_progress_are_kept() -> None:
    stream = ChatStream()
    both = {**progress(9), "choices": [{"index": 0, "delta": {"content": "Hi"}}]}

    assert [Delta("Hi", prompt_progress=PromptProgress(2000, 0, 9, 90.0))] == stream.feed(
        event(dumps(both))
    )
    assert [Delta("Hi")] == stream.feed(event(dumps(both)))


def test_a_token_after_a_progress_that_stands_still_is_a_sign_of_life() -> None:
    stream = ChatStream()
    stream.feed(event(dumps(progress(9))))

    assert [Delta("Hi")] == stream.feed(event(dumps(progress(9))) + TOKEN)
    assert not stream.stands_still


@pytest.mark.parametrize(
    ("props", "expected"),
    [
        (LLAMA_CPP, True),
        ({**LLAMA_CPP, "build_info": "b11549-abcdef"}, True),
        ({"build_info": "b6000-abc"}, False),
        ({**LLAMA_CPP, "build_info": "mlxcel-0.5.0"}, False),
        ({"is_sleeping": False}, False),
        (None, False),
    ],
)
def test_only_some_servers_are_known_to_report_progress(props: Any, expected: bool) -> None:
    known = read_features({"status": "ok"}, props, {"data": [{"id": "m"}]})

    assert expected == known.reports_progress


def test_a_function_for_it_asks_for_it() -> None:
    assert {"seed": 1} == asking_for_progress({"seed": 1}, None)
    assert {"seed": 1, "return_progress": True} == asking_for_progress({"seed": 1}, print)
    assert {"return_progress": False} == asking_for_progress({"return_progress": False}, print)


def test_the_field_is_left_out() -> None:
    assert {"seed": 1} == without_progress({"seed": 1, "return_progress": False})
