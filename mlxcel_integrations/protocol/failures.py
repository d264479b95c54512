"""What went wrong with a request, which exception says so, and whether to try again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import MlxcelServerError
from .validation import as_count, as_object, as_text, error_text

__all__ = [
    "Failure",
    "another_model",
    "buffering",
    "cut_by",
    "from_status",
    "insecure",
    "no_slot",
    "not_a_stream",
    "overflow",
    "timed_out",
    "unreachable",
    "untrusted",
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
    503: "The server is busy or still loading: ask again later, or raise max_retries.",
}

_BETWEEN = {
    502: "What stands between here and the server, such as a balancer, could not reach it, or lost "
    "it: look into its log, and send the request again.",
    503: "What stands between here and the server, such as a balancer, has none that takes the "
    "request: check that servers run behind it and that it finds them healthy, or ask again later "
    "if they are busy.",
    504: "What stands between here and the server, such as a balancer, waited for it no longer: "
    "reading a long prompt takes long, so raise its timeout.",
}
"""Advice for what a balancer says itself."""

_UPSTREAM = re.compile(r"\bupstream\b|no server is available", re.IGNORECASE)

_MISMATCH = {62, 64}
"""What OpenSSL says of a certificate for another host name, or for another address."""

# What templates say themselves; servers pass it on.
_ORDER = re.compile(r"roles must alternate|system (role|message|prompt)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no answer.

    Attributes:
        exception: Name of the ``openai`` exception that says so.
        message: What happened, where, and what to do next.
        status: HTTP status, None if there was no response.
        body: The error object of the response, or its text.
        retryable: Whether the server has certainly not begun to generate.
        retry_after: Seconds that the server asks to wait.
        cause: What the network reported, None if the server answered.
        crash: What to raise instead when a server of ours has ended.
    """

    exception: str
    message: str
    status: int | None = None
    body: object = None
    retryable: bool = False
    retry_after: float | None = None
    cause: BaseException | None = None
    crash: MlxcelServerError | None = None


def from_status(status: int, headers: Mapping[str, str], body: bytes, where: str) -> Failure:
    """Read an error response.

    Args:
        status: HTTP status.
        headers: Response headers, with lower-case names.
        body: Response body; mlxcel answers JSON, plain text or nothing, by route and version.
        where: The address, for the message.
    """
    error = _error_object(body)
    between = _page(headers.get("content-type", ""), error) if isinstance(error, str) else None
    kind = as_text(as_object(error).get("type"))
    text = error_text(error)
    # What llama.cpp puts before it is the place in the template.
    text = text[max(text.find("Jinja Exception"), 0) :]
    if between is not None:
        text = between
    advice = _advice(status, kind, error, text, between is not None)
    parts = [f"{where} answered {status}", *([text.strip()] if text.strip() else [])]
    message = ": ".join(parts) + ("" if parts[-1].endswith((".", "!", "?")) else ".")
    return Failure(
        exception=_exception(status, kind),
        message=f"{message} {advice}" if advice else message,
        status=status,
        body=error,
        # 503 also stands for a worker that died, of type server_error: asking again is no use.
        retryable=status == 429 or (status == 503 and kind != "server_error"),
        retry_after=_seconds(headers.get("retry-after")),
    )


