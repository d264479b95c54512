"""Process of the engine: a server from its command line to the signal that ends it."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import string
import sys
from pathlib import Path
from typing import Any, NoReturn

from ..errors import MlxcelError
from ..unix_sockets import is_socket_path
from . import BUILT_IN_EMBEDDER, BUILT_IN_MODEL, INSTALL
from .adapter import locate_adapter
from .address import check_address, remove_socket, remove_stale_socket, socket_identity
from .arguments import MAX_INT
from .gguf import Metadata, read_metadata
from .model import locate_model

__all__ = ["main"]

# The threads of an answer wait for each other by spinning. If anything else runs, they take the
# processor from threads with work: with two servers on two cores, each is 10 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# "\n\n<" ends a series of equal tool calls. An empty line would replace them all, but JSON may
# contain one and would be cut there.
TRANSCRIPT_STOPS = [
    *("\n\nQuestion:", "\nQuestion:", "\nAnswer:", "\nContext:", "\nQuery:", "\n---", "\n#"),
    *("\n\n<", "\n\n\n"),
    *(f"\n\n{letter}" for letter in string.ascii_uppercase),
]

EARLIER_PROMPTS_MIB = 512
"""Memory for prompts that had to leave their slots; llama.cpp would take up to 8 GB."""

MIN_SLOT_TOKENS = 512
"""Context of a slot in tokens: less does not hold even a short question and its answer."""

PROMPT_BATCH = 256
"""Tokens of a prompt that are read at once: then its progress is reported, and other answers go on.

Larger batches are no faster on a processor.
"""

ADAPTER_SCALE = 0.3
"""Strength of the built-in model's adapter.

With all of it, 93 % instead of 89 % of the questions about texts are answered right, but the model
also says that a text does not answer what was no question, and knows less.
"""

NGRAM_SIZE = 6
"""Tokens that must match an earlier passage before the next ones are guessed."""

MAX_DRAFT_TOKENS = 16
"""Tokens that are guessed at once.

