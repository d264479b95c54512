"""Hints for options of other packages."""

from __future__ import annotations

import pytest

from mlxcel_integrations.options.fields import (
    ChatOptions,
    ConnectionOptions,
    EmbeddingOptions,
    RerankOptions,
    SamplingParams,
    ServerOptions,
)
from mlxcel_integrations.options.foreign_options import (
    FOREIGN_OPTIONS,
    foreign_hint,
    is_harmless,
    named_options,
    seconds_of,
)

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
        ("is_chat_model", "Leave it out: chat() uses the chat template, and complete() does not."),
        ("temperature", None),
        ("colour", None),
    ],
)
def test_an_option_of_another_package_has_a_hint(name: str, hint: str | None) -> None:
    assert hint == foreign_hint(name)


def test_no_option_of_ours_has_a_hint() -> None:
    assert set() == OPTIONS & FOREIGN_OPTIONS.keys()


@pytest.mark.parametrize("hint", sorted(set(FOREIGN_OPTIONS.values())))
def test_hints_name_options_that_exist(hint: str) -> None:
    assert set(named_options(hint)) <= OPTIONS | {"batch_size", "show_progress"}


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("24h", 86400.0),
        ("1.5s", 1.5),
        ("300ms", 0.3),
        ("5", None),
        ("", None),
        ("soon", None),
        ("1.2.3s", None),
        ("5 m", None),
    ],
)
def test_a_duration_in_words_has_seconds(duration: str, seconds: float | None) -> None:
    assert seconds == seconds_of(duration)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("num_predict", False),
        ("streaming", False),
        ("n_gpu_layers", False),
        ("ignore_eos", True),
        ("store", True),
        ("colour", True),
    ],
)
def test_fields_that_a_request_may_have(name: str, expected: bool) -> None:
    assert expected == is_harmless(name)
