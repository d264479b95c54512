"""What a server says about itself, in each of its generations."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.protocol.discovery import ServedModel, read_models
from mlxcel_integrations.protocol.features import ServerFeatures, TrainedContext, read_features


def models(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(entries)}


CHAT = {"id": "chat", "capabilities": ["completion"], "meta": {"n_ctx": 512, "n_ctx_train": 2048}}
VECTORS = {"id": "vectors", "capabilities": ["embedding"]}
SERVED = ServedModel("chat", ("completion",), 512)

SERVERS: dict[str, tuple[Any, Any, Any, ServerFeatures]] = {
    "mlxcel 0.4.2": (
        {
            "status": "ok",
            "batch": {"max_batch_size": 3},
            "context_size": 4096,
            "tool_call_parser": "hermes",
        },
        None,
        models({"id": "m", "object": "model"}),
        ServerFeatures("mlxcel", None, (ServedModel("m"),), 3, 4096, True, frozenset()),
    ),
    "mlxcel 0.4.2 without a tool parser": (
        {"status": "ok", "tool_call_parser": None},
        {"total_slots": 2, "default_generation_settings": {"temperature": 0.8}},
        models({"id": "m"}),
        ServerFeatures("mlxcel", None, (ServedModel("m"),), 2, None, False, frozenset()),
    ),
    "the newest mlxcel": (
        {"status": "ok"},
        {
            "default_generation_settings": {"n_ctx": 1024},
            "total_slots": 4,
            "modalities": {"vision": True, "video": False, "audio": True},
            "chat_template_caps": {"supports_tools": True},
            "build_info": "mlxcel-0.5.0",
            "model_path": "/models/chat.gguf",
        },
        models(VECTORS, CHAT),
        ServerFeatures(
            "mlxcel",
            "mlxcel-0.5.0",
            (ServedModel("vectors", ("embedding",)), SERVED),
            4,
            1024,
            True,
            frozenset({"vision", "audio"}),
            "/models/chat.gguf",
        ),
    ),
    "llama.cpp": (
        {"status": "ok"},
        {
            "total_slots": 1,
            "build_info": "b6000-abc",
            "chat_template_caps": {"supports_tools": False},
        },
        models(CHAT),
        ServerFeatures("llama.cpp", "b6000-abc", (SERVED,), 1, 512, False, frozenset()),
    ),
    "a silent server": (
        None,
        None,
        models({"id": "m"}),
        ServerFeatures(None, None, (ServedModel("m"),), None, None, None, frozenset()),
    ),
    "a server of vectors alone": (
        {"status": "ok"},
        None,
        models(VECTORS),
        ServerFeatures(
            None, None, (ServedModel("vectors", ("embedding",)),), None, None, None, frozenset()
        ),
    ),
    "values of unknown kinds": (
        {"batch": 3, "context_size": "4096"},
        {
            "default_generation_settings": [1024],
            "total_slots": True,
            "modalities": ["vision"],
            "chat_template_caps": {"supports_tools": "yes"},
            "build_info": 5,
            "model_path": ["/models"],
        },
        models({"id": "m", "meta": [], "capabilities": ["completion", 7, None, {"vision": 1}]}),
        ServerFeatures(
            None, None, (ServedModel("m", ("completion",)),), None, None, None, frozenset()
        ),
    ),
    "nulls everywhere": (
        {"batch": None, "context_size": None},
        {"default_generation_settings": None, "modalities": None, "chat_template_caps": None},
        models({"id": "m", "meta": None, "capabilities": None}),
        ServerFeatures(None, None, (ServedModel("m"),), None, None, None, frozenset()),
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_features_are_read_from_what_each_server_tells(name: str) -> None:
    health, props, answer, expected = SERVERS[name]

    assert expected == read_features(health, props, answer)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"n_ctx": 512, "n_ctx_train": 2048}, 512),
        ({"n_ctx": 0, "n_ctx_train": 2048}, 2048),
        ({"n_ctx": 512}, 512),
        ({}, None),
    ],
)
def test_the_window_of_a_model_is_the_served_one_or_else_the_trained_one(
    meta: dict[str, int], expected: int | None
) -> None:
    (model,) = read_models(models({"id": "m", "meta": meta}))

    assert expected == model.context_size


def test_a_file_of_the_model_tells_the_context_that_the_server_does_not() -> None:
    features = read_features({"tool_call_parser": None}, None, models({"id": "m"}))
    told = features.with_context(TrainedContext(4096, "/m/config.json"))

    assert (4096, "/m/config.json") == (told.context_size, told.context_source)
    assert features == features.with_context(None)


@pytest.mark.parametrize(
    ("props", "thinks", "efforts"),
    [
        ({}, None, None),
        ({"chat_template": "{{ messages }}", "chat_template_caps": {}}, None, None),
        ({"chat_template": "{% if enable_thinking %}"}, True, None),
        ({"chat_template": "{{ '<think>' }}"}, True, None),
        ({"chat_template_caps": {"supports_reasoning_effort": True}}, True, True),
        ({"chat_template_caps": {"supports_reasoning_effort": False}}, None, False),
        ({"chat_template_caps": {"supports_preserve_reasoning": True}}, True, None),
        ({"chat_template": 7, "chat_template_caps": {"supports_reasoning_effort": 1}}, None, None),
    ],
)
def test_the_chat_template_tells_whether_the_model_thinks(
    props: dict[str, Any], thinks: bool | None, efforts: bool | None
) -> None:
    features = read_features({"status": "ok"}, props, {"data": [{"id": "m"}]})

    assert (thinks, efforts) == (features.thinks, features.efforts)


@pytest.mark.parametrize(
    ("build", "template", "expected"),
    [
        ("mlxcel-0.5.0", "{{ m.reasoning_content }}", True),
        ("mlxcel-0.5.0", "{{ m.content }}", False),
        ("mlxcel-0.5.0", None, False),
        ("b6000-abc", "{{ m.reasoning_content }}", False),
        (None, "{{ m.reasoning_content }}", False),
    ],
)
def test_only_a_newer_mlxcel_continues_thoughts_that_its_template_shows(
    build: str | None, template: str | None, expected: bool
) -> None:
    props = {"build_info": build, "chat_template": template}

    assert expected == read_features({}, props, {"data": []}).continues
