"""Invocation of a server: its specification, resolved with the files of this machine."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ..embedded.model import cache_directory
from ..protocol.features import TrainedContext
from ..transport.endpoint import Endpoint, absolute_path
from .binary import Executable, find_executable
from .command import environment, serve_command
from .kept_prompts import save_command
from .model_context import agreed_context, gguf_context
from .model_inputs import read_only_text
from .model_store import model_directories, stored_path
from .prompt_store import PromptStore
from .server_spec import ServerSpec
from .slot_compatibility import slot_compatibility_key

__all__ = ["Invocation"]

_ANY_ENDPOINT = Endpoint("http://localhost:0")


class Invocation:
    """The program of a server, its command line, its environment and the files of its model.

    Args:
        spec: The server.
    """

    def __init__(self, spec: ServerSpec) -> None:
        self.spec = spec

    @property
    def executable(self) -> Executable:
        """The program that serves the model.

        Raises:
            MlxcelError: This machine has none.
        """
        binary = self.spec.options.binary
        name = str(binary) if binary is not None else None
        if name is not None and os.sep in name:
            name = absolute_path(name, "binary")
        return find_executable(self.spec.model, name)

    def command(self, endpoint: Endpoint, store: PromptStore | None) -> list[str]:
        """Return the command line of a server at an address.

        Args:
            endpoint: The address.
            store: The store of its prompts, None if they are not kept.
        """
        saving = [] if store is None else ["--slot-save-path", str(store.directory)]
        return [*self._serve_command(endpoint), *saving]

    def _serve_command(self, endpoint: Endpoint) -> list[str]:
        model = stored_path(
            self.spec.model, self.spec.options.extra_args, environment(os.environ, None)
        )
        return serve_command(self.executable, model, endpoint, self.spec.options)

    def prompt_store(self) -> PromptStore | None:
        """Return the store of its prompts; None if they are not kept, or cannot be.

        It depends on the present content of the model's file, which may be replaced before another
        start, so each start determines it once.
        """
        if not (self.spec.options.keep_prompts and self.executable.dialect.saves_slots):
            return None
        kind = slot_compatibility_key(self._serve_command(_ANY_ENDPOINT), self.executable.dialect)
        store = PromptStore(
            cache_directory() / "prompts" / kind, self.spec.options.keep_prompts_mb * 10**6
        )
        return store if store.make() else None

    def before_stop(self, endpoint: Endpoint, store: PromptStore | None) -> list[str]:
        """Return the command line to run before a server at an address is stopped.

        Args:
            endpoint: The address.
            store: The store of its prompts, None if they are not kept.
        """
        if store is None:
            return []
        return save_command(endpoint.url, endpoint.socket, store, self.spec.grace)

    def trained_context(self) -> TrainedContext | None:
        """Return the context window of the model, None if unknown or if ``ctx_size`` is set."""
        options = self.spec.options
        if options.ctx_size:
            return None
        if self.spec.model.endswith(".gguf"):
            return gguf_context(Path(self.spec.model))
        environ = environment(os.environ, None)
        return agreed_context(model_directories(self.spec.model, options.extra_args, environ))

    def reads_only_text(self) -> bool:
        """Return whether the model's files say that it reads nothing but text."""
        environ = environment(os.environ, None)
        return read_only_text(
            model_directories(self.spec.model, self.spec.options.extra_args, environ)
        )

    def environment(self) -> dict[str, str]:
        """Return its environment, with the key."""
        return environment(os.environ, self.spec.api_key)

    def fingerprint(self, store: PromptStore | None) -> str:
        """Return a name that equal servers share, and from which nobody can learn the key.

        Args:
            store: The store of its prompts, None if they are not kept.
        """
        address = [self.spec.socket, self.spec.options.host, self.spec.options.port]
        text = json.dumps([self.command(_ANY_ENDPOINT, store), address]).encode()
        key = self.spec.api_key.reveal().encode() if self.spec.api_key else b""
        return hashlib.blake2b(text, key=hashlib.sha256(key).digest(), digest_size=8).hexdigest()
