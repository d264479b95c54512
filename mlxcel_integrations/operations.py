"""Operations: a flow for each thing that a client can do with its server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import MlxcelError
from .protocol.arguments import as_token_ids, check_text
from .protocol.chat import chat_depends_on_server, chat_request
from .protocol.discovery import choose_model, read_models, reported
from .protocol.failures import Failure, overflow
from .protocol.flow import MISSING_ROUTE_STATUSES, Call, CallFailed, Flow
from .protocol.generation_request import Request
from .protocol.headers import check_session
from .protocol.messages import Conversation, Messages, inspect
from .protocol.sampling import checked_fields, reasoning_read, without_progress
from .protocol.tokens.message_tokens import count_chat
from .protocol.tokens.tokenize import count_texts, read_text, read_tokens
from .structured.request import with_response_format
from .transport.connection import Connection

if TYPE_CHECKING:
    from .protocol.features import ServerFeatures
    from .protocol.tokens.context_window import Room
    from .protocol.tokens.shared_prefix import SharedPrefix
    from .protocol.vectors.vector_models import VectorMemory
    from .structured.decision import Decision
    from .structured.nearest_label import ByEmbeddings

__all__ = [
    "compare_messages",
    "count_messages",
    "count_tokens",
    "detokenize",
    "discover_features",
    "discover_model",
    "fit_messages",
    "list_models",
    "nearest_label",
    "prepare_chat",
    "prepare_completion",
    "tokenize",
]

MODELS_ROUTE = "/v1/models"

SHORT_CHAT_CHARACTERS = 2000
"""Characters that fit into any context."""

CHARACTERS_PER_TOOL = 400
"""Rough length of a tool in characters."""

MAX_EXAMPLES = 4096
"""Most examples whose vectors are kept; with more, only the last classification's are."""


def list_models() -> Flow[list[str]]:
    """Return the names of all served models."""
    served = read_models((yield _get(MODELS_ROUTE)))
    return [model.id for model in served]


def discover_model(connection: Connection) -> Flow[str]:
    """Return the name of the model in use: given, or told by the server once."""
    if connection.model is None:
        served = read_models((yield _get(MODELS_ROUTE)))
        connection.model = choose_model(served, str(connection.endpoint))
    return connection.model


def discover_features(connection: Connection) -> Flow[ServerFeatures]:
    """Return the features of the server, discovered once."""
    features = connection.features or (yield from _discover(connection))
    if connection.refuses_tools and features.tools is not False:
        features = features.without_tools()
    return features


def _discover(connection: Connection) -> Flow[ServerFeatures]:
    # Imported here, like other modules below, since most chats are short, and do not think.
    from .protocol.features import read_features

    health = yield Call("/health", optional=True)
    props = yield Call("/props", optional=True)
    features = read_features(reported(health), reported(props), (yield from _listing(connection)))
    if features.context_size is None and connection.server is not None:
        # mlxcel up to v0.4.2 tells no window unless ctx_size sets one.
        features = features.with_context(connection.server.trained_context)
    if features.build is None and connection.server is not None:
        features = features.with_only_text(connection.server.reads_only_text)
    if connection.model is None:
        connection.model = next((model.id for model in features.models if model.generates), None)
    # A busy server may leave some out, so they are discovered again when next needed.
    if not any(isinstance(answer, Failure) and answer.busy for answer in (health, props)):
        connection.features = features
    return features


def _listing(connection: Connection) -> Flow[Any]:
    """Return the list of models, which some gateways lack; not needed for a named model."""
    expected = MISSING_ROUTE_STATUSES if connection.model else frozenset()
    listing = yield Call(MODELS_ROUTE, expected=expected)
    return {"data": []} if isinstance(listing, Failure) else listing


