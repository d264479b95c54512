"""Interrupted starts: what an interrupt at each line of a start leaves behind."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlxcel_integrations import LLM, ManagedServer
from tests.faults.injection import PACKAGE, Injector, Point
from tests.faults.measurements import Figure, fake_mlxcel, left_of
from tests.supervisor.conftest import Fake, wait_until

LOAD_SECONDS = "0.02"
DEADLOCK_SECONDS = 10
SIGINT_WITHIN = 0.4
"""A start takes about half of this, in seconds."""

Outcome = dict[str, Any]


def start_llm(binary: str) -> LLM:
    return LLM("m", binary=binary).start()


def start_server(binary: str) -> ManagedServer:
    return ManagedServer("m", binary=binary).start()


def with_llm(binary: str) -> LLM:
    with LLM("m", binary=binary) as llm:
        return llm


def interrupts(count: int) -> Iterator[Figure]:
    """KeyboardInterrupt at every line that the caller's thread runs through."""
    for scenario in (start_llm, start_server, with_llm):
        yield from injected(f"{scenario.__name__} interrupted", scenario, count, KeyboardInterrupt)


def errors_in_threads(count: int) -> Iterator[Figure]:
    """An error at every line that any thread runs through.

    No thread can promise to tell of an error in the lines that tell of errors, so that a deadlock
    is possible there; whatever happens, the server and its guard must go.
    """
    yield from injected(
        "error in any thread of a start", start_server, count, MemoryError, every_thread=True
    )


def sigints(count: int) -> Iterator[Figure]:
    """A real SIGINT at a random moment of a start, or shortly after it."""
    warm_up()

    def held(binary: str) -> None:
        with LLM("m", binary=binary):
            time.sleep(DEADLOCK_SECONDS)

    def body(fake: Fake, told: int) -> Outcome:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        binary = fake.binary(LOAD_SECONDS=LOAD_SECONDS)
        os.write(told, b"\n")
        return after(fake, binary, lambda: held(binary))

    def send(child: int) -> None:
        time.sleep(random.uniform(0, SIGINT_WITHIN))
        os.kill(child, signal.SIGINT)

    outcomes = {f"attempt {n}": attempt(body, send) for n in range(count)}
    yield from figures("SIGINT during a start", outcomes)


def injected(
    name: str,
    scenario: Callable[[str], object],
    count: int,
    error: type[BaseException],
    *,
    every_thread: bool = False,
) -> Iterator[Figure]:
    """Run a scenario once for each of its lines, or for so many spread over them."""
    warm_up()

    def body_at(point: Point | None) -> Callable[[Fake, int], Outcome]:
        def body(fake: Fake, told: int) -> Outcome:
            binary = fake.binary(LOAD_SECONDS=LOAD_SECONDS)
            injector = Injector(point, error, every_thread=every_thread)

            def run() -> None:
                # What was started ends with it, after the last line that counts: what an
                # interrupt does to a finalizer, Python ignores, and only the program's end ends
                # the server then.
                kept = []
                with injector:
                    kept.append(scenario(binary))

            outcome = after(fake, binary, run)
            points = [] if point else [list(vars(p).values()) for p in injector.points]
            return {**outcome, "fired": injector.fired, "points": points}

        return body

    points = [Point(*values) for values in attempt(body_at(None))["points"]]
    chosen = spread(points, count)
    outcomes = {str(point): attempt(body_at(point)) for point in chosen if not point.leaves_with}
    yield from figures(name, outcomes, of_threads=every_thread)
    artefacts = [point for point in chosen if point.leaves_with]
    if artefacts:
        yield Figure(f"{name}: ends of with blocks, which cannot be tried", str(len(artefacts)))


