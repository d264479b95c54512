"""One small Ray cluster for all jobs, and a scripted server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.server import FakeServer

KEY = "the key of the actors"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster whose processes have a key and a place for shared servers; returns that place."""
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    # Ray's sockets are below it, so it must be short.
    with (
        tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as name,
        pytest.MonkeyPatch.context() as p,
    ):
        place = Path(name)
        (place / "run").mkdir(mode=0o700)
        p.setenv("XDG_RUNTIME_DIR", str(place / "run"))
        p.setenv("MLXCEL_API_KEY", KEY)
        p.setenv("RAY_USAGE_STATS_ENABLED", "0")
        p.setenv("RAY_AUTH_MODE", "disabled")
        p.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        ray.init(
            # For two actors, a third that a failed job leaves for a while, and one for the rest.
            num_cpus=4,
            object_store_memory=100 * 1024 * 1024,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
            _temp_dir=str(place / "ray"),
        )
        p.delenv("MLXCEL_API_KEY")
        try:
            yield place
        finally:
            ray.shutdown()
