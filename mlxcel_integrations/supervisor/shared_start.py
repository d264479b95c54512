"""Start of a shared server: join its broker, or start one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from ..errors import MlxcelServerError
from ..forks import between_forks
from . import broker
from .bind_address import choose_bind_address
from .broker import BrokerConfig
from .broker_directory import BrokerDirectory, unlock
from .cleanup import reap, wait_for_end
from .invocation import Invocation
from .logs import ServerLog
from .prompt_store import PromptStore
from .server_process import Environment, cannot_run_error
from .shared_process import SharedProcess, broker_silent
from .single_flight import StartLimit

__all__ = ["join_shared"]

_RETRY_SECONDS = 0.01
_FORK_PAUSE = 0.001
_ATTEMPTS = 5


def join_shared(
    invocation: Invocation, store: PromptStore | None, log: ServerLog, limit: StartLimit
) -> SharedProcess:
    """Join the server that the processes of this user share, or start it.

    Args:
        invocation: The server.
        store: The store of its prompts, None if they are not kept.
        log: Collects its output.
        limit: How long to wait for other processes.

    Raises:
        MlxcelServerError: It cannot be started.
        MlxcelTimeoutError: Another process does not answer.
        StartCancelled: Nobody waits for it any more.
    """
    directory = BrokerDirectory(invocation.fingerprint(store))
    for _ in range(_ATTEMPTS):
        try:
            with directory.made():
                channel, broker_pid = _connect_or_start(directory, invocation, store, limit)
                _reap_when_ended(broker_pid)
                process = _lease(channel, broker_pid, directory, log, invocation, limit)
                if broker_pid in _broker_children:
                    _broker_children[broker_pid] = process.guard_pid, -process.pid
                return process
        except (EOFError, FileNotFoundError):
            # The broker was about to end, and has removed the directory.
            continue
        except OSError as error:
            raise MlxcelServerError(
                f"The directory of shared servers, {directory.path.parent}, cannot be used: "
                f"{error.strerror}. Remove it, or set XDG_RUNTIME_DIR to a directory of your own."
            ) from None
    raise MlxcelServerError(
        "The broker of the shared server ended before it started the server. Check that "
        f"{sys.executable} works."
    )


def _connect_or_start(
    directory: BrokerDirectory, invocation: Invocation, store: PromptStore | None, limit: StartLimit
) -> tuple[socket.socket, int]:
    """Connect to the broker of a directory, which is started if there is none.

    Returns:
        The connection, and the process id of the broker.
    """
    while True:
        lock = directory.try_lock()
        if lock is not None:
            try:
                with contextlib.suppress(BlockingIOError):
                    return _connected_or_started(directory, lock, invocation, store, limit)
            finally:
                unlock(lock)
        try:
            limit.pause(_RETRY_SECONDS)
        except TimeoutError:
            raise broker_silent(directory.noted_process, limit.seconds) from None


def _connected_or_started(
    directory: BrokerDirectory,
    lock: int,
    invocation: Invocation,
    store: PromptStore | None,
    limit: StartLimit,
) -> tuple[socket.socket, int]:
    channel = _connected(directory)
    if channel is not None:
        return channel, directory.noted_process
    directory.note_process(lock, os.getpid())
    try:
        broker_pid = _start_broker(directory, invocation, store, limit)
        _reap_when_ended(broker_pid)
        directory.note_process(lock, broker_pid)
        channel = _connected(directory)
        if channel is None:
            raise EOFError
        return channel, broker_pid
    except BaseException:
        directory.remove()
        raise


def _lease(
    channel: socket.socket,
    broker_pid: int,
    directory: BrokerDirectory,
    log: ServerLog,
    invocation: Invocation,
    limit: StartLimit,
) -> SharedProcess:
    keep_alive = invocation.spec.options.keep_alive
    try:
        return SharedProcess(channel, broker_pid, directory, log, keep_alive, limit)
    except BaseException:
        channel.close()
        raise


def _connected(directory: BrokerDirectory) -> socket.socket | None:
    """Connect to the broker of a directory, None if there is none.

    Raises:
        BlockingIOError: It does not accept, and too many wait for it already.
    """
    channel = socket.socket(socket.AF_UNIX)
    channel.setblocking(False)
    try:
        channel.connect(str(directory.broker))
    except (ConnectionRefusedError, FileNotFoundError):
        channel.close()
        return None
    except BaseException:
        channel.close()
        raise
    channel.setblocking(True)
    return channel


def _start_broker(
    directory: BrokerDirectory, invocation: Invocation, store: PromptStore | None, limit: StartLimit
) -> int:
    """Start a broker and return its process id."""
    config = _broker_config(invocation, store)
    directory.broker.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory.broker))
        listener.listen(128)
        return _run_broker(listener, directory.path, config, invocation.environment, limit)


def _broker_config(invocation: Invocation, store: PromptStore | None) -> BrokerConfig:
    address = choose_bind_address(invocation.spec.options, invocation.spec.socket)
    endpoint = address.endpoint
    return BrokerConfig(
        invocation.command(endpoint, store),
        endpoint.url,
        endpoint.socket,
        address.directory,
        invocation.spec.grace,
        invocation.before_stop(endpoint, store),
    )


def _run_broker(
    listener: socket.socket,
    directory: Path,
    config: BrokerConfig,
    environ: Environment,
    limit: StartLimit,
) -> int:
    """Start a broker, which outlives this process.

    Returns:
        Its process id.

    Raises:
        MlxcelServerError: The system cannot run it.
        MlxcelTimeoutError: The program that starts it does not end.
        EOFError: It ended before it started the broker.
    """
    root = str(Path(__file__).parents[2])
    program = (
        f"import sys; sys.path.append(sys.argv[1]); from {broker.__name__} import main; main()"
    )
    arguments = [root, str(directory), config.to_argument()]
    try:
        with between_forks:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", program, *arguments],
                stdin=listener.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environ(),
                start_new_session=True,
            )
    except OSError as error:
        reason = error.strerror
    else:
        return _forked_by(process, limit)
    # Raised outside the handler, since the frames of the OSError hold the environment.
    raise cannot_run_error(sys.executable, reason)


def _forked_by(process: subprocess.Popen[bytes], limit: StartLimit) -> int:
    """Return the process id of the broker that a program forks before it ends."""
    assert process.stdout is not None
    try:
        while process.poll() is None:
            limit.pause(_FORK_PAUSE)
        # Not to the end of the pipe, which the broker holds open at first.
        text = os.read(process.stdout.fileno(), 32)
    except TimeoutError:
        raise broker_silent(process.pid, limit.seconds) from None
    finally:
        process.stdout.close()
        process.kill()
        process.wait()
    if not text:
        raise EOFError
    return int(text)


_broker_children: dict[int, tuple[int, ...]] = {}
"""Brokers that are children of this program, each with its guard and its server's group."""


def _reap_when_ended(pid: int) -> None:
    """Take the status of a broker when it ends, if this program has become its parent.

    That is so for process 1 and for subreapers. Without it, a zombie would stay.
    """
    if pid <= 0 or pid in _broker_children:
        return
    with contextlib.suppress(ChildProcessError, RuntimeError):
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            _broker_children[pid] = ()
            threading.Thread(target=_reap, args=(pid,), name="mlxcel-broker", daemon=True).start()


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    # If it was killed, its guard and server are children of this program now.
    for orphan in _broker_children.pop(pid):
        wait_for_end(abs(orphan))
        reap(orphan)
