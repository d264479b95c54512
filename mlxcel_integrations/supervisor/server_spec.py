"""Specification of a server to start: its model, its options, its address and its key."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..embedded.model import cache_directory
from ..options.fields import ServerOptions
from ..options.names import server_options
from ..protocol.features import TrainedContext
from ..secret import Secret
from ..transport.endpoint import Endpoint, absolute_model, absolute_path
from ..unix_sockets import check_socket_length
from .binary import Executable, find_executable
from .command import arguments, environment
from .kept_prompts import save_command
from .model_context import agreed_context, gguf_context
from .model_inputs import read_only_text
from .model_store import model_directories, stored_path
from .prompt_store import PromptStore
from .slot_kind import kind_of_slots

__all__ = ["ServerSpec"]

_LONGEST_GRACE = 1e8
"""Three years, in seconds: the clocks of the system take no infinite time."""

_ANY_ENDPOINT = Endpoint("http://localhost:0")


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server to start.

    Attributes:
        model: The model to serve.
        options: Options of the server and of its start.
        socket: Path of the socket to listen on, None for a private one.
        api_key: Key that the server asks for.
    """

    model: str
    options: ServerOptions
    socket: str | None = None
    api_key: Secret | None = None

    @classmethod
    def of(
        cls,
        model: str | os.PathLike[str],
        socket: str | os.PathLike[str] | None,
        api_key: Secret | None,
        options: dict[str, Any],
    ) -> ServerSpec:
        """Check the arguments of a user.

        Args:
            model: As the user names it.
            socket: Path of the socket to listen on, None for a private one.
            api_key: Key that the server asks for.
            options: Fields of ``ServerOptions``.

        Raises:
            MlxcelError: An option is unknown, or a value cannot be used.
        """
        path = absolute_path(socket, "socket") if socket is not None else None
        if path is not None:
            check_socket_length(path, "socket=")
        return cls(absolute_model(model), server_options(options), path, api_key)

    @property
    def executable(self) -> Executable:
        """The program that serves the model.

        Raises:
            MlxcelError: This machine has none.
        """
        binary = self.options.binary
        name = str(binary) if binary is not None else None
        if name is not None and os.sep in name:
            name = absolute_path(name, "binary")
        return find_executable(self.model, name)

    @property
    def grace(self) -> float:
        """Time from SIGTERM to SIGKILL, in seconds."""
        return min(self.options.shutdown_grace, _LONGEST_GRACE)

    @property
    def takes_free_port(self) -> bool:
        """Whether it listens on any port that is free."""
        return self.options.host is not None and self.options.port is None

    def command(self, endpoint: Endpoint, store: PromptStore | None) -> list[str]:
        """Return the command line of a server at an address.

        Args:
            endpoint: The address.
            store: Where its prompts are kept, None if they are not.
        """
        saving = [] if store is None else ["--slot-save-path", str(store.directory)]
        return [*self._arguments(endpoint), *saving]

    def _arguments(self, endpoint: Endpoint) -> list[str]:
        model = stored_path(self.model, self.options.extra_args, environment(os.environ, None))
        return arguments(self.executable, model, endpoint, self.options)

    def prompt_store(self) -> PromptStore | None:
        """Return where its prompts are kept; None if they are not, or cannot be.

        It depends on what is in the model's file now, which may be replaced before another start:
        so it is found out once for each start.
        """
        if not (self.options.keep_prompts and self.executable.dialect.saves_slots):
            return None
        kind = kind_of_slots(self._arguments(_ANY_ENDPOINT), self.executable.dialect)
        store = PromptStore(
            cache_directory() / "prompts" / kind, self.options.keep_prompts_mb * 10**6
        )
        return store if store.make() else None

    def before_stop(self, endpoint: Endpoint, store: PromptStore | None) -> list[str]:
        """Return the command line to run before a server at an address is stopped.

        Args:
            endpoint: The address.
            store: Where its prompts are kept, None if they are not.
        """
        if store is None:
            return []
        return save_command(endpoint.url, endpoint.socket, store, self.grace)

    def trained_context(self) -> TrainedContext | None:
        """Return the context window of the model, None if unknown or if ``ctx_size`` is set."""
        options = self.options
        if options.ctx_size:
            return None
        if self.model.endswith(".gguf"):
            return gguf_context(Path(self.model))
        environ = environment(os.environ, None)
        return agreed_context(model_directories(self.model, options.extra_args, environ))

    def reads_only_text(self) -> bool:
        """Tell whether the model's files say that it reads nothing but text."""
        environ = environment(os.environ, None)
        return read_only_text(model_directories(self.model, self.options.extra_args, environ))

    def environment(self) -> dict[str, str]:
        """Return its environment, with the key."""
        return environment(os.environ, self.api_key)

    def fingerprint(self, store: PromptStore | None) -> str:
        """Return a name that equal servers share, and from which nobody can learn the key.

        Args:
            store: Where its prompts are kept, None if they are not.
        """
        address = [self.socket, self.options.host, self.options.port]
        text = json.dumps([self.command(_ANY_ENDPOINT, store), address]).encode()
        key = self.api_key.reveal().encode() if self.api_key else b""
        return hashlib.blake2b(text, key=hashlib.sha256(key).digest(), digest_size=8).hexdigest()
