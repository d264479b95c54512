"""Base class of all adapters: connection options, and the life of the connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..errors import MlxcelError, check_program_goes_on
from ..modes import connect, split_timeout
from ..options.fields import ConnectionOptions, ServerOptions
from ..options.names import demands, refusals
from ..protocol.arguments import shown
from ..secret import with_hidden_key, with_secrets
from ..transport.connection import Connection
from ..transport.lifecycle import aclosed_on_failure, closed_on_failure
from ..transport.representation import (
    NOT_SHOWN,
    connection_table,
    described,
    one_line,
    texts_hidden,
)
from ..transport.settings import ConnectionSettings
from .clients import HasClients
from .option_values import FIELD_ORDER, OptionError, checked_numbers, checked_value
from .pickling import picklable_fields

if TYPE_CHECKING:
    from ..transport.server import ServerLease

__all__ = ["CONNECTION_FIELDS", "ModelAdapter"]

FRAMEWORK_OPTIONS = ("context_window", "batch_size", "embed_batch_size")
"""Further options that a repr shows."""

CONNECTION_FIELDS = {*ConnectionOptions.model_fields, "check_context", "merge_messages"}
"""Options of a connection, two of which only chats have."""

RECONNECTING_FIELDS = CONNECTION_FIELDS | ServerOptions.model_fields.keys()
"""Options that are part of a connection; the others are read at each request."""

SERVER_DEFAULTS = {name: field.default for name, field in ServerOptions.model_fields.items()}
"""Options with which a server is started, and their defaults."""

RESTARTING_FIELDS = {"model", "socket", "api_key", *ServerOptions.model_fields}
"""Options with which a managed server is started."""


# ``defer_build``: these are abstract, and their validators, which take time to build, are unused.
class ModelAdapter(HasClients, ConnectionOptions, ServerOptions, defer_build=True):
    """A model on this machine, or on a server."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Put our fields before the framework's, which Pydantic lists first."""
        super().__pydantic_init_subclass__(**kwargs)
        fields = cls.model_fields
        # In place: Pydantic makes the signature from this dictionary, too.
        for name in [*FIELD_ORDER, *(name for name in fields if name not in FIELD_ORDER)]:
            if name in fields:
                fields[name] = fields.pop(name)

    if not TYPE_CHECKING:
        # Type checkers know the options from the fields.

        def __init__(self, **options: Any) -> None:
            # A traceback with locals shows the arguments of a function.
            given, options = with_secrets(options), {}
            try:
                super().__init__(**given)
            except ValidationError as error:
                refusal = error.errors()[0]["ctx"]["error"]
            else:
                return
            raise refusal

        # With this mark, Pydantic does not call it where this class is a field of another model,
        # which reports the errors of all its fields together.
        __init__.__pydantic_base_init__ = True

    @model_validator(mode="after")
    def _set_connection(self) -> Self:
        self._use_connection(self._connect())
        return self

    # Defined after the other validator, so that Pydantic wraps it around that.
    @model_validator(mode="wrap")
    @classmethod
    def _with_pydantic_errors(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Raise our errors as Pydantic's, with the names of the options that were given."""
        if not isinstance(values, Mapping):
            return handler(values)
        names = [*values]
        try:
            # A traceback with locals shows the arguments of a function.
            given, values = with_secrets(dict(values)), {}
            return cls._validate_options(given, handler)
        except MlxcelError as error:
            kind = PydanticCustomError("mlxcel_error", "{error}", {"error": error})
            details = InitErrorDetails(type=kind, input=names)
            raise ValidationError.from_exception_data(cls.__name__, [details]) from None

    @classmethod
    def _validate_options(
        cls, given: dict[str, Any], handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        given = checked_numbers(given, cls.model_fields)
        check_program_goes_on()
        given = split_timeout(given)
        cls._check_names(given)
        try:
            return handler(given)
        except ValidationError as error:
            # Pydantic's own message takes three lines for each value.
            raise OptionError(demands(error)) from None

    @classmethod
    def _check_names(cls, names: Iterable[str]) -> None:
        problems = refusals(
            [name for name in names if name not in cls.model_fields],
            [*cls.model_fields],
            refusal=f"{cls.__name__} has no option {{!r}}.",
            options=cls._unknown_option_hint(),
        )
        if problems:
            raise OptionError(" ".join(problems))

    def model_post_init(self, context: Any, /) -> None:
        """Call the framework's own, too, which Pydantic's for private attributes would replace."""
        super().model_post_init(context)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, checked_value(name, value))
        if name in FIELD_ORDER:
            self._apply_changes({name})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with some options changed.

        The copy shares the connection unless one of the connection's options is changed.

        Args:
            update: Options to change.
            deep: Has no effect on the connection.

        Raises:
            MlxcelError: An option is unknown, or its value is invalid.
        """
        check_program_goes_on()
        self._check_names(update or ())
        changes = {name: checked_value(name, value) for name, value in (update or {}).items()}
        copied = super().model_copy(update=changes, deep=deep)
        copied._apply_changes(changes.keys())
        return copied

    def _apply_changes(self, changed: AbstractSet[str]) -> None:
        """Make sure that changed options are used from now on."""
        if changed & RECONNECTING_FIELDS:
            self._reconnect(changed)
        self._derived = {}

    def _reconnect(self, changed: AbstractSet[str]) -> None:
        """Connect with changed options, to the same server unless they choose another."""
        # The old connection is kept until the new one exists, so that a server that both use keeps
        # running.
        former = self.__dict__.get("_connection")
        is_own = self.share is False and not changed & RESTARTING_FIELDS
        try:
            self._use_connection(self._connect(former.lease if former and is_own else None))
        except MlxcelError:
            # Some options are only valid together, such as those of a mode. While they are changed
            # one by one, there is no connection; the next use makes it.
            self._drop_connection()

    if not TYPE_CHECKING:  # type checkers would accept any positional argument

        def __new__(cls, *args: Any, **options: Any) -> Self:
            """Refuse a positional model, for which Pydantic's error names no option."""
            if args:
                given = args[0] if isinstance(args[0], str) else "embedded"
                option = "base_url" if "://" in given else "model"
                raise MlxcelError(
                    f"{cls.__name__} takes its options by name, such as {option}={shown(given)}."
                )
            return super().__new__(cls)

    def _connect(self, lease: ServerLease | None = None) -> Connection:
        """Return a connection to the model; nothing is started or sent yet.

        Args:
            lease: The lease of a managed server that is already in use.
        """
        given = {name: value for name, value in self.__dict__.items() if name in CONNECTION_FIELDS}
        settings = ConnectionSettings.of(with_hidden_key({**self._server_options(), **given}))
        return connect(self._server_settings(settings), known=lease)

    def _server_settings(self, settings: ConnectionSettings) -> ConnectionSettings:
        """Return the settings of the server that this model needs."""
        return settings

    def start(self) -> Self:
        """Start the managed server now instead of on first use; does nothing in connect mode.

        Raises:
            MlxcelServerError: It did not start.
        """
        self._llm.start()
        return self

    async def astart(self) -> Self:
        """Start the managed server without blocking the event loop."""
        await self._async_llm.start()
        return self

    def close(self) -> None:
        """Close all connections and give the managed server back; it stops with its last user."""
        self._llm.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop and give the managed server back."""
        await self._async_llm.close()
        self._llm.close()

    def list_models(self) -> list[str]:
        """Return the names of all models that the server serves.

        Raises:
            openai.APIError: The server could not be reached.
        """
        return self._llm.models()

    async def alist_models(self) -> list[str]:
        """Return the names of all models that the server serves; see ``list_models``."""
        return await self._async_llm.models()

    def __enter__(self) -> Self:
        with closed_on_failure(self.close):
            return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        async with aclosed_on_failure(self.aclose):
            return await self.astart()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a copy that shares the connection."""
        return self.model_copy()

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out the connection, which is made again, and the key, which is read again.

        Handlers that cannot be pickled are left out, too.
        """
        # LlamaIndex's own method removes from this object whatever it cannot pickle.
        state = BaseModel.__getstate__(self)
        own = {n: value for n, value in state["__dict__"].items() if n in type(self).model_fields}
        fields = {**picklable_fields(type(self), own), "api_key": None}
        return {**state, "__dict__": fields, "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        BaseModel.__setstate__(self, {**state, "__pydantic_private__": {}})
        self._use_connection(self._connect())

    def _server_options(self) -> dict[str, Any]:
        fields = self.__dict__
        return {
            name: fields[name]
            for name, default in SERVER_DEFAULTS.items()
            if fields[name] != default
        }

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Return the options given and the state of the server, without keys and default values."""
        # A traceback may show an object that is not fully initialized, or not connected.
        connection, fields = self.__dict__.get("_connection"), type(self).model_fields
        options = {
            name: value
            for name in [*FIELD_ORDER, *FRAMEWORK_OPTIONS]
            if name in self.__dict__.keys() - NOT_SHOWN
            and (value := self.__dict__[name]) != fields[name].get_default()
        }
        if "extra_body" in options:
            options["extra_body"] = texts_hidden(options["extra_body"])
        return (described(connection, options) if connection else options).items()

    def __repr__(self) -> str:
        options = {str(name): value for name, value in self.__repr_args__()}
        return one_line(type(self).__name__, options)

    def _repr_html_(self) -> str | None:
        return connection_table(type(self).__name__, self.__dict__.get("_connection"))

    @classmethod
    def _unknown_option_hint(cls) -> str:
        return f"Its options are {', '.join(cls.model_fields)}."
