"""What a balancer makes of several servers, and what it costs.

The servers take a fixed time for each token, so that they are the limit and not this machine.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mlxcel_integrations.langchain import ChatMlxcel
from tests.scaling.balancers import Balancer, Haproxy, Nginx

pytestmark = pytest.mark.balancer
PROGRAM = Path(__file__).with_name("servers.py")


@pytest.fixture
def ports() -> Iterator[Callable[[int, float], list[str]]]:
    """Starts servers in another process, and returns their addresses."""
    with ExitStack() as stack:

        def start(count: int, token_seconds: float) -> list[str]:
            command = [sys.executable, str(PROGRAM), str(count), str(token_seconds)]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert process.stdout is not None
            return [f"127.0.0.1:{port}" for port in process.stdout.readline().split()]

        yield start


@pytest.fixture
def before(folder: Path) -> Iterator[Callable[..., Balancer]]:
    with ExitStack() as stack:

        def start(kind: type[Balancer], addresses: list[str], slots: int = 1) -> Balancer:
            own = folder / f"{len(addresses)}"
            own.mkdir()
            own.chmod(0o755)
            return stack.enter_context(kind(own, addresses, slots=slots))

        yield start


async def throughput(url: str, servers: int) -> float:
    """Return the answers a second of a batch that keeps each server busy."""
    async with ChatMlxcel(base_url=url, served_model="fake-model") as llm:
        await llm.ainvoke("hi", max_tokens=1)
        started = time.monotonic()
        await llm.abatch(["a b c"] * servers * 3, {"max_concurrency": servers})
        return servers * 3 / (time.monotonic() - started)


@pytest.mark.parametrize("kind", [Haproxy, Nginx])
def test_eight_servers_answer_nearly_eight_times_as_much(
    kind: type[Balancer], ports: Callable[..., list[str]], before: Callable[..., Balancer]
) -> None:
    one, eight = before(kind, ports(1, 0.2)), before(kind, ports(8, 0.2))

    async def ratio() -> float:
        # At the same time: the machine is as busy for the one as for the other.
        few, many = await asyncio.gather(
            throughput(one.batch_url, 1), throughput(eight.batch_url, 8)
        )
        return many / few

    # Once more if something else has kept the machine busy.
    assert any(asyncio.run(ratio()) >= 7.5 for _ in range(2))


@pytest.mark.skipif(sys.platform != "linux", reason="reads processor times from /proc")
@pytest.mark.parametrize("kind", [Haproxy, Nginx])
def test_a_token_costs_the_balancer_less_than_a_fifth_of_the_client(
    kind: type[Balancer], ports: Callable[..., list[str]], before: Callable[..., Balancer]
) -> None:
    balancer = before(kind, ports(4, 0.02), slots=8)
    words = " ".join(f"w{at}" for at in range(60))

    async def tokens(llm: ChatMlxcel) -> int:
        return len([chunk async for chunk in llm.astream(words)])

    async def run() -> tuple[float, float]:
        async with ChatMlxcel(base_url=balancer.batch_url, served_model="fake-model") as llm:
            await llm.ainvoke("hi", max_tokens=1)
            own, its = time.process_time(), balancer.cpu_seconds()
            await asyncio.gather(*[tokens(llm) for _ in range(24)])
            return time.process_time() - own, balancer.cpu_seconds() - its

    client, between = asyncio.run(run())

    assert between < client / 5
