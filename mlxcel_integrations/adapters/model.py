"""Base class of all adapters: the options of a connection, and its life."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..async_client import AsyncLLM
from ..client import LLM
from ..errors import MlxcelError, check_program_goes_on
from ..modes import connect, split_timeout
from ..options.fields import (
    ChatOptions,
    ConnectionOptions,
    EmbeddingOptions,
    RerankOptions,
    SamplingParams,
    ServerOptions,
)
from ..options.names import demands, plain_values, refusals
from ..protocol.arguments import shown
from ..secret import with_hidden_key, with_secrets
from ..transport.connection import Connection, ConnectionSettings
from ..transport.lifecycle import aclosed_on_failure, closed_on_failure
from ..transport.representation import (
    NOT_SHOWN,
    connection_table,
    described,
    one_line,
    texts_hidden,
)

if TYPE_CHECKING:
    from ..transport.server import ServerLease

__all__ = ["CONNECTION_FIELDS", "HasClients", "ModelAdapter", "picklable_fields"]

OPTION_LISTS = (
    SamplingParams,
    ChatOptions,
    EmbeddingOptions,
    RerankOptions,
    ConnectionOptions,
    ServerOptions,
)
FIELD_ORDER = dict.fromkeys(
    ["model", "temperature", "max_tokens", *(n for kind in OPTION_LISTS for n in kind.model_fields)]
)
"""Fields in the order in which editors, ``help`` and ``model_fields`` show them."""


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


PROCESS_BOUND = {"cache", "callback_manager", "callbacks", "custom_get_token_ids", "rate_limiter"}
"""Fields of the frameworks whose objects may hold locks, files or connections of this process."""


CLIENTS = ("_connection", "_llm", "_async_llm")


class OptionError(MlxcelError, ValueError):
    """A model has no such option, or not with that value; a ``ValueError``, as Pydantic's."""


class HasClients:
    """The connection of an adapter, and the clients that share it.

    All three are set when the connection is made. Without one, the next use connects.
    """

    @cached_property
    def _derived(self) -> dict[str, dict[str, Any]]:
        """What follows from the options alone, and is needed for each request.

        A change of an option sets a new dictionary: what a thread derives meanwhile from the old
        value is then lost with the old one.
        """
        return {}

    @cached_property
    def _connection(self) -> Connection:
        return self._connect()

    @cached_property
    def _llm(self) -> LLM:
        return LLM._sharing(self._connection)

    @cached_property
    def _async_llm(self) -> AsyncLLM:
        return AsyncLLM._sharing(self._connection)

    def _connect(self, lease: ServerLease | None = None) -> Connection:
        raise NotImplementedError

    def _use(self, connection: Connection) -> None:
        self._connection = connection
        self._llm = LLM._sharing(connection)
        self._async_llm = AsyncLLM._sharing(connection)


