"""Hints for options of other packages."""

from __future__ import annotations

import pytest

from mlxcel_integrations.options import (
    ChatOptions,
    ConnectionOptions,
    EmbeddingOptions,
    RerankOptions,
    SamplingParams,
    ServerOptions,
)
from mlxcel_integrations.protocol import peer_options
from mlxcel_integrations.protocol.peer_options import peer_hint

OPTIONS = {
    name
    for kind in (
        ChatOptions,
        ConnectionOptions,
        EmbeddingOptions,
        RerankOptions,
        SamplingParams,
        ServerOptions,
    )
    for name in kind.model_fields
}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("num_ctx", "Here, use ctx_size=, which is set for a server that is started here."),
        ("openai_api_base", "Here, use base_url=."),
        ("n_gpu_layers", "Pass it to the program that runs the model, in extra_args=."),
        ("is_chat_model", "Leave it out: chat uses the chat template, and complete does not."),
        ("temperature", None),
        ("colour", None),
    ],
)
def test_hints(name: str, hint: str | None) -> None:
    assert hint == peer_hint(name)


def test_no_option_of_ours_has_a_hint() -> None:
    assert set() == OPTIONS & (peer_options._NAMED.keys() | peer_options._OTHERWISE.keys())


@pytest.mark.parametrize("hint", sorted(set(peer_options._NAMED.values())))
def test_hints_name_options_that_exist(hint: str) -> None:
    named = {word.strip(",") for word in hint.split() if word.strip(",").endswith("=")}

    assert {name.rstrip("=") for name in named} <= OPTIONS | {"schema"}