def prepare_chat(
    connection: Connection, messages: Messages, sampling: Mapping[str, Any]
) -> Flow[Request]:
    """Return the request for the next turn of a conversation.

    Raises:
        MlxcelError: No server accepts a message or a field.
        openai.BadRequestError: The conversation does not fit into the context.
    """
    sampling = _checked(sampling)
    conversation = inspect(messages)
    request = yield from _chat_request(connection, conversation, sampling)
    if conversation.problem is not None:
        raise MlxcelError(conversation.problem)
    characters = conversation.characters + CHARACTERS_PER_TOOL * len(sampling.get("tools") or ())
    if _may_not_fit(connection, characters):
        counted = count_chat(request.body, connection.tokens)
        yield from _check_context(connection, request, counted)
    if request.thinks_first:
        from .structured.thinking import with_thinking_first

        features = yield from discover_features(connection)
        may_continue = not connection.refuses_begun
        return with_thinking_first(request, features, may_continue=may_continue)
    return request


def prepare_completion(
    connection: Connection, prompt: str, sampling: Mapping[str, Any]
) -> Flow[Request]:
    """Return the request for the continuation of a text.

    Raises:
        MlxcelError: No server accepts a field.
        openai.BadRequestError: The text does not fit into the context.
    """
    from .protocol.completions import completion_depends_on_engine, completion_request

    model, sampling = yield from _model_and_fields(connection, _checked(sampling))
    engine = None
    if completion_depends_on_engine(sampling):
        engine = (yield from discover_features(connection)).engine
    request = completion_request(model, prompt, sampling, engine, _check_answer)
    if _may_not_fit(connection, len(prompt)):
        yield from _check_context(connection, request, _count_prompt(prompt))
    return request


def count_tokens(connection: Connection, text: str | list[str]) -> Flow[int | list[int]]:
    """Return the number of tokens of a text, or of each text of a list."""
    if isinstance(text, str):
        return (yield from count_texts([text], connection.tokens))[0]
    return (yield from count_texts(text, connection.tokens))


def count_messages(
    connection: Connection, messages: Messages, sampling: Mapping[str, Any]
) -> Flow[int]:
    """Return the number of tokens of the prompt that a conversation becomes."""
    sampling = _checked(sampling)
    request = yield from _chat_request(connection, inspect(messages), sampling)
    return (yield from count_chat(request.body, connection.tokens))


def compare_messages(
    connection: Connection,
    before: Messages,
    after: Messages,
    sampling: Mapping[str, Any],
    tools_before: Sequence[Mapping[str, Any]] | None,
) -> Flow[SharedPrefix]:
    """Return what the prompts of two conversations share; the first may have other tools."""
    # Imported here since few programs compare prompts.
    from .protocol.tokens.shared_prefix import compare_prompts

    others = {} if tools_before is None else {"tools": tools_before}
    old = yield from _body(connection, before, {**sampling, **others})
    new = yield from _body(connection, after, sampling)
    return (yield from compare_prompts(old, new, connection.tokens))


def _body(
    connection: Connection, messages: Messages, sampling: Mapping[str, Any]
) -> Flow[Mapping[str, Any]]:
    request = yield from _chat_request(connection, inspect(messages), _checked(sampling))
    return request.body


def fit_messages(
    connection: Connection,
    messages: Sequence[Mapping[str, Any]],
    reserve: int | None,
    sampling: Mapping[str, Any],
) -> Flow[list[int]]:
    """Return the indices of the messages to keep so that a conversation fits into the context.

    Raises:
        openai.BadRequestError: Even the last turn alone does not fit.
    """
    from .protocol.tokens.context_window import fit_chat, room_for_prompt

    sampling = _checked(sampling)
    conversation = inspect(messages)
    request = yield from _chat_request(connection, conversation, sampling)
    features = yield from discover_features(connection)
    room = room_for_prompt(features, reserve, request.body)
    kept, tokens = yield from fit_chat(
        request.body, conversation.messages, room.limit, connection.tokens
    )
    _refuse_overflow(connection, request, tokens, room)
    return kept


def tokenize(text: str, add_special: bool) -> Flow[list[int]]:
    """Return the token ids of a text."""
    check_text("text", text)
    body = {"content": text, "add_special": add_special}
    return read_tokens((yield Call("/tokenize", body, expected=frozenset())))


def detokenize(tokens: Iterable[int]) -> Flow[str]:
    """Return the text of token ids."""
    body = {"tokens": as_token_ids(tokens)}
    return read_text((yield Call("/detokenize", body, expected=frozenset())))