# ``defer_build``: these are abstract, and their validators, which take time to build, are unused.
class ModelAdapter(HasClients, ConnectionOptions, ServerOptions, defer_build=True):
    """A model on this machine, or on a server."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Put our fields before those of the framework's class, which Pydantic has first."""
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

        # With this mark, Pydantic does not call it for a field of another model, which reports the
        # errors of all of its fields together.
        __init__.__pydantic_base_init__ = True

    @model_validator(mode="after")
    def _set_connection(self) -> Self:
        self._use(self._connect())
        return self

    # Defined after the other validator, so that Pydantic runs it around that one.
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
            return cls._validated(given, handler)
        except MlxcelError as error:
            kind = PydanticCustomError("mlxcel_error", "{error}", {"error": error})
            details = InitErrorDetails(type=kind, input=names)
            raise ValidationError.from_exception_data(cls.__name__, [details]) from None

    @classmethod
    def _validated(cls, given: dict[str, Any], handler: ModelWrapValidatorHandler[Self]) -> Self:
        given = _plain_values(given, cls.model_fields)
        check_program_goes_on()
        given = split_timeout(given)
        cls._check_names(given)
        try:
            return handler(given)
        except ValidationError as error:
            # Pydantic would say in three lines for each value what this says in one.
            raise OptionError(demands(error)) from None

    @classmethod
    def _check_names(cls, names: Iterable[str]) -> None:
        told = refusals(
            [name for name in names if name not in cls.model_fields],
            [*cls.model_fields],
            refusal=f"{cls.__name__} has no option {{!r}}.",
            options=cls._unknown_option_hint(),
        )
        if told:
            raise OptionError(" ".join(told))

    def model_post_init(self, context: Any, /) -> None:
        """Call the framework's own, too, which Pydantic's for private attributes would replace."""
        super().model_post_init(context)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _checked(name, value))
        if name in FIELD_ORDER:
            self._use_options({name})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with some options changed.

        The copy shares the connection unless one of the connection's options is changed.

        Args:
            update: Options to change.
            deep: Has no effect on the connection.

        Raises:
            MlxcelError: There is no option of that name, or it cannot have the value.
        """
        check_program_goes_on()
        self._check_names(update or ())
        changes = {name: _checked(name, value) for name, value in (update or {}).items()}
        copied = super().model_copy(update=changes, deep=deep)
        copied._use_options(changes.keys())
        return copied

    def _use_options(self, changed: AbstractSet[str]) -> None:
        """Make sure that changed options are used from now on."""
        if changed & RECONNECTING_FIELDS:
            self._reconnect(changed)
        self._derived = {}

    def _reconnect(self, changed: AbstractSet[str]) -> None:
        """Connect with changed options; to the same server unless they choose another one."""
        # The former connection is kept until there is a new one, so that a server that both use
        # keeps running.
        former = self.__dict__.get("_connection")
        is_own = self.share is False and not changed & RESTARTING_FIELDS
        try:
            self._use(self._connect(former.lease if former and is_own else None))
        except MlxcelError:
            # Some options only fit together, such as those of a mode. While they are changed one by
            # one, there is no connection: the next use makes it.
            for name in CLIENTS:
                self.__dict__.pop(name, None)

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
            lease: The right to use the managed server that is known already.
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
        """Leave out the connection, which is made anew, and the key, which is read again.

        Handlers that cannot be pickled are left out, too.
        """
        # LlamaIndex's own method removes from this object whatever it cannot pickle.
        state = BaseModel.__getstate__(self)
        own = {n: value for n, value in state["__dict__"].items() if n in type(self).model_fields}
        fields = {**picklable_fields(type(self), own), "api_key": None}
        return {**state, "__dict__": fields, "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        BaseModel.__setstate__(self, {**state, "__pydantic_private__": {}})
        self._use(self._connect())

    def _server_options(self) -> dict[str, Any]:
        fields = self.__dict__
        return {
            name: fields[name] for name, usual in SERVER_DEFAULTS.items() if fields[name] != usual
        }

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Return what was given, and the state of the server: neither keys nor the usual values."""
        # A traceback may show an object that is half made, and one whose next use connects.
        connection, usual = self.__dict__.get("_connection"), type(self).model_fields
        options = {
            name: value
            for name in [*FIELD_ORDER, *FRAMEWORK_OPTIONS]
            if name in self.__dict__.keys() - NOT_SHOWN
            and (value := self.__dict__[name]) != usual[name].get_default()
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


def picklable_fields(model: type[BaseModel], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a model, without objects of this process that cannot be pickled.

    Args:
        model: The class of the model.
        fields: The values of its fields.
    """
    kept = dict(fields)
    for name in PROCESS_BOUND & kept.keys():
        value = kept[name]
        if _can_be_pickled(value):
            continue
        if isinstance(value, list):
            kept[name] = [part for part in value if _can_be_pickled(part)]
        else:
            kept[name] = model.model_fields[name].get_default(call_default_factory=True)
    return kept


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - objects of other packages raise anything
        return False
    return True


def _checked(name: str, value: Any) -> Any:
    """Return the value of an option as the constructor would store it.

    Raises:
        OptionError: The option cannot have it.
    """
    for options in OPTION_LISTS:
        if name in options.model_fields:
            given = _plain_values({name: value}, options.model_fields)
            try:
                checked = options.model_validate(with_secrets(given))
            except ValidationError as error:
                raise OptionError(demands(error)) from None
            return getattr(checked, name)
    return value


def _plain_values(given: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the values of options with Python's numbers; see ``plain_values``.

    Raises:
        OptionError: An option cannot have its value.
    """
    try:
        return plain_values(given, fields)
    except MlxcelError as error:
        raise OptionError(str(error)) from None
