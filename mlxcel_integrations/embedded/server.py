"""The process of the engine: from a command line to a server that ends on a signal."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from ..errors import MlxcelError
from . import INSTALL, address, gguf, model
from .arguments import LARGEST
from .gguf import Metadata

__all__ = ["main"]

# The threads of one answer wait for each other by spinning, and take the processor from those that
# have work as soon as anything else runs: with two servers on two cores, each is 10 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The last but one ends a series of equal tool calls. An empty line would do for everything, but
# JSON may have one, and would be cut there.
STOPS = ["\n\nQuestion:", "\nQuestion:", "\nAnswer:", "\n\n<", "\n\n\n"]

SMALLEST_SLOT = 512
"""Tokens of context below which not even a short question and its answer fit."""

USUAL_SLOT = 4096
"""Tokens of context of a slot unless asked otherwise: a few pages of text and a question."""


def main(options: argparse.Namespace) -> int:
    """Serve until a signal; return 1 after saying why when that cannot be.

    Args:
        options: As ``arguments.parse`` returns them.
    """
    # So that a model that is being put together is taken away again.
    _on_signals(_exit)
    try:
        _serve(options)
    except MlxcelError as error:
        _say(f"Error: {error}")
    return 1


def _serve(options: argparse.Namespace) -> NoReturn:
    engine = _engine()
    address.check(options.host, options.port)
    path = model.locate(options.model)
    about = gguf.read(path)
    parameters = _parameters(engine, options, path, about)
    _say(
        f"Loading {path}: {options.n_parallel} slots, "
        f"{parameters.n_ctx or 'all its'} tokens of context, "
        f"{_threads() or 'automatic'} threads"
    )
    server = _start(engine, parameters, options.host)
    signals = _received_signals()
    socket_file = address.identity(options.host)
    _say(f"Listening on {server.listening_address}")
    signals.recv(1)
    address.remove(options.host, socket_file)
    # Taking the server apart first waits for answers under way, and for ever if it has only just
    # started. It keeps nothing that must be saved.
    os._exit(0)


def _engine() -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise MlxcelError(f"The embedded engine is not installed: {INSTALL}") from None
    return xllamacpp


def _parameters(engine: Any, options: argparse.Namespace, path: Path, about: Metadata) -> Any:
    parameters = engine.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {options.alias or _name(options.model)}
    parameters.hostnames = [options.host]
    parameters.port = 0 if address.is_socket(options.host) else options.port
    parameters.api_keys = [key] if (key := os.environ.get("LLAMA_API_KEY")) else []
    parameters.n_ctx = _context(options.ctx_size, options.n_parallel, about)
    parameters.n_parallel = options.n_parallel
    parameters.n_predict = -1 if options.n_predict is None else options.n_predict
    parameters.warmup = options.warmup
    parameters.cpuparams.n_threads = _threads() or -1
    # A connection that is kept open holds a thread, for 5 seconds after its last request: with few
    # threads the next client waits that long.
    parameters.n_threads_http = 128
    parameters.endpoint_metrics = True
    parameters.ui = False
    # 1 is errors only, 3 is what a user can follow.
    parameters.verbosity = 3 if options.verbose else 1
    # Prompts of earlier answers, up to 8 GB of them: more than such a small server is worth.
    parameters.cache_ram_mib = 0
    _set_template(parameters, options, about)
    _set_embeddings(engine, parameters, about)
    return parameters


def _context(asked: int | None, slots: int, about: Metadata) -> int:
    """Return the tokens of context of all slots together; 0 for as many as the model allows."""
    longest = about.context_length or LARGEST
    if asked is None:
        return min(USUAL_SLOT, longest) * slots
    if asked and asked // slots < SMALLEST_SLOT:
        raise MlxcelError(
            f"A context of {asked} tokens leaves each of {slots} slots less than {SMALLEST_SLOT}. "
            "Give a larger --ctx-size, or fewer slots with --parallel."
        )
    if asked // slots > longest:
        raise MlxcelError(
            f"A context of {asked} tokens gives each of {slots} slots more than the {longest} "
            f"that the model was made for. Give a --ctx-size of at most {longest * slots}."
        )
    return asked


def _set_template(parameters: Any, options: argparse.Namespace, about: Metadata) -> None:
    if options.chat_template:
        parameters.chat_template = options.chat_template
    elif options.chat_template_file:
        parameters.chat_template = _read(Path(options.chat_template_file))
    elif not about.has_chat_template:
        _set_transcript(parameters, options)


def _set_transcript(parameters: Any, options: argparse.Namespace) -> None:
    """Make a base model answer: it goes on with a transcript, until the next turn begins."""
    parameters.chat_template = _read(Path(__file__).with_name("transcript.jinja"))
    parameters.antiprompt = STOPS
    # What comes to its mind first is right more often, and the same every time.
    parameters.sampling.temp = 0
    if options.n_predict is None:
        # When it repeats itself it does not stop.
        parameters.n_predict = 512


def _set_embeddings(engine: Any, parameters: Any, about: Metadata) -> None:
    """Serve embeddings beside text: the same model, at no cost to answers."""
    parameters.embedding = True
    if not about.has_pooling:
        # A model that was not made for embeddings; the mean of its tokens says most of a text.
        parameters.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # A text is embedded in one batch, or not at all.
    parameters.n_ubatch = parameters.n_batch


def _start(engine: Any, parameters: Any, host: str) -> Any:
    # Loading holds Python's lock, so no handler written in Python could run: signals must end
    # the process by themselves.
    _on_signals(signal.SIG_DFL)
    try:
        return engine.Server(parameters)
    except RuntimeError:
        address.remove_stale(host)
        raise MlxcelError(
            f"llama.cpp cannot serve {parameters.model.path}, for the reason in the lines above. "
            "Check that the file is complete, and the chat template if you gave one; if memory "
            "ran out, give a smaller --ctx-size."
        ) from None


def _received_signals() -> socket.socket:
    """Return a socket that gets a byte for each signal.

    The system may hand a signal to any thread, also to one of the engine's, and would then not
    wake this one from ``signal.pause``.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # Detached, because the system goes on using it after the last reference to it is gone.
    signal.set_wakeup_fd(sender.detach())
    _on_signals(lambda number, frame: None)
    return receiver


def _on_signals(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _exit(number: int, frame: object) -> NoReturn:
    sys.exit(0)


def _name(text: str) -> str:
    return text if text == "embedded" else Path(text).stem


def _threads() -> int | None:
    """Count the cores that this process may use, or leave it to llama.cpp.

    llama.cpp counts those of the machine, also where a container has fewer; but it knows which
    cores of a Mac are the fast ones.
    """
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MlxcelError(f"Cannot read the chat template {path}: {error}") from None


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
