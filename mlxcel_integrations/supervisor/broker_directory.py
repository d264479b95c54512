"""``BrokerDirectory``: where the processes of a user find the server that they share."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import guard
from .cleanup import sweep
from .socket_directory import runtime_directory

__all__ = ["BrokerDirectory", "unlock"]


class BrokerDirectory:
    """A directory that only this user can enter, with the socket of a broker and a lock.

    A process takes the lock before it connects to the broker, starts one, or ends one, so there is
    never more than one. The broker removes the directory.

    Args:
        name: A name that is different for each server.
        environ: As for ``runtime_directory``.

    Attributes:
        path: The directory.
        broker: Socket of the broker.

    Raises:
        MlxcelError: No directory is writable, short enough, and safe from other users.
    """

    def __init__(self, name: str, environ: Mapping[str, str] = os.environ) -> None:
        below = f"mlxcel-{os.geteuid()}/{name}"
        self._set_paths(runtime_directory(f"{below}/broker.sock", environ) / below)

    @classmethod
    def at(cls, path: Path) -> BrokerDirectory:
        """Return the broker directory at a path."""
        self = cls.__new__(cls)
        self._set_paths(path)
        return self

    def _set_paths(self, path: Path) -> None:
        self.path = path
        self.broker = path / "broker.sock"
        self._lock = path / "lock"

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Make the directory, and keep it from being swept away inside the block.

        Raises:
            OSError: It cannot be made, or others can enter it.
        """
        parent = guard.make_directory(os.fsencode(self.path.parent))
        try:
            own = guard.make_directory(os.fsencode(self.path))
            try:
                yield
            finally:
                unlock(own)
        finally:
            unlock(parent)
            self._remove_if_empty()

    def try_lock(self) -> int | None:
        """Take the lock and return its descriptor, None while another process holds it.

        Raises:
            FileNotFoundError: The directory was removed.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self._lock, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if guard.is_at(descriptor, os.fsencode(self._lock)):
            return descriptor
        # Its last holder has removed it.
        unlock(descriptor)
        return None

    def note_process(self, lock: int, pid: int) -> None:
        """Note which process has the lock, or is the broker, for the error if it hangs."""
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d" % pid, 0)

    @property
    def noted_process(self) -> int:
        """Process id of the broker, or of the last process that had the lock; 0 if unknown."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._lock.read_bytes())
        return 0

    def remove(self) -> None:
        """Remove the directory and all that is in it; needs the lock."""
        with contextlib.suppress(OSError):
            self.broker.unlink(missing_ok=True)
            self._lock.unlink(missing_ok=True)
        self._remove_if_empty()

    def remove_if_abandoned(self) -> None:
        """Remove what a broker and its guard have left behind if both were killed."""
        sweep(self.path.parents[1])
        self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        for path in (self.path, self.path.parent):
            with contextlib.suppress(OSError):
                path.rmdir()


def unlock(descriptor: int) -> None:
    """Release a lock; closing is not enough if a forked child has inherited it."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
