"""A balancer and three servers, each on a host of its own, while one of them is lost.

What was in flight there fails with a clear error and its partial text; everything else succeeds.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from mlxcel_integrations import AsyncLLM, MlxcelStreamError
from tests.scaling.balancers import Balancer, Haproxy, Nginx
from tests.scaling.hosts import PORT, Host, Network

pytestmark = [pytest.mark.balancer, pytest.mark.namespaces]
LONG = " ".join(f"w{at}" for at in range(30))
TOKEN_SECONDS = 0.05

Lost = MlxcelStreamError | openai.APIError


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    """The host of the balancer, and those of three servers."""
    with Network(4) as network:
        yield network.hosts


@pytest.fixture
def machines(hosts: list[Host]) -> Iterator[list[Host]]:
    """Three servers that run."""
    with ExitStack() as stack:
        for host in hosts[1:]:
            stack.callback(host.stop)
            host.serve(TOKEN_SECONDS)
        yield hosts[1:]


@pytest.fixture
def balance(hosts: list[Host], folder: Path) -> Iterator[Callable[[type[Balancer]], Any]]:
    with ExitStack() as stack:

        def start(kind: type[Balancer]) -> Balancer:
            changes = {"inter 2s": "inter 300ms"} if kind is Haproxy else {}
            servers = [f"{host.address}:{PORT}" for host in hosts[1:]]
            balancer = kind(
                folder,
                servers,
                host=hosts[0].address,
                inside=hosts[0].inside,
                slots=100,
                changes=changes,
            )
            return stack.enter_context(balancer)

        yield start


async def outcome(llm: AsyncLLM, text: str, **options: Any) -> str | Lost:
    try:
        return await llm.chat(text, model="m", **options)
    except (MlxcelStreamError, openai.APIError) as error:
        return error


@dataclass
class Client:
    """What one client asked, and what came of it.

    Attributes:
        first: The answer that was under way when harm was done, or the error.
        second: What came of the request that was sent right after that.
        seconds: How long that took.
    """

    first: str | Lost
    second: str | Lost
    seconds: float


async def chats(
    llm: AsyncLLM,
    count: int,
    harm: Callable[[], None],
    *,
    begun_before: float = 0.75,
    tries: int = 1,
) -> list[Client]:
    """Hold chats at once, do harm in their middle, and ask again as soon as each has ended.

    Args:
        begun_before: The share of the chats that have their first token before the harm.
        tries: How often to ask again, while the answer is that a server was lost.
    """
    begun = asyncio.Semaphore(0)

    async def ask(session: str) -> str | Lost:
        text = ""
        try:
            async for piece in llm.chat_stream(LONG, model="m", session=session):
                if not text:
                    begun.release()
                text += piece
        except (MlxcelStreamError, openai.APIError) as error:
            return error
        return text

    async def client(session: str) -> Client:
        first = await ask(session)
        started = time.monotonic()
        for _ in range(tries):
            second = await outcome(llm, "hi", session=session)
            if getattr(second, "status_code", None) != 502:
                break
        return Client(first, second, time.monotonic() - started)

    tasks = [asyncio.create_task(client(f"user-{at}")) for at in range(count)]
    for _ in range(int(count * begun_before)):
        await begun.acquire()
    await asyncio.to_thread(harm)
    return await asyncio.gather(*tasks)


def check(clients: list[Client], most: int, server: str) -> None:
    """Check that only first requests were lost, not more than were at one server, and told."""
    assert {"echo: hi"} == {client.second for client in clients}
    answers = {client.first for client in clients}
    lost = [client.first for client in clients if isinstance(client.first, Exception)]
    assert {f"echo: {LONG}"} == answers - set(lost)
    assert 0 < len(lost) <= most
    cut = [error for error in lost if isinstance(error, MlxcelStreamError)]
    assert [] == [error for error in cut if f"the server {server!r}" not in str(error)]
    assert [] == [error for error in cut if not f"echo: {LONG}".startswith(error.partial)]
    assert any(error.partial for error in cut)
    # One whose answer had not begun has no partial text: what stands between says so.
    refused = [error for error in lost if not isinstance(error, MlxcelStreamError)]
    assert {502} >= {getattr(error, "status_code", None) for error in refused}


def test_200_chats_at_once_lose_only_what_a_killed_server_had(
    machines: list[Host], balance: Any
) -> None:
    balancer: Haproxy = balance(Haproxy)
    in_flight = 0

    def harm() -> None:
        nonlocal in_flight
        in_flight = balancer.working()["mac1"]
        machines[0].kill()

    async def run() -> list[Client]:
        async with AsyncLLM(base_url=balancer.url, max_retries=0) as llm:
            return await chats(llm, 200, harm)

    clients = asyncio.run(run())

    assert 200 == len(clients)
    check(clients, in_flight, "mac1")
    # As long as with the others, who ask at the same time, and not a second more.
    others = [client.seconds for client in clients if isinstance(client.first, str)]
    lost = [client.seconds for client in clients if isinstance(client.first, Exception)]
    assert max(lost) < statistics.median(others) + 1.0


HARMS: dict[str, Callable[[Host], None]] = {
    "stopped": lambda host: host.kill(signal.SIGTERM),
    "frozen": lambda host: host.kill(signal.SIGSTOP),
    "cut off": lambda host: host.plug("down"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_haproxy_passes_by_a_server_that_is(
    harm: str, machines: list[Host], balance: Any, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: machines[0].plug("up"))
    balancer: Haproxy = balance(Haproxy)

    async def run() -> list[Client]:
        async with AsyncLLM(base_url=balancer.url) as llm:
            return await chats(llm, 24, lambda: HARMS[harm](machines[0]))

    check(asyncio.run(run()), 12, "mac1")


@pytest.mark.parametrize("harm", ["stopped", "cut off"])
def test_nginx_passes_by_a_server_that_is(
    harm: str, machines: list[Host], balance: Any, request: pytest.FixtureRequest
) -> None:
    """It asks nobody for health: a client notices by its own limit that no token comes."""
    request.addfinalizer(lambda: machines[0].plug("up"))
    balancer: Nginx = balance(Nginx)

    async def run() -> list[Client]:
        async with AsyncLLM(base_url=balancer.url, token_timeout=1.5) as llm:
            # All: the limit for the first token is another one, and much longer. And what is sent
            # to a server in the moment of its end is lost with it.
            harmed = HARMS[harm]
            return await chats(llm, 24, lambda: harmed(machines[0]), begun_before=1, tries=2)

    check(asyncio.run(run()), 20, f"{machines[0].address}:{PORT}")


def test_a_slow_server_gets_less(hosts: list[Host], machines: list[Host], balance: Any) -> None:
    machines[0].stop()
    machines[0].serve(TOKEN_SECONDS * 6)
    balancer: Haproxy = balance(Haproxy)

    async def run() -> list[list[str]]:
        async with AsyncLLM(base_url=balancer.url) as llm:

            async def client(at: int) -> list[str]:
                return [
                    await llm.chat("a b", model="m", session=f"user-{at}-{turn}")
                    for turn in range(3)
                ]

            return await asyncio.gather(*[client(at) for at in range(12)])

    answers = asyncio.run(run())
    slow, *others = balancer.served().values()

    assert [["echo: a b"] * 3] * 12 == answers
    assert 36 == slow + sum(others)
    assert slow < min(others)


def test_a_rolling_restart_loses_nothing(machines: list[Host], balance: Any) -> None:
    """As the documentation tells to do it: drain, wait, restart, and on to the next one."""
    balancer: Haproxy = balance(Haproxy)
    over = asyncio.Event()

    def restart(at: int) -> None:
        balancer.tell(f"set server slots/mac{at} state drain")
        balancer.tell(f"clear table slots data.server_id eq {at}")
        while balancer.working()[f"mac{at}"]:
            time.sleep(0.02)
        machines[at - 1].kill(signal.SIGTERM)
        machines[at - 1].stop()
        machines[at - 1].serve(TOKEN_SECONDS)
        balancer.tell(f"set server slots/mac{at} state ready")
        while balancer.states()[at - 1] != "UP":
            time.sleep(0.02)

    async def client(llm: AsyncLLM, name: str) -> list[str | Lost]:
        answers = []
        while not over.is_set():
            answers.append(await outcome(llm, "a b c d", session=name))
        return answers

    async def run() -> list[str | Lost]:
        async with AsyncLLM(base_url=balancer.url, max_retries=0) as llm:
            tasks = [asyncio.create_task(client(llm, f"user-{at}")) for at in range(12)]
            for at in (1, 2, 3):
                await asyncio.to_thread(restart, at)
            over.set()
            return [answer for answers in await asyncio.gather(*tasks) for answer in answers]

    answers = asyncio.run(run())

    assert {"echo: a b c d"} == set(answers)
    assert len(answers) > 12
