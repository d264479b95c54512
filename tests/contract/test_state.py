"""What a server says about itself: health, models, properties, slots, metrics, cache."""

from __future__ import annotations

import pytest

from . import servers
from .servers import CHAT, N_PREDICT, Server, ask, client, error


def test_a_server_that_is_ready_says_so(server: Server) -> None:
    """v0.4.2 tells how it is doing, which is how it is known."""
    response = server.get("/health")

    assert 200 == response.status_code
    if server.dialect != "v0.4.2":
        assert {"status": "ok"} == response.json()
        return
    health = response.json()
    assert {"status", "model", "batch", "observability"} <= health.keys()
    assert {"active_sequences", "queue_depth", "max_batch_size"} == health["batch"].keys()
    assert isinstance(health["context_size"], int)
    assert health["tool_call_parser"] is None or isinstance(health["tool_call_parser"], str)


@pytest.mark.parametrize(
    ("path", "old", "newest", "llama_cpp"),
    [
        ("/health", 200, 200, 200),
        ("/", 200, 200, 404),  # llama.cpp has a page there, which our engine leaves out
        ("/v1/health", 401, 200, 200),
        ("/v1/models", 401, 401, 401),
        ("/props", 401, 401, 401),
    ],
)
def test_health_needs_no_key(
    server: Server, path: str, old: int, newest: int, llama_cpp: int
) -> None:
    """Everything else does, also what there is not."""
    with client(server.url, key=None) as stranger:
        status = stranger.get(path).status_code

    assert server.choose(old=old, newest=newest, llama_cpp=llama_cpp) == status


def test_a_server_that_loads_says_so(scripted: Server) -> None:
    """503, with a body by which the generations differ."""
    scripted.fake.loading = True

    response = scripted.get("/health")

    assert 503 == response.status_code
    old = {"status": "loading model", "tool_call_parser": None}
    problem = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
    assert scripted.choose(old=old, newest={"error": problem}) == response.json()


def test_a_full_queue_is_no_bad_health(scripted: Server) -> None:
    """v0.4.2 says 503 then, so that the status alone does not tell that it lives."""
    scripted.fake.busy = True

    response = scripted.get("/health")

    assert scripted.choose(old=503, newest=200) == response.status_code
    assert scripted.choose(old="no slot available", newest="ok") == response.json()["status"]


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_the_served_models_are_listed(server: Server, path: str) -> None:
    """Newest tells what each can do, and how long its context is."""
    listed = server.get(path).json()

    assert "list" == listed["object"]
    (model,) = listed["data"]
    assert {"id", "object", "created", "owned_by"} <= model.keys()
    owner = server.choose(old="user", newest="llamacpp", llama_cpp="llamacpp")
    assert ("model", owner) == (model["object"], model["owned_by"])
    if server.dialect == "v0.4.2":
        assert {"id", "object", "created", "owned_by"} == model.keys()
        assert {"object", "data"} == listed.keys()
        return
    assert {"aliases", "tags"} <= model.keys()
    assert {"n_ctx", "n_ctx_train", "n_vocab", "n_embd", "n_params"} <= model["meta"].keys()
    # llama.cpp tells it in the other list only.
    told = server.choose(old=None, newest=model, llama_cpp=listed["models"][0])
    assert "completion" in told["capabilities"]


def test_models_for_vectors_are_further_entries() -> None:
    """They have no `meta`, and may come first, so that their abilities tell them apart."""
    models = [
        {"id": "v", "capabilities": ["embedding"]},
        {"id": "c", "capabilities": ["completion"]},
    ]
    with servers.scripted("newest", models=models) as server:
        first, second = server.get("/v1/models").json()["data"]

    assert (["embedding"], ["completion"]) == (first["capabilities"], second["capabilities"])
    assert "meta" not in first


