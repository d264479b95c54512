"""Jobs on a real Ray cluster: nothing is lost, nothing is twice, and no server is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from pydantic import BaseModel, Field

from mlxcel_integrations import MlxcelError
from tests.fakes.answers import Json
from tests.fakes.replies import Reply
from tests.fakes.server import FakeServer
from tests.ray.conftest import KEY
from tests.supervisor.conftest import runs

pytest.importorskip("ray", reason="the extra [ray] is not installed")

import pyarrow as pa
import ray
from pyarrow import parquet
from ray.data import DataContext

from mlxcel_integrations.ray import chat

pytestmark = [
    # Each job starts processes, which takes long on a machine that is busy.
    pytest.mark.timeout(300),
    # Ray's own: what it sets by itself.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.usefixtures("cluster"),
]


class Event(BaseModel):
    kind: Literal["storm", "fire"]
    hurt: int = Field(ge=0, le=9)


def numbered(count: int) -> Any:
    """Return a dataset with a column ``id``, in one block."""
    return ray.data.from_arrow(pa.table({"id": range(count)}))


def number(body: Json) -> int:
    return int(str(body["messages"][-1]["content"]).split()[1])


# --------------------------------------------------------------------------- many rows


def test_no_row_is_lost_when_an_actor_is_killed_and_a_server_starts_again(tmp_path: Path) -> None:
    """5,000 rows, each once; what is wrong with some of them is told.

    The server asks for the key, which only the actors have.
    """
    killed = tmp_path / "killed"

    def prompt(row: dict[str, Any]) -> str:
        if row["id"] == 1000 and not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return "" if row["id"] % 1000 == 1 else f"Row {row['id']}"

    def think(body: Json) -> Reply:
        if number(body) % 1000 == 2:
            return Reply.error(400, "too long", "exceed_context_size_error", 400)
        text = '{"kind": "storm"}' if number(body) % 1000 == 3 else '{"kind": "fire", "hurt": 1}'
        return Reply.text(text)

    with Restarted(think, after=2500) as server:
        answers = chat(
            numbered(5000),
            prompt=prompt,
            schema=Event,
            base_url=server.url,
            concurrency=16,
            actors=2,
        )
        rows = answers.take_all()

    assert server.restarted
    assert "MLXCEL_API_KEY" not in os.environ
    assert not runs(int(killed.read_text()))
    assert list(range(5000)) == sorted(row["id"] for row in rows)
    errors = Counter(row["error"].partition(":")[0] for row in rows if row["error"])
    assert {"MlxcelError": 5, "BadRequestError": 5, "StructuredOutputError": 5} == errors
    assert {("fire", 1)} == {(row["kind"], row["hurt"]) for row in rows if not row["error"]}
    assert all(row["completion_tokens"] > 0 for row in rows if not row["error"])


class Restarted:
    """A server that is stopped in the middle of its work, and started again."""

    def __init__(self, think: Callable[[Json], Reply], after: int) -> None:
        self._server = FakeServer(api_key=KEY)
        self._server.think = think
        self._after = after
        self._thread = threading.Thread(target=self._restart)
        self.url = self._server.url
        self.restarted = False

    def __enter__(self) -> Restarted:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._thread.join()
        self._server.stop()

    def _restart(self) -> None:
        first = self._server
        end = time.monotonic() + 60
        while len(first.requests) < self._after and time.monotonic() < end:
            time.sleep(0.02)
        first.stop()
        self._server = FakeServer(port=first.port or 0, api_key=KEY)
        self._server.think = first.think
        self.restarted = True


def test_eight_servers_answer_eight_times_as_many_rows() -> None:
    """Each token takes the same time; what Ray takes to start is not counted."""
    one, eight = rows_per_second(1), rows_per_second(8)

    assert eight >= 7.5 * one


def rows_per_second(count: int, rows_each: int = 16) -> float:
    times: list[float] = []

    def think(body: Json) -> Reply:
        times.append(time.monotonic())
        return Reply.text("a b c d e", delay=0.08)

    servers = [FakeServer(slots=2) for _ in range(count)]
    for server in servers:
        server.think = think
    rows = chat(
        numbered(rows_each * count),
        prompt="Row {id}",
        base_url=[server.url for server in servers],
    ).take_all()
    for server in servers:
        server.stop()

    assert {None} == {row["error"] for row in rows}
    # The last ones begin a whole answer before the end.
    return (len(times) - 2 * count) / (max(times) - min(times))


# --------------------------------------------------------------------------- jobs that end


def test_wrong_options_are_refused_where_the_job_is_written() -> None:
    with pytest.raises(MlxcelError, match="Did you mean 'temperature'"):
        chat(numbered(3), prompt="{id}", base_url="http://a", temprature=0)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[None]:
    """Ray's own checkpoints, by the column ``id``."""
    context = DataContext.get_current()
    context.checkpoint_config = {  # type: ignore[assignment]  # a dictionary is taken, too
        "id_column": "id",
        "checkpoint_path": str(tmp_path / "checkpoints"),
    }
    yield
    context.checkpoint_config = None