def figures(
    name: str, outcomes: dict[str, Outcome], *, of_threads: bool = False
) -> Iterator[Figure]:
    if of_threads:
        # The zombie of a guard that nobody waits for any more; the next start collects it.
        for outcome in outcomes.values():
            outcome["left"] = [what for what in outcome.get("left", ()) if "zombie" not in what]
    tried = [outcome for outcome in outcomes.values() if outcome.get("fired", True)]
    leaks = [f"{at}: {o['left']}" for at, o in outcomes.items() if o.get("left")]
    hangs = [f"{at}: {where(o['hang'])}" for at, o in outcomes.items() if "hang" in o]
    broken = [f"{at}: {o['next']}" for at, o in outcomes.items() if o.get("next")]
    points = f"at {len(tried)} points"
    yield Figure(f"{name}, leaks", f"{len(leaks)} {points}", "0", not leaks, tuple(leaks))
    may_hang = of_threads or not hangs
    target = "" if of_threads else "0"
    yield Figure(f"{name}, deadlocks", f"{len(hangs)} {points}", target, may_hang, tuple(hangs))
    yield Figure(
        f"{name}, next starts that fail", f"{len(broken)} {points}", "0", not broken, tuple(broken)
    )


def where(traceback: str) -> str:
    """Return the lines of the package at which the threads of a deadlock stand."""
    frames = re.findall(f'"{re.escape(PACKAGE)}(.*?)", line (\\d+)', traceback)
    return ", ".join(f"{file}:{line}" for file, line in frames) or traceback[:200]


def warm_up() -> None:
    """Import what a start imports, so that a forked child need not."""
    with fake_mlxcel() as fake:
        with_llm(fake.binary())
    wait_until(lambda: threading.active_count() == 1)


def spread(points: Sequence[Point], count: int) -> Sequence[Point]:
    """Return so many of the points, evenly spread; all of them for 0."""
    if not 0 < count < len(points):
        return points
    return [points[index * len(points) // count] for index in range(count)]


def after(fake: Fake, binary: str, scenario: Callable[[], None]) -> Outcome:
    """Run a scenario to its end, whichever, and tell what is left and whether a start works."""
    with contextlib.suppress(BaseException):
        scenario()
    # What the exception referred to is gone now.
    gc.collect()
    outcome: Outcome = {"left": left_of(fake), "next": ""}
    try:
        with LLM("m", binary=binary) as llm:
            llm.chat("hi")
    except Exception as error:  # noqa: BLE001  any is one that is told
        outcome["next"] = repr(error)
    outcome["left"] += [f"after the next: {what}" for what in left_of(fake)]
    return outcome


def attempt(
    body: Callable[[Fake, int], Outcome], meanwhile: Callable[[int], None] | None = None
) -> Outcome:
    """Run something in a forked child, which is ended when it hangs.

    Args:
        body: What to run; it returns what came out. Gets a descriptor for a line to say that it
            begins.
        meanwhile: What to do to the child, given by its process id, once it has begun.
    """
    reader, writer = os.pipe()
    with fake_mlxcel() as fake:
        child = os.fork()
        if child == 0:
            os.close(reader)
            _child(body, fake, writer)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8", errors="replace") as pipe:
            if meanwhile is not None:
                pipe.readline()
                meanwhile(child)
            text = pipe.read()
        os.waitpid(child, 0)
        try:
            outcome: Outcome = json.loads(text)
        except ValueError:
            outcome = {"hang": text or "it ended without a word"}
            # Its guard has to clear away.
            left = left_of(fake)
            if left:
                outcome["left"] = left
        return outcome


def _child(body: Callable[[Fake, int], Outcome], fake: Fake, writer: int) -> None:
    try:
        # What is printed of errors that nobody can catch.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stderr.fileno())
        faulthandler.dump_traceback_later(DEADLOCK_SECONDS, exit=True, file=writer)
        outcome = body(fake, writer)
        faulthandler.cancel_dump_traceback_later()
        os.write(writer, json.dumps(outcome).encode())
    except BaseException as error:  # noqa: BLE001  told to the parent
        os.write(writer, repr(error).encode())
    finally:
        os._exit(0)