def overflow(tokens: int, context_size: int, reserve: int, where: str) -> Failure:
    """Tell that a prompt does not fit, in the way in which servers tell it that do.

    Args:
        tokens: Tokens of the prompt.
        context_size: Tokens of the context.
        reserve: Tokens to leave for the answer.
        where: The address, for the message.
    """
    left = f"{reserve} token{'s' if reserve != 1 else ''}"
    error = {
        "type": "exceed_context_size_error",
        "message": f"the prompt was not sent, since the answer is to have room for {left}",
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


def unreachable(
    where: str,
    reason: str,
    cause: BaseException,
    *,
    never_sent: bool,
    few_files: bool = False,
    crash: MlxcelServerError | None = None,
) -> Failure:
    """Tell that the server could not be reached, or went away before it answered.

    Args:
        where: The address.
        reason: What happened, in the words of the network.
        cause: What the network raised.
        never_sent: Whether the server has certainly not seen the request.
        few_files: Whether this process was refused another socket.
        crash: What to raise instead when a server of ours has ended.
    """
    what = "Cannot reach" if never_sent else "Lost the connection to"
    advice = "Check that the server runs and listens there."
    if few_files:
        advice = "Ask for less at once, or allow this process more files (ulimit -n)."
    return Failure(
        "APIConnectionError",
        f"{what} {where}: {reason}. {advice}",
        retryable=never_sent,
        cause=cause,
        crash=crash,
    )


def untrusted(where: str, reason: str, code: int, cause: BaseException) -> Failure:
    """Tell that the server's certificate does not show that it is the one that is meant.

    Args:
        where: The address.
        reason: What OpenSSL says about it.
        code: The number of that.
        cause: The error.
    """
    advice = (
        "Use a name as the address that stands in the certificate, or have one made for this name."
        if code in _MISMATCH
        else "If it is the right server, pass the certificate of the authority that signed the "
        "server's as verify=, a PEM file."
    )
    return Failure(
        "APIConnectionError",
        f"The certificate of {where} is not trusted: {reason.rstrip('.')}. {advice}",
        cause=cause,
    )


def insecure(where: str, reason: str, cause: BaseException) -> Failure:
    """Tell that no secure connection came about.

    Args:
        where: The address.
        reason: What OpenSSL says.
        cause: The error.
    """
    return Failure(
        "APIConnectionError",
        f"No secure connection to {where}: {reason.replace('_', ' ').lower()}. Use http:// if the "
        "server speaks no TLS there, and pass client_cert= if it asks for a certificate.",
        cause=cause,
    )


def buffering(where: str) -> str:
    """Tell that answers do not come as they are generated."""
    return (
        f"Answers from {where} come all at once, when they are complete, and not token by token: "
        "something on the way holds them back, such as a proxy or a balancer. Turn its buffering "
        "off, as with proxy_buffering off in nginx."
    )


def another_model(where: str, model: str, before: str) -> str:
    """Tell that an answer comes from another model than those before."""
    first, second = sorted((model, before))
    return (
        f"{where} answers with the models {first!r} and {second!r} in turn, or has changed from "
        "one to the other. What was known about it is asked for again. Servers behind one address "
        "must serve the same model in the same way: give each model an address of its own."
    )


def timed_out(where: str, limit: str, seconds: float, cause: BaseException) -> Failure:
    """Tell that the server did not answer in time.

    Args:
        where: The address.
        limit: The argument that says how long to wait.
        seconds: Its value.
        cause: What ended the wait.
    """
    return Failure(
        "APITimeoutError",
        f"{where} did not answer within {seconds:g} s ({limit}=): reading a long "
        "prompt takes long. Raise it, or shorten the prompt.",
        cause=cause,
    )


def no_slot(where: str, limit: str, seconds: float, cause: BaseException) -> Failure:
    """Tell that all slots of the server were busy for too long.

    Args:
        where: The address.
        limit: The argument that says how long to wait.
        seconds: Its value.
        cause: What ended the wait.
    """
    return Failure(
        "APITimeoutError",
        f"All slots of {where} were busy for {seconds:g} s ({limit}=). Raise it, ask for less at "
        "once, or start the server with more slots.",
        cause=cause,
    )


def cut_by(limit: str, seconds: float) -> str:
    """Tell that an answer was waited for no longer, as the reason in an error.

    Args:
        limit: The argument that says how long to wait.
        seconds: Its value.
    """
    return f"{_LIMITS[limit]} {seconds:g} s ({limit}=)"


_LIMITS = {
    "timeout": "the server was silent for",
    "token_timeout": "no token came for",
    "total_timeout": "it took longer than",
}


def not_a_stream(content_type: str, body: bytes, where: str) -> str:
    """Tell that a response of status 200 is no event stream."""
    sample = body[:200].decode(errors="replace").strip()
    return (
        f"{where} answered with {content_type or 'no content type'} instead of a stream of events: "
        f"{sample!r}. Check that the address is that of an mlxcel server."
    )


def _exception(status: int, kind: str | None) -> str:
    # v0.4.2 answers 400 when a generation fails, which is no fault of the request.
    if status >= 500 or kind == "server_error":
        return "InternalServerError"
    return _CLASSES.get(status, "APIStatusError")


def _error_object(body: bytes) -> Any:
    text = body.decode(errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text[:500]
    if isinstance(content, dict):
        error = content.get("error", content)
        return "" if error is None else error
    return text[:500]


def _page(content_type: str, text: str) -> str | None:
    """Return what a page says that no server of models has written; None for another answer."""
    if content_type.startswith("text/html") or text.lstrip()[:1] == "<":
        # The title says again what the heading says.
        text = re.sub(r"(?is)<(title|style|script).*?(</\1>|$)", " ", text)
        return " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return text if _UPSTREAM.search(text) else None


def _advice(status: int, kind: str | None, error: Any, text: str, between: bool) -> str | None:
    if between and status in _BETWEEN:
        return _BETWEEN[status]
    if kind == "exceed_context_size_error":
        return _context_advice(error)
    if status == 400 and _ORDER.search(text):
        return (
            "The model's chat template does not take these messages: join those of one role that "
            "follow each other, and keep one system message, at the beginning. If it takes none, "
            "put that text into the first user message."
        )
    return _ADVICE.get(status)


def _context_advice(error: Any) -> str:
    tokens = as_count(error.get("n_prompt_tokens")) or "more"
    fit = as_count(error.get("n_ctx")) or "fewer"
    return (
        f"The prompt has {tokens} tokens and the context {fit}: shorten the prompt, or start the "
        "server with a larger ctx_size."
    )


def _seconds(value: str | None) -> float | None:
    """Read ``Retry-After``; the form with a date is not used by servers of models."""
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
