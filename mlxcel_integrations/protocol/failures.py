"""``Failure``: a request without an answer, and what the status of a response says about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import MlxcelServerError
from .validation import as_count, as_object, as_text, error_text, from_json, is_shallow

__all__ = [
    "ROLES_REFUSED",
    "Failure",
    "from_status",
    "is_overflow",
    "not_a_stream",
    "overflow",
]

_CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}

_ADVICE = {
    401: "Pass the server's key as api_key=, or set MLXCEL_API_KEY.",
    403: "The server does not offer this, or not with this key.",
    404: "Check that the address is that of an mlxcel server of a recent version.",
    405: "Check that the address is that of an mlxcel server of a recent version.",
    413: "Send fewer or smaller images, or less text.",
    501: "The server was started without a model or a flag for this.",
    503: "The server is busy or still loading: try again later, or raise max_retries=.",
}

_BALANCER_ADVICE = {
    502: "A proxy or balancer in front of the server could not reach it, or lost the connection: "
    "check its log, and send the request again.",
    503: "A proxy or balancer in front of the server found no server for this request: check that "
    "servers run behind it and pass its health checks, or try again later if they are busy.",
    504: "A proxy or balancer in front of the server stopped waiting: reading a long prompt takes "
    "a while, so raise its timeout.",
}
"""Advice by status for error pages that a balancer itself has made."""

_UPSTREAM = r"(?i)\bupstream\b|no server is available"


ROLES_REFUSED = r"(?i)must alternate|system (role|message|prompt)|roles? (is|are) (not )?supported"
"""Errors that chat templates raise about roles, which servers pass on."""

_OVERFLOW = (
    r"(?i)context_length_exceeded|ContextWindowExceeded|maximum context length|prompt is too long"
    r"|exceeds? the (available |model's )?context (size|window|length)|input tokens exceed"
)
"""What gateways, and servers behind them, say about prompts that do not fit."""


class Failure(NamedTuple):
    """A request without an answer.

    Attributes:
        exception: Name of the ``openai`` exception to raise.
        message: What happened, where, and what to do next.
        status: HTTP status, None if there was no response.
        body: The error object of the response, or its text.
        retryable: Whether it is certain that the server has not begun to generate.
        retry_after: Seconds that the server asks to wait.
        cause: The error of the network, None if the server answered.
        crash: The error to raise instead if a server that we started has ended.
        bare_message: The message without general advice, None if it has none.
    """

    exception: str
    message: str
    status: int | None = None
    body: object = None
    retryable: bool = False
    retry_after: float | None = None
    cause: BaseException | None = None
    crash: MlxcelServerError | None = None
    bare_message: str | None = None

    @property
    def busy(self) -> bool:
        """Whether the server is there, but busy or still loading."""
        return self.status == 503


def from_status(status: int, headers: Mapping[str, str], body: bytes, where: str) -> Failure:
    """Read an error response.

    Args:
        status: HTTP status.
        headers: Response headers, with lower-case names.
        body: Response body; mlxcel answers JSON, plain text or nothing, by route and version.
        where: The address, for the message.
    """
    error = _error_object(body)
    page = (
        _error_page_text(headers.get("content-type", ""), error) if isinstance(error, str) else None
    )
    kind = as_text(as_object(error).get("type"))
    text = error_text(error)
    # llama.cpp puts the place in the template before it.
    text = text[max(text.find("Jinja Exception"), 0) :]
    if page is not None:
        text = page
    advice = _advice(status, error, text, page is not None)
    if kind == "exceed_context_size_error" and as_count(as_object(error).get("n_prompt_tokens")):
        # The advice has the same numbers.
        text = ""
    parts = [f"{where} answered {status}", *([text.strip()] if text.strip() else [])]
    message = ": ".join(parts) + ("" if parts[-1].endswith((".", "!", "?")) else ".")
    return Failure(
        exception=_exception_name(status, kind),
        message=f"{message} {advice}" if advice else message,
        bare_message=message,
        status=status,
        body=error,
        # A 503 of type server_error stands for a worker that died: retries are useless.
        retryable=status == 429 or (status == 503 and kind != "server_error"),
        retry_after=_retry_after_seconds(headers.get("retry-after")),
    )


def overflow(
    tokens: int, context_size: int, reserve: int, where: str, source: str | None = None
) -> Failure:
    """Return the failure of a prompt that does not fit, in the words of servers that check it.

    Args:
        tokens: Tokens of the prompt.
        context_size: Tokens of the context.
        reserve: Tokens to leave for the answer.
        where: The address, for the message.
        source: File from which the context size is known, None if the server reports it.
    """
    by = f" (context size from {source})" if source is not None else ""
    left = f"{reserve} token{'s' if reserve != 1 else ''}"
    error = {
        "type": "exceed_context_size_error",
        "message": f"the prompt was not sent, since the answer needs room for {left}{by}",
        "code": 400,
        "n_prompt_tokens": tokens,
        "n_ctx": context_size,
    }
    return Failure(
        exception="BadRequestError",
        message=f"{where}: {error['message']}. {_context_advice(error)}",
        status=400,
        body=error,
    )


def not_a_stream(content_type: str, body: bytes, where: str) -> str:
    """Return the message about a response of status 200 that is not an event stream."""
    sample = body[:200].decode(errors="replace").strip()
    return (
        f"{where} answered with {content_type or 'no content type'} instead of a stream of events: "
        f"{sample!r}. Check that the address is that of an mlxcel server."
    )


def _exception_name(status: int, kind: str | None) -> str:
    # v0.4.2 answers 400 when a generation fails, which is not the fault of the request.
    if status >= 500 or kind == "server_error":
        return "InternalServerError"
    return _CLASSES.get(status, "APIStatusError")


def _error_object(body: bytes) -> Any:
    text = body.decode(errors="replace")
    content = from_json(text)
    if isinstance(content, dict):
        error = content.get("error", content)
        if error is None:
            return ""
        # JSON that is nested very deeply can be read, but not written.
        return error if is_shallow(error) else error_text(error)
    return text[:500]


def _error_page_text(content_type: str, text: str) -> str | None:
    """Return the text of an error page of a proxy or balancer, None for any other answer."""
    if content_type.startswith("text/html") or text.lstrip()[:1] == "<":
        # The title repeats the heading.
        text = re.sub(r"(?is)<(title|style|script).*?(</\1>|$)", " ", text)
        return " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return text if re.search(_UPSTREAM, text) else None


def _advice(status: int, error: Any, text: str, is_page: bool) -> str | None:
    if is_page and status in _BALANCER_ADVICE:
        return _BALANCER_ADVICE[status]
    if status == 400 and is_overflow(error):
        return _context_advice(as_object(error))
    if status == 400 and re.search(ROLES_REFUSED, text):
        return (
            "The model's chat template does not accept these messages: begin with a user message, "
            "let user and assistant take turns, and do not set merge_messages=False."
        )
    if "does not support logits" in text:
        return "The model was made for embeddings and cannot chat: pass another as model=."
    return _ADVICE.get(status)


def is_overflow(error: object) -> bool:
    """Return whether the error of a response says that the prompt does not fit into the context."""
    fields = as_object(error)
    if fields.get("type") == "exceed_context_size_error":
        return True
    return bool(re.search(_OVERFLOW, f"{fields.get('code')} {error_text(error)}"))


def _context_advice(error: Mapping[str, Any]) -> str:
    tokens = as_count(error.get("n_prompt_tokens")) or "more"
    fit = as_count(error.get("n_ctx")) or "fewer"
    return (
        f"The prompt has {tokens} tokens and the context {fit}: shorten the prompt, or start the "
        "server with a larger ctx_size."
    )


def _retry_after_seconds(value: str | None) -> float | None:
    """Read ``Retry-After`` in seconds; model servers do not send a date there."""
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
