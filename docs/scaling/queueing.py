"""How many servers do so many users need? A simulation of the waiting, from what was measured.

Each user reads and writes for a while, asks, waits for the answer, and begins again. Requests wait
in one queue for the server with the fewest, as behind the balancer of `haproxy.cfg`. Run it with
what was measured on your machine:

    python docs/scaling/queueing.py --speeds 55 34 25 19 --reading 900
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, quantiles


@dataclass(frozen=True)
class Server:
    """What one server can do.

    Attributes:
        speeds: Tokens a second of one answer while 1, 2, 3 ... answers are made; as many as there
            are slots.
        reading: Tokens of a prompt that are read in a second.
    """

    speeds: Sequence[float]
    reading: float


@dataclass(frozen=True)
class Use:
    """What users do.

    Attributes:
        pause: Seconds from an answer to the next question, on average.
        prompt: Tokens of a prompt that are not in the prefix cache, on average.
        answer: Tokens of an answer, on average.
    """

    pause: float
    prompt: float
    answer: float

    def seconds_alone(self, server: Server) -> float:
        """Return how long an answer takes that has a server for itself."""
        return self.prompt / server.reading + self.answer / server.speeds[0]


@dataclass(frozen=True)
class Figures:
    """What came of it.

    Attributes:
        utilisation: Share of the slots that were busy.
        wait: Seconds that a request waited for a slot, on average.
        wait_95: Seconds within which 95 of 100 got one.
        answer: Seconds from the question to the end of the answer, on average.
        rate: Answers a second.
    """

    utilisation: float
    wait: float
    wait_95: float
    answer: float
    rate: float


@dataclass
class _Running:
    """A server at work: what is left of each of its answers, in seconds alone."""

    rates: Sequence[float]
    now: float = 0.0
    version: int = 0
    left: dict[int, float] = field(default_factory=dict)

    def advance(self, now: float) -> None:
        done = (now - self.now) * self.rates[len(self.left)]
        self.left = {user: left - done for user, left in self.left.items()}
        self.now = now
        self.version += 1

    def next_end(self) -> tuple[float, int]:
        user = min(self.left, key=self.left.__getitem__)
        return self.now + max(self.left[user], 0.0) / self.rates[len(self.left)], user


def simulate(
    users: int, servers: int, server: Server, use: Use, answers: int = 20_000, seed: int = 1
) -> Figures:
    """Let users ask until so many answers are made; the first fifth is left out."""
    chance = random.Random(seed)
    alone = use.seconds_alone(server)
    # How fast one of so many answers is made, beside one that is alone.
    rates = [0.0, *(speed / server.speeds[0] for speed in server.speeds)]
    running = [_Running(rates) for _ in range(servers)]
    waiting: deque[tuple[float, int]] = deque()
    # Time, user, server (none for a question), and the state of it for which this holds.
    events: list[tuple[float, int, int, int]] = [
        (chance.expovariate(1 / use.pause), user, -1, 0) for user in range(users)
    ]
    heapq.heapify(events)
    asked = dict.fromkeys(range(users), 0.0)
    waits: list[float] = []
    times: list[float] = []
    busy = last = begun = 0.0
    skip = answers // 5

    def plan(at: int) -> None:
        if running[at].left:
            end, user = running[at].next_end()
            heapq.heappush(events, (end, user, at, running[at].version))

    def begin(at: int, user: int, now: float) -> None:
        running[at].advance(now)
        running[at].left[user] = chance.expovariate(1 / alone)
        waits.append(now - asked[user])
        plan(at)

    while len(times) < answers:
        now, user, at, version = heapq.heappop(events)
        if at >= 0 and version != running[at].version:
            continue
        busy += (now - last) * sum(len(one.left) for one in running)
        last = now
        if at < 0:
            asked[user] = now
            free = min(range(servers), key=lambda one: len(running[one].left))
            if len(running[free].left) < len(server.speeds):
                begin(free, user, now)
            else:
                waiting.append((now, user))
            continue
        running[at].advance(now)
        del running[at].left[user]
        times.append(now - asked[user])
        if len(times) == skip:
            busy, begun = 0.0, now
        heapq.heappush(events, (now + chance.expovariate(1 / use.pause), user, -1, 0))
        if waiting:
            begin(at, waiting.popleft()[1], now)
        else:
            plan(at)
    seconds = last - begun
    return Figures(
        utilisation=busy / seconds / servers / len(server.speeds),
        wait=fmean(waits[skip:]),
        wait_95=quantiles(waits[skip:], n=20)[-1],
        answer=fmean(times[skip:]),
        rate=(answers - skip) / seconds,
    )


def servers_needed(
    users: int, server: Server, use: Use, most_wait: float, answers: int = 20_000
) -> tuple[int, Figures]:
    """Return the fewest servers with which 95 of 100 requests wait no longer, and their figures."""
    tried: dict[int, Figures] = {}

    def enough(servers: int) -> bool:
        tried[servers] = simulate(users, servers, server, use, answers)
        return tried[servers].wait_95 <= most_wait

    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high, tried[high]


def main() -> None:
    """Print a row for each number of users."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speeds", type=float, nargs="+", required=True, help="tokens/s by slots")
    parser.add_argument("--reading", type=float, required=True, help="tokens/s of prompts")
    parser.add_argument("--users", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--pause", type=float, default=60, help="seconds between questions")
    parser.add_argument("--prompt", type=float, default=600, help="new tokens of a prompt")
    parser.add_argument("--answer", type=float, default=250, help="tokens of an answer")
    parser.add_argument("--wait", type=float, default=2, help="seconds that 95 %% may wait")
    given = parser.parse_args()
    server = Server(given.speeds, given.reading)
    use = Use(given.pause, given.prompt, given.answer)
    print("| Users | Servers | Slots busy | Mean wait | 95 % wait less than | Whole answer |")
    print("| --- | --- | --- | --- | --- | --- |")
    for users in given.users:
        count, figures = servers_needed(users, server, use, given.wait)
        print(
            f"| {users:,} | {count} | {figures.utilisation:.0%} | {figures.wait:.1f} s | "
            f"{figures.wait_95:.1f} s | {figures.answer:.1f} s |"
        )


if __name__ == "__main__":
    main()
