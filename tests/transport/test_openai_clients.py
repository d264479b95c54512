"""Clients of ``openai`` on our connections: which proxies and certificates they use."""

from __future__ import annotations

import openai
import pytest

from mlxcel_integrations.transport.openai_clients import _http_options
from tests.transport.script import connection

USUAL = {"timeout", "follow_redirects"}


@pytest.mark.parametrize(
    ("base_url", "more"),
    [
        ("http://localhost:1", {"trust_env", "transport"}),
        ("http://models.example.org", set()),
        ("https://models.example.org", {"verify"}),
    ],
)
def test_only_a_server_elsewhere_is_reached_by_proxies_and_only_tls_needs_certificates(
    base_url: str, more: set[str]
) -> None:
    options = _http_options(connection(base_url=base_url), "HTTPTransport")

    assert USUAL | more == options.keys()
    assert openai.DefaultHttpxClient(**options).trust_env is ("transport" not in more)