def nearest_label(memory: VectorMemory, deciding: ByEmbeddings) -> Flow[Decision]:
    """Return a decision by embeddings; examples that stay the same are embedded once.

    Raises:
        MlxcelError: The server has no model for embeddings.
    """
    from .protocol.vectors.embeddings import embed_texts

    known = memory.examples
    new = [text for text in dict.fromkeys(deciding.examples) if text not in known]
    own, *vectors = yield from embed_texts(
        [deciding.text, *new], memory, lambda count: None, truncate=True
    )
    known = {**known, **dict(zip(new, vectors, strict=True))}
    examples = {text: known[text] for text in deciding.examples}
    memory.examples = known if len(known) <= MAX_EXAMPLES else examples
    found = [examples[text] for text in deciding.examples]
    return deciding.decision(own, found, memory.models.get("embedding"))


def _get(path: str) -> Call:
    return Call(path, expected=frozenset())


def _chat_request(
    connection: Connection, conversation: Conversation, sampling: Mapping[str, Any]
) -> Flow[Request]:
    model, sampling = yield from _model_and_fields(connection, sampling)
    features = None
    if chat_depends_on_server(conversation, sampling):
        features = yield from discover_features(connection)
    return chat_request(model, conversation, sampling, features, _check_answer)


def _model_and_fields(
    connection: Connection, sampling: Mapping[str, Any]
) -> Flow[tuple[str, Mapping[str, Any]]]:
    """Return the model to ask, and the sampling fields as its server takes them."""
    if sampling.get("response_format") is not None:
        sampling = with_response_format(sampling)
    if sampling.get("return_progress") is not None:
        sampling = yield from _with_known_progress(connection, sampling)
    model = sampling.get("model") or connection.model_to_send
    return model or (yield from discover_model(connection)), sampling


def _with_known_progress(
    connection: Connection, sampling: Mapping[str, Any]
) -> Flow[Mapping[str, Any]]:
    """Return sampling fields that ask for progress only where the server reports it."""
    if not sampling["return_progress"]:
        return without_progress(sampling)
    features = yield from discover_features(connection)
    return sampling if features.reports_progress else without_progress(sampling)


def _check_answer(body: Mapping[str, Any], text: str) -> None:
    """Check an answer whose generation failed by the schema that was sent.

    Raises:
        StructuredOutputError: It does not fit.
    """
    # Imported here since it loads a library that only such answers need.
    from .structured.json_validator import check_answer

    check_answer(body.get("response_format"), text, "error")


def _count_prompt(text: str) -> Flow[int]:
    """Return the number of tokens of a text that is a whole prompt."""
    return len((yield from tokenize(text, add_special=True)))


def _may_not_fit(connection: Connection, characters: int) -> bool:
    """Return whether a prompt of this length must be checked: it may not fit into some context."""
    check = connection.settings.check_context
    return bool(check or (check is None and characters > SHORT_CHAT_CHARACTERS))


def _check_context(connection: Connection, request: Request, counted: Flow[int]) -> Flow[None]:
    """Check that a prompt fits into the context; its tokens are counted only if need be."""
    from .protocol.tokens.context_window import room_to_check

    features = yield from discover_features(connection)
    room = room_to_check(features, connection.settings.check_context, request.body)
    if room is not None:
        _refuse_overflow(connection, request, (yield from counted), room)


def _refuse_overflow(connection: Connection, request: Request, tokens: int, room: Room) -> None:
    if tokens > room.limit:
        failure = overflow(
            tokens, room.context_size, room.reserve, str(connection.endpoint), room.source
        )
        raise CallFailed(failure, Call(request.route, {}))


def _checked(sampling: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return sampling fields after checking their names and values.

    An unknown name is sent nevertheless, with a warning if it resembles a known one.

    Raises:
        MlxcelError: A name or a value cannot be right.
    """
    if sampling:
        # Imported here since most chats set no fields, and most of those only known ones.
        from .keywords import REQUEST_FIELDS

        if unknown := sampling.keys() - REQUEST_FIELDS:
            from .options.unknown_fields import check_unknown_fields

            check_unknown_fields(unknown)
    if sampling.get("reasoning") is not None:
        sampling = reasoning_read(sampling)
    if sampling.get("session") is not None:
        check_session(sampling["session"])
    return checked_fields(sampling)