@pytest.mark.usefixtures("checkpoints")
def test_a_job_that_lost_its_server_says_so_and_continues_when_it_is_started_again(
    tmp_path: Path,
) -> None:
    """With Ray's own checkpoints: what was written is not asked again."""
    source, target = tmp_path / "rows", tmp_path / "answers"
    source.mkdir()
    parquet.write_table(pa.table({"id": range(200)}), source / "rows.parquet")
    with FakeServer(slots=1) as server:

        def job() -> None:
            rows = ray.data.read_parquet(str(source))
            chat(
                rows, prompt="Row {id}", base_url=server.url, batch_size=10, max_retries=0
            ).write_parquet(str(target))

        def gone(body: Json) -> Reply:
            if not list(target.glob("*.parquet")):
                return Reply.text("yes", delay=0.05)
            server.route("/v1/models", Reply.close())
            return Reply.close()

        server.think = gone
        with pytest.raises(Exception, match="ServerLost: The job cannot go on without its server"):
            job()
        written = set(parquet.read_table(target)["id"].to_pylist())
        server.think = lambda body: None
        server.unroute("/v1/models")
        before = len(server.posts)
        job()
        again = {number(post.json) for post in server.posts[before:]}

        assert 0 < len(written) < 200
        assert set(range(200)) - written == again
    assert list(range(200)) == sorted(parquet.read_table(target)["id"].to_pylist())


# --------------------------------------------------------------------------- managed servers


def servers_in(place: Path) -> list[psutil.Process]:
    """Return the servers that listen below a directory."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "serve" in (words := process.info["cmdline"] or [])
        and any(word.startswith(str(place)) for word in words)
    ]


@pytest.mark.engine
def test_actors_share_one_server_which_ends_with_the_last_of_them(
    cluster: Path, tmp_path: Path
) -> None:
    """One actor is killed, and the server stays; Ray is shut down in the middle, and it goes.

    The last test of this file, since there is no cluster any more.
    """
    killed = tmp_path / "killed"

    def prompt(row: dict[str, Any]) -> str:
        if row["id"] == 8 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "A storm broke two windows. What happened?"

    answers = chat(
        numbered(2000),
        prompt=prompt,
        schema=Event,
        model="embedded",
        ctx_size=1024,
        max_tokens=40,
        temperature=0,
        keep_alive=0.5,
        actors=2,
        batch_size=2,
    )
    seen: set[psutil.Process] = set()
    after = 0
    for row in answers.iter_rows():
        seen.update(servers_in(cluster / "run"))
        assert (None, str, int) == (row["error"], type(row["kind"]), type(row["hurt"]))
        after += killed.exists()
        if after == 8:
            break

    (server,) = seen
    assert server.is_running()
    ray.shutdown()
    assert ([server], []) == psutil.wait_procs([server], timeout=20)
