"""The balancers of the documentation in front of scripted servers, on this machine.

They stream, keep conversations together, spread batches, check health, drain, bound their queues,
send nothing twice, and their failures are told in words that help.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import trustme

from mlxcel_integrations import LLM, AsyncLLM, MlxcelStreamError
from tests.fakes.server import FakeServer, Reply
from tests.scaling.balancers import Haproxy

pytestmark = pytest.mark.balancer
BOTH = pytest.mark.parametrize("kind", ["haproxy", "nginx"])
WORDS = " ".join(f"w{at}" for at in range(24))

Servers = Callable[[int], list[FakeServer]]


def until(happens: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@BOTH
def test_tokens_come_one_by_one_and_nothing_warns(
    kind: str, servers: Servers, balance: Any
) -> None:
    (server,) = servers(1)
    server.script(Reply.text(WORDS, first_delay=1.2, delay=0.02))
    with LLM(base_url=balance(kind, [server]).url) as llm:
        times = [time.monotonic() for _ in llm.chat_stream("hi")]

    assert 24 == len(times)
    assert times[-1] - times[0] > 0.02 * 12


def test_a_balancer_that_buffers_is_told_once(servers: Servers, balance: Any) -> None:
    (server,) = servers(1)
    words = " ".join(WORDS.split()[:16])
    server.script(*[Reply.text(words, delay=0.08, chunked=False) for _ in range(2)])
    # Both are what nginx does unless it is told otherwise.
    buffering = {"proxy_buffering off": "proxy_buffering on"}
    buffering |= {"proxy_http_version 1.1": "proxy_http_version 1.0"}
    balancer = balance("nginx", [server], changes=buffering)

    with (
        LLM(base_url=balancer.url, served_model="fake-model") as llm,
        pytest.warns(UserWarning, match=r"arrive all at once.*proxy_buffering off") as told,
    ):
        answers = [llm.chat("hi") for _ in range(2)]

    assert [words] * 2 == answers
    assert 1 == len(told)


@BOTH
def test_conversations_stay_with_their_server(kind: str, servers: Servers, balance: Any) -> None:
    """100 conversations of 10 turns over 4 servers; 16 are held at once."""
    behind = servers(4)
    with LLM(base_url=balance(kind, behind).url, max_retries=0) as llm:

        def converse(name: str) -> None:
            for _ in range(10):
                llm.chat("hi", model="m", session=name)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(converse, [f"user-{at}" for at in range(100)]))

    places: dict[str, list[int]] = {}
    for at, server in enumerate(behind):
        for seen in server.posts:
            places.setdefault(seen.headers["x-session-id"], []).append(at)
    stayed = sum(max(Counter(turns).values()) for turns in places.values())
    assert (100, 1000) == (len(places), sum(map(len, places.values())))
    assert stayed >= 990
    assert min(len(server.posts) for server in behind) > 0


@BOTH
def test_a_client_without_sessions_stays_with_a_server_too(
    kind: str, servers: Servers, balance: Any
) -> None:
    behind = servers(4)
    with LLM(base_url=balance(kind, behind).url) as llm:
        for _ in range(12):
            llm.chat("hi", model="m")

    assert [0, 0, 0, 12] == sorted(len(server.posts) for server in behind)


@BOTH
def test_many_requests_at_once_are_spread_over_all(
    kind: str, servers: Servers, balance: Any
) -> None:
    behind = servers(4)
    for server in behind:
        server.token_seconds = 0.05
    balancer = balance(kind, behind)
    with LLM(base_url=balancer.batch_url) as llm, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: llm.chat("hi", model="m"), range(16)))

    assert 16 == sum(len(server.posts) for server in behind)
    assert min(len(server.posts) for server in behind) >= 2


@BOTH
def test_what_has_reached_a_server_is_not_sent_again(
    kind: str, servers: Servers, balance: Any
) -> None:
    behind = servers(3)
    for server in behind:
        server.route("/v1/chat/completions", Reply.close())
    with LLM(base_url=balance(kind, behind).url) as llm:
        error = _error(llm)

    assert "balancer in front of the server could not reach it" in str(error)
    assert 502 == getattr(error, "status_code", None)
    assert 1 == sum(len(server.posts) for server in behind)


@BOTH
def test_another_server_is_asked_when_one_cannot_be_reached(
    kind: str, servers: Servers, balance: Any
) -> None:
    behind = servers(3)
    balancer = balance(kind, behind)
    behind[0].stop()
    with LLM(base_url=balancer.url, max_retries=0) as llm:
        answers = [llm.chat("hi", model="m", session=f"user-{at}") for at in range(12)]

    assert ["echo: hi"] * 12 == answers


@BOTH
def test_no_server_at_all_is_told(kind: str, servers: Servers, balance: Any) -> None:
    behind = servers(2)
    balancer = balance(kind, behind)
    for server in behind:
        server.stop()
    with LLM(base_url=balancer.url, max_retries=0) as llm:
        error = _error(llm)

    assert (503 if kind == "haproxy" else 502) == getattr(error, "status_code", None)
    assert str(error).startswith(balancer.url)
    assert "A proxy or balancer in front of the server" in str(error)
    assert "<" not in str(error)


@BOTH
def test_errors_and_cut_answers_name_the_server(kind: str, servers: Servers, balance: Any) -> None:
    (server,) = servers(1)
    server.script(
        Reply.error(500, "boom", "server_error"), Reply.text(WORDS, delay=0.01, cut_after=2000)
    )
    name = "mac1" if kind == "haproxy" else f"127.0.0.1:{server.port}"
    with LLM(base_url=balance(kind, [server]).url) as llm:
        with pytest.raises(openai.InternalServerError, match=rf"\(server '{name}'\)"):
            llm.chat("hi", model="m")
        with pytest.raises(MlxcelStreamError, match=f"server '{name}'") as told:
            llm.chat("hi", model="m")

    assert told.value.partial.startswith("w0 w1 ")


@BOTH
def test_a_full_queue_is_told(kind: str, servers: Servers, balance: Any) -> None:
    (server,) = servers(1)
    server.route("/v1/chat/completions", Reply.hang())
    changes = {"queue(slots) ge 64": "queue(slots) ge 1", "timeout queue 60s": "timeout queue 2s"}
    if kind == "nginx":
        changes = {"limit_conn models 64": "limit_conn models 2"}
    balancer = balance(kind, [server], slots=1, changes=changes)

    with LLM(base_url=balancer.url, max_retries=0) as llm, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(_error, llm) for _ in range(2)]
        assert until(
            lambda: balancer.queued() == 1 if kind == "haproxy" else len(server.posts) == 2
        )
        refused = _error(llm)
        server.stop()

    assert isinstance(refused, openai.InternalServerError)
    assert 503 == refused.status_code
    assert "busy" in str(refused)
    assert [] == [wait.result() for wait in waiting if wait.result() is None]


def _error(llm: LLM) -> Exception | None:
    try:
        llm.chat("hi", model="m")
    except openai.APIError as error:
        return error
    return None


def test_a_server_that_loads_gets_nothing_from_haproxy(servers: Servers, balance: Any) -> None:
    behind = servers(2)
    behind[0].loading = True
    balancer: Haproxy = balance("haproxy", behind, changes={"inter 2s": "inter 50ms"})

    assert until(lambda: balancer.states() == ["DOWN", "UP"])
    with LLM(base_url=balancer.url, max_retries=0) as llm:
        for at in range(6):
            llm.chat("hi", model="m", session=f"user-{at}")
    assert [0, 6] == [len(server.posts) for server in behind]
    behind[0].loading = False
    assert until(lambda: balancer.states() == ["UP", "UP"])


def test_a_server_is_drained(servers: Servers, balance: Any) -> None:
    """As the documentation tells to do it: what runs goes on, conversations move."""
    behind = servers(2)
    balancer: Haproxy = balance("haproxy", behind)
    with LLM(base_url=balancer.url, max_retries=0) as llm:
        llm.chat("hi", model="m", session="user-7")
        first = next(at for at, server in enumerate(behind) if server.posts)
        behind[first].script(Reply.text(WORDS, delay=0.02))
        answer = llm.chat_stream("hi", model="m", session="user-7")
        begun = next(answer)
        balancer.tell(f"set server slots/mac{first + 1} state drain")
        balancer.tell(f"clear table slots data.server_id eq {first + 1}")
        others = [llm.chat("hi", model="m", session="user-7") for _ in range(3)]
        rest = "".join(answer)

    assert WORDS == begun + rest
    assert ["echo: hi"] * 3 == others
    assert (2, 3) == (len(behind[first].posts), len(behind[1 - first].posts))


# --------------------------------------------------------------------------- TLS


@pytest.fixture
def pem(authority: trustme.CA, folder: Path) -> Path:
    path = folder / "models.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.fixture
def ca(authority: trustme.CA, folder: Path) -> Path:
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@BOTH
def test_tls_ends_at_the_balancer_and_the_key_goes_on(
    kind: str, servers: Servers, balance: Any, pem: Path, ca: Path
) -> None:
    (server,) = servers(1)
    server.api_key = "right"
    balancer = balance(kind, [server], pem=pem)
    options: dict[str, Any] = {"base_url": balancer.url.replace("127.0.0.1", "localhost")}
    options |= {"api_key": "right", "verify": str(ca)}

    async def asked() -> str:
        async with AsyncLLM(**options) as llm:
            return await llm.chat("hi")

    with LLM(**options) as llm:
        assert "echo: hi" == llm.chat("hi") == asyncio.run(asked())
        assert ["fake-model"] == [model.id for model in llm.openai_client.models.list()]
    with LLM(**{**options, "verify": False}) as llm:
        assert "echo: hi" == llm.chat("hi")


def test_a_certificate_that_does_not_match_is_told(
    servers: Servers, balance: Any, pem: Path, ca: Path
) -> None:
    balancer = balance("haproxy", servers(1), pem=pem)
    unknown = {"base_url": balancer.url.replace("127.0.0.1", "localhost")}
    other_name = {"base_url": balancer.url, "verify": str(ca)}
    plain = {"base_url": unknown["base_url"].replace("https", "http")}

    for options, message in [
        (unknown, r"not trusted: .*issuer certificate.* as verify="),
        (
            other_name,
            r"not trusted: .*not valid for '127.0.0.1'.*an address that is in the certificate",
        ),
        (plain, r"Lost the connection to http://localhost"),
    ]:
        started = time.monotonic()
        with LLM(**options) as llm, pytest.raises(openai.APIConnectionError, match=message):  # type: ignore[arg-type]  # of two kinds
            llm.models()
        assert time.monotonic() - started < 5


def test_clients_show_certificates_of_their_own(
    servers: Servers, balance: Any, pem: Path, ca: Path, authority: trustme.CA, folder: Path
) -> None:
    mine = folder / "mine.pem"
    authority.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(mine)
    asked = f"ssl crt {pem} ca-file {ca} verify required"
    changes = {f"ssl crt {pem}": asked}
    balancer = balance("haproxy", servers(1), pem=pem, changes=changes)
    options: dict[str, Any] = {"base_url": balancer.url.replace("127.0.0.1", "localhost")}
    options["verify"] = str(ca)

    with LLM(**options, client_cert=str(mine)) as llm:
        assert "echo: hi" == llm.chat("hi")
    with LLM(**options) as llm, pytest.raises(openai.APIConnectionError):
        llm.models()


def test_a_server_without_tls_is_told(servers: Servers) -> None:
    (server,) = servers(1)
    with LLM(base_url=server.url.replace("http", "https")) as llm:
        error = _error(llm)

    assert "No secure connection to https://" in str(error)
    assert "Use http:// if" in str(error)
