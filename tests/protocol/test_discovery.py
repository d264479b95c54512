"""What a server tells about itself, and the model that is taken."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.discovery import (
    ServedModel,
    choose_capable,
    choose_model,
    read_models,
    reported,
    same_model,
    slots_listed,
    slots_of_owner,
    slots_to_respect,
)
from mlxcel_integrations.protocol.failures import Failure


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], "ok", 7, {}, {"data": None}, {"data": ["m"]}),
        *({"data": [{"name": "m"}]}, {"data": [{"id": 7}]}),
    ],
)
def test_what_is_no_list_of_models_is_told(answer: Any) -> None:
    with pytest.raises(MlxcelError) as caught:
        read_models(answer)

    assert (
        "The server's /v1/models did not return a list of models. Check that the address is that "
        "of an mlxcel server."
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ([ServedModel("a"), ServedModel("b")], "a"),
        ([ServedModel("v", ("embedding",)), ServedModel("a", ("completion",))], "a"),
        ([ServedModel("v", ("embedding", "completion"))], "v"),
        ([ServedModel("r", ("rerank",)), ServedModel("a")], "a"),
    ],
)
def test_the_first_model_that_generates_is_used(served: list[ServedModel], expected: str) -> None:
    assert expected == choose_model(served, "here")


@pytest.mark.parametrize(
    ("served", "named"),
    [
        ([], "none"),
        ([ServedModel("v", ("embedding",))], "v"),
        ([ServedModel("v", ("embedding",)), ServedModel("r", ("rerank",))], "v, r"),
    ],
)
def test_no_model_to_use_is_told_with_the_way_out(served: list[ServedModel], named: str) -> None:
    with pytest.raises(MlxcelError) as caught:
        choose_model(served, "http://here")

    assert (
        f"http://here serves no chat model (it serves: {named}). Start it with one, "
        "or choose one with served_model=."
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("models", "preferred", "expected"),
    [
        ([("chat", ["completion"]), ("e", ["embedding"])], None, "e"),
        ([("chat", ["completion"]), ("e", ["embedding"])], "chat", "e"),
        ([("e", ["embedding"]), ("f", ["completion", "embedding"])], "f", "f"),
        ([("silent", []), ("e", ["embedding"])], "silent", "e"),
        ([("silent", []), ("other", [])], "other", "other"),
        ([("chat", ["completion"])], "chat", None),
        ([], None, None),
    ],
)
def test_the_preferred_model_is_taken_if_it_is_able(
    models: list[tuple[str, list[str]]], preferred: str | None, expected: str | None
) -> None:
    served = [ServedModel(name, tuple(able)) for name, able in models]

    assert expected == choose_capable(served, "embedding", preferred)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("qwen3", "qwen3", True),
        ("org/sub/Qwen3-4B", "qwen3-4b", True),
        ("/models/Qwen3.GGUF", "qwen3", True),
        ("org/qwen3/", "other/qwen3", True),
        ("qwen3", "qwen3-4b", False),
        ("gguf", "model.gguf", False),
        ("qwen3.gguf.part", "qwen3", False),
    ],
)
def test_names_with_or_without_folder_and_ending_may_stand_for_one_model(
    first: str, second: str, expected: bool
) -> None:
    assert expected == same_model(first, second) == same_model(second, first)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": "ok"}, {"status": "ok"}),
        (Failure("InternalServerError", "busy", 503, {"status": "loading"}), {"status": "loading"}),
        (Failure("InternalServerError", "busy", 503, "busy"), {}),
        (Failure("NotFoundError", "none", 404, {"status": "ok"}), {}),
        (None, {}),
    ],
)
def test_a_busy_server_reports_and_another_failure_does_not(answer: Any, expected: Any) -> None:
    assert expected == reported(answer)


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({"tool_call_parser": "hermes", "batch": {"max_batch_size": 3}}, 3),
        *(({"tool_call_parser": None, "batch": batch}, 1) for batch in (None, {}, "3")),
        ({"status": "ok", "batch": {"max_batch_size": 3}}, None),
        ({"status": "loading"}, math.inf),
        ({}, math.inf),
    ],
    ids=str,
)
def test_the_slots_of_a_server_that_breaks_off_answers_are_respected(
    health: dict[str, Any], expected: float | None
) -> None:
    assert expected == slots_to_respect(health)


GONE = Failure("NotFoundError", "gone", 404)
IDLE = {"id": 0, "state": "idle", "is_processing": False}
WAITING = {"id": 2, "state": "queued", "is_processing": False}


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ([IDLE, {**IDLE, "state": "decoding"}, WAITING, WAITING], 2),
        ([WAITING], 1),
        ([{"id": 0, "n_ctx": 4096, "is_processing": True}], None),
        ([{"id": 0, "state": 1}], math.inf),
        ([IDLE, "?"], math.inf),
        *((other, math.inf) for other in ([], {}, None, "ok", GONE)),
    ],
    ids=str,
)
def test_slots_that_are_listed_are_respected_as_well(slots: Any, expected: float | None) -> None:
    assert expected == slots_listed(slots)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"data": [{"id": "m", "owned_by": "user"}]}, 1),
        ({"data": [{"id": "m", "owned_by": "llamacpp"}]}, math.inf),
        ({"data": [{"id": "m", "owned_by": "user"}, {"id": "gpt"}]}, math.inf),
        ({"data": [{"id": "m", "owned_by": ["user"]}, "m"]}, math.inf),
        *((other, math.inf) for other in ({"data": []}, {}, [], None, GONE)),
    ],
    ids=str,
)
def test_a_server_that_is_known_by_its_models_alone_gets_one_request_at_a_time(
    models: Any, expected: float | None
) -> None:
    assert expected == slots_of_owner(models)