def test_properties_tell_the_version_and_what_the_server_can_do(server: Server) -> None:
    """v0.4.2 has them on demand and tells little; newest tells its version and its abilities."""
    props = server.get("/props").json()

    assert {"default_generation_settings", "total_slots"} <= props.keys()
    settings = props["default_generation_settings"]
    if server.dialect == "v0.4.2":
        assert {"default_generation_settings", "total_slots"} == props.keys()
        assert N_PREDICT == settings["n_predict"]
        return
    assert {"params", "n_ctx"} <= settings.keys()
    assert {"model_alias", "model_path", "chat_template", "bos_token", "eos_token"} <= props.keys()
    assert {"vision", "audio"} <= props["modalities"].keys()
    assert isinstance(props["chat_template_caps"]["supports_tools"], bool)
    if server.dialect == "newest":
        assert props["build_info"].startswith("mlxcel-")
        assert "generation" in props["capabilities"]


def test_properties_of_a_server_with_an_embedder_tell_the_size_of_its_vectors() -> None:
    """They tell the size of its vectors."""
    with servers.scripted("newest", models=[{"id": "v", "capabilities": ["embedding"]}]) as server:
        embedding = server.get("/props").json()["capabilities"]["embedding"]

    assert {"model", "dim", "pooling", "embd_normalize", "multi_vector"} == embedding.keys()


def test_properties_that_are_off_can_still_be_read_from_newest(scripted: Server) -> None:
    """In v0.4.2 they need a flag, in newest only their change does."""
    scripted.fake.props = False

    assert scripted.choose(old=404, newest=200) == scripted.get("/props").status_code
    assert scripted.choose(old=405, newest=501) == scripted.post("/props", {}).status_code


def test_properties_can_be_changed(server: Server) -> None:
    """v0.4.2 has no way to do it, and our engine is started without."""
    status = server.post("/props", {}).status_code

    assert server.choose(old=405, newest=200, llama_cpp=501) == status


def test_slots_tell_whether_they_work(server: Server) -> None:
    """One entry for each, which tells whether it works."""
    slots = server.get("/slots").json()

    assert list(range(len(slots))) == [slot["id"] for slot in slots]
    assert not any(slot["is_processing"] for slot in slots)
    context = server.choose(old="context_size", newest="n_ctx", llama_cpp="n_ctx")
    assert all(isinstance(slot[context], int) for slot in slots)
    if server.dialect == "v0.4.2":
        assert {"idle"} == {slot["state"] for slot in slots}


def test_slots_that_are_off_are_not_found_or_refused(scripted: Server) -> None:
    """The route is gone in v0.4.2, and refused by newest, with a number as code."""
    scripted.fake.slots_endpoint = False

    response = scripted.get("/slots")

    assert scripted.choose(old=404, newest=501) == response.status_code
    if response.status_code == 501:
        assert ("not_supported_error", 501) == (error(response)["type"], error(response)["code"])


def test_no_slot_is_an_error_on_demand(scripted: Server) -> None:
    """Only newest knows the question."""
    scripted.fake.generating = scripted.fake.total_slots

    status = scripted.get("/slots?fail_on_no_slot=1").status_code

    assert scripted.choose(old=200, newest=503) == status


def test_metrics_are_off(server: Server) -> None:
    """They need a flag; our engine always has them."""
    response = server.get("/metrics")

    assert server.choose(old=404, newest=501, llama_cpp=200) == response.status_code


def test_the_cache_of_prompts_can_be_looked_at_and_emptied(server: Server) -> None:
    """It can be looked at and emptied; llama.cpp has no such route."""
    server.ok(CHAT, ask(max_tokens=1))
    stats, reset = server.get("/v1/cache/stats"), server.http.post("/v1/cache/reset")

    assert [server.choose(old=200, newest=200, llama_cpp=404)] * 2 == [
        stats.status_code,
        reset.status_code,
    ]
    if stats.status_code == 200:
        assert {"enabled", "entries", "bytes", "hits", "lookups", "hit_rate"} <= (
            stats.json().keys()
        )
        assert reset.json()["cleared"]