llama.cpp would guess up to 48 after 12. On a processor, checking a token takes about a third of the
time of generating one, so wrong guesses cost: with 48, answers in JSON took up to 27 % longer.
"""

DEFAULT_SLOT_TOKENS = 4096
"""Context of a slot in tokens by default: a few pages of text and a question."""


def main(options: argparse.Namespace) -> int:
    """Serve until a signal; if that is impossible, say why and return 1.

    Args:
        options: The result of ``parse_arguments``.
    """
    # So that a half-assembled model is removed.
    _on_signals(_exit_on_signal)
    try:
        _serve(options)
    except MlxcelError as error:
        _log(f"Error: {error}")
    return 1


def _serve(options: argparse.Namespace) -> NoReturn:
    engine = _import_engine()
    check_address(options.host, options.port)
    path = locate_model(options.model)
    metadata = read_metadata(path)
    parameters = _parameters(engine, options, path, metadata)
    _log(
        f"Loading {path}: {options.n_parallel} slots, "
        f"{parameters.n_ctx or 'all its'} tokens of context, "
        f"{_thread_count() or 'automatic'} threads"
    )
    server = _start_server(engine, parameters, options.host)
    signals = _received_signals()
    socket_file = socket_identity(options.host)
    _log(f"Listening on {server.listening_address}")
    signals.recv(1)
    remove_socket(options.host, socket_file)
    # The server's own shutdown waits for answers under way, and forever if it has only just
    # started. It holds nothing that must be saved.
    os._exit(0)


def _import_engine() -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise MlxcelError(f"The embedded engine is not installed: {INSTALL}") from None
    return xllamacpp


def _parameters(engine: Any, options: argparse.Namespace, path: Path, metadata: Metadata) -> Any:
    parameters = engine.CommonParams()
    parameters.model.path = _utf8(str(path))
    if options.model == BUILT_IN_MODEL and not (
        options.chat_template or options.chat_template_file
    ):
        # It was trained on the prompts that our template makes.
        adapter = _utf8(str(locate_adapter()))
        parameters.lora_adapters = [engine.CommonAdapterLoraInfo(adapter, ADAPTER_SCALE)]
    parameters.model_alias = {_utf8(options.alias or _default_alias(options.model))}
    parameters.hostnames = [_utf8(options.host)]
    parameters.port = 0 if is_socket_path(options.host) else options.port
    parameters.api_keys = [key] if (key := os.environ.get("LLAMA_API_KEY")) else []
    parameters.n_ctx = _context_size(options.ctx_size, options.n_parallel, metadata)
    parameters.n_parallel = options.n_parallel
    parameters.n_predict = -1 if options.n_predict is None else options.n_predict
    parameters.warmup = options.warmup
    if options.spec_type == "ngram-simple":
        kinds = engine.common_speculative_type
        parameters.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        parameters.speculative.ngram_simple.size_n = NGRAM_SIZE
        parameters.speculative.ngram_simple.size_m = MAX_DRAFT_TOKENS
    parameters.cpuparams.n_threads = _thread_count() or -1
    # A connection holds a thread until 5 seconds after its last request: with few threads, the
    # next client would wait that long.
    parameters.n_threads_http = 128
    parameters.endpoint_metrics = True
    parameters.ui = False
    # 1 is errors only, 3 is what a user can follow.
    parameters.verbosity = 3 if options.verbose else 1
    # Without it, a conversation is read again after another request has taken its slot.
    parameters.cache_ram_mib = EARLIER_PROMPTS_MIB
    if options.slot_save_path:
        # llama.cpp appends the name of a file to it.
        parameters.slot_save_path = _utf8(f"{options.slot_save_path}/")
    _set_template(parameters, options, metadata)
    _set_batches(parameters, metadata)
    return parameters


def _utf8(argument: str) -> str:
    """Return an argument of the command line as llama.cpp reads it, whatever the locale is.

    Raises:
        MlxcelError: Its bytes are not UTF-8.
    """
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        raise MlxcelError(
            f"{argument!r} is not UTF-8, the only encoding that llama.cpp reads: use another name "
            "or directory."
        ) from None


def _context_size(size: int | None, slots: int, metadata: Metadata) -> int:
    """Return the tokens of context of all slots together; 0 for as many as the model allows."""
    longest = metadata.context_length or MAX_INT
    if size is None:
        return min(DEFAULT_SLOT_TOKENS, longest) * slots
    if size and size // slots < MIN_SLOT_TOKENS:
        raise MlxcelError(
            f"A context of {size} tokens leaves each of {slots} slots less than {MIN_SLOT_TOKENS}. "
            "Pass a larger --ctx-size, or fewer slots with --parallel."
        )
    if size // slots > longest:
        raise MlxcelError(
            f"A context of {size} tokens gives each of {slots} slots more than the {longest} "
            f"that the model was trained for. Pass a --ctx-size of at most {longest * slots}."
        )
    return size


def _set_template(parameters: Any, options: argparse.Namespace, metadata: Metadata) -> None:
    if options.chat_template:
        parameters.chat_template = _utf8(options.chat_template)
    elif options.chat_template_file:
        parameters.chat_template = _read_template(Path(options.chat_template_file))
    elif not metadata.has_chat_template:
        _set_transcript(parameters, options)


def _set_transcript(parameters: Any, options: argparse.Namespace) -> None:
    """Make a base model answer, by continuing a transcript until the next turn begins."""
    parameters.chat_template = _read_template(Path(__file__).with_name("transcript.jinja"))
    parameters.antiprompt = TRANSCRIPT_STOPS
    # The most likely answer is right more often, and the same every time.
    parameters.sampling.temp = 0
    if options.n_predict is None:
        # A base model does not stop once it repeats itself.
        parameters.n_predict = 512


def _set_batches(parameters: Any, metadata: Metadata) -> None:
    """Serve embeddings with a model that was made for them, or read prompts in small batches.

    The vectors of other models, a mean over the tokens, would find little.
    """
    parameters.embedding = metadata.has_pooling
    if not metadata.has_pooling:
        parameters.n_batch = PROMPT_BATCH
    # A text can only be embedded if it fits into one batch.
    parameters.n_ubatch = parameters.n_batch


def _start_server(engine: Any, parameters: Any, host: str) -> Any:
    # Loading holds the GIL, so no handler in Python could run: signals must end the process by
    # themselves.
    _on_signals(signal.SIG_DFL)
    try:
        return engine.Server(parameters)
    except RuntimeError:
        remove_stale_socket(host)
        raise MlxcelError(
            f"llama.cpp cannot serve {parameters.model.path}, for the reason in the lines above. "
            "Check that the file is complete, and the chat template if you gave one; if memory "
            "ran out, pass a smaller --ctx-size."
        ) from None


def _received_signals() -> socket.socket:
    """Return a socket that receives a byte for each signal.

    ``signal.pause`` is not enough: the system may deliver a signal to any thread, even to one of
    the engine, and this thread would not wake up.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # Detached, so that it stays open after the last reference to it is gone.
    signal.set_wakeup_fd(sender.detach())
    _on_signals(lambda number, frame: None)
    return receiver


def _on_signals(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _exit_on_signal(number: int, frame: object) -> NoReturn:
    sys.exit(0)


def _default_alias(text: str) -> str:
    return text if text in (BUILT_IN_MODEL, BUILT_IN_EMBEDDER) else Path(text).stem


def _thread_count() -> int | None:
    """Count the cores that this process may use; None lets llama.cpp decide.

    llama.cpp counts those of the machine, even if a container has fewer; but it knows which cores
    of a Mac are the fast ones.
    """
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else None


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MlxcelError(f"Cannot read the chat template {path}: {error}") from None


def _log(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
