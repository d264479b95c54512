"""What markers and parts of the suite mean, and a fixture for twins."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.parts import PARTS, is_of_speed, is_timed, may_have, part_of

# A change is to blame for what fails after it, so the examples are the same in each run. How long
# one of them takes says nothing on a machine that has other work.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", derandomize=False, deadline=None)
settings.load_profile("same")
# With `make mutants`, an example that fails is enough to notice a change, no smaller one is needed,
# and code that notes which functions a test reaches is slow.
settings.register_profile(
    "mutants",
    derandomize=True,
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
    deadline=None,
)

# What developers may have set for programs at work. A real mlxcel needs its other variables.
OPTIONS_OF_USERS = re.compile(
    r"(LANGCHAIN|LANGSMITH|LLAMA|OPENAI|TQDM)_|MLXCEL_(API_KEY|BASE_URL|NO_PROGRESS|SOCKET)$|"
    r"(COLUMNS|LINES|NO_COLOR|FORCE_COLOR|\w+_PROXY)$",
    re.IGNORECASE,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", choices=PARTS, help="run the tests of this part; see tests/parts.py")


def pytest_configure() -> None:
    """Set what the tests and the programs that they start rely on."""
    # pytest-asyncio would make one, and never close it.
    asyncio.set_event_loop(None)
    # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in filter(OPTIONS_OF_USERS.match, list(os.environ)):
        del os.environ[name]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files that have nothing of the part: importing all takes long."""
    part = config.getoption("part")
    if not part:
        return None
    name = collection_path.relative_to(config.rootpath).as_posix()
    return None if may_have(name, part) else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other parts, and skip what needs a real ``mlxcel`` where none is named."""
    part = config.getoption("part")
    # What coverage and mutmut set.
    watched = os.environ.keys() & {"COVERAGE_RUN", "MUTANT_UNDER_TEST"}

    def is_left_out(item: pytest.Item) -> bool:
        another = part and part_of(item.nodeid) != part
        return bool(another or (watched and is_of_speed(item.nodeid)))

    config.hook.pytest_deselected(items=[item for item in items if is_left_out(item)])
    items[:] = [item for item in items if not is_left_out(item)]
    for item in items:
        if is_timed(item.nodeid):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))
    if os.environ.get("MLXCEL_BIN") and os.environ.get("MLXCEL_MODEL"):
        return
    skip = pytest.mark.skip(reason="needs MLXCEL_BIN and MLXCEL_MODEL")
    for item in items:
        if item.get_closest_marker("mlxcel"):
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what importing Ray and both frameworks costs from all tests that follow."""
    # The collector would look through some million objects again and again: while they are made,
    # and whenever a test collects. Whoever unfreezes them has each later test pay for it.
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        # Ray makes every record that is logged take much longer.
        logging.setLogRecordFactory(logging.LogRecord)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Save what was measured: xdist kills a process that does not end within ten seconds."""
    coverage = sys.modules.get("coverage")
    measured = coverage.Coverage.current() if coverage is not None else None
    if measured is not None:
        measured.save()


@pytest.fixture(scope="session", autouse=True)
def _no_such_host() -> Iterator[None]:
    """A host under .invalid is unknown at once, even where DNS is silent or knows any name."""
    look_up = socket.getaddrinfo

    def known(host: Any, *args: Any, **options: Any) -> Any:
        if os.fsdecode(host or "").endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", known)
        yield


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket."""
    with tempfile.TemporaryDirectory(prefix="u-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls a method by its name, or its twin."""

    def sync_call(thing: Any, method: str, *args: Any, **options: Any) -> Any:
        return getattr(thing, method)(*args, **options)

    def async_call(thing: Any, method: str, *args: Any, **options: Any) -> Any:
        async def twin() -> Any:
            try:
                return await getattr(thing, f"a{method}")(*args, **options)
            finally:
                await thing.aclose()

        return asyncio.run(twin())

    return sync_call if request.param == "sync" else async_call


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are not measured for coverage: one that is ended early would print a warning."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
