"""What a failed request becomes, and the message that says so."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from mlxcel_integrations.protocol.failures import Failure, from_status, not_a_stream, overflow

WHERE = "http://here:1"


def envelope(message: str, kind: str = "", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, **more}}).encode()


def failure(status: int, body: bytes = b"", **headers: str) -> Failure:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return from_status(status, names, body, WHERE)


@pytest.mark.parametrize(
    ("status", "kind", "exception", "retryable"),
    [
        (302, "", "APIStatusError", False),
        (400, "invalid_request_error", "BadRequestError", False),
        (400, "exceed_context_size_error", "BadRequestError", False),
        (400, "server_error", "InternalServerError", False),
        (401, "authentication_error", "AuthenticationError", False),
        (403, "", "PermissionDeniedError", False),
        (404, "", "NotFoundError", False),
        (405, "", "APIStatusError", False),
        (409, "", "ConflictError", False),
        (413, "", "APIStatusError", False),
        (415, "", "APIStatusError", False),
        (422, "", "UnprocessableEntityError", False),
        (429, "", "RateLimitError", True),
        (500, "server_error", "InternalServerError", False),
        (500, "", "InternalServerError", False),
        (501, "not_implemented", "InternalServerError", False),
        (502, "", "InternalServerError", False),
        (503, "server_busy", "InternalServerError", True),
        (503, "unavailable_error", "InternalServerError", True),
        (503, "", "InternalServerError", True),
        (503, "server_error", "InternalServerError", False),
        (504, "timeout", "InternalServerError", False),
    ],
)
def test_a_status_becomes_the_exception_of_openai(
    status: int, kind: str, exception: str, retryable: bool
) -> None:
    found = failure(status, envelope("Oh no", kind))

    assert (exception, retryable, status) == (found.exception, found.retryable, found.status)
    assert issubclass(getattr(openai, exception), openai.APIError)
    assert found.message.startswith(f"{WHERE} answered {status}: Oh no.")
    assert found.cause is None


@pytest.mark.parametrize(
    ("body", "expected", "message"),
    [
        (b"", "", "answered 418."),
        (b" \n", " \n", "answered 418."),
        (b"Not for you!", "Not for you!", "answered 418: Not for you!"),
        (b"<html>no</html>", "<html>no</html>", "answered 418: no."),
        (b"\xff\xfe", "\ufffd\ufffd", "answered 418: \ufffd\ufffd."),
        (b'"text"', '"text"', 'answered 418: "text".'),
        (b"[1]", "[1]", "answered 418: [1]."),
        (b'{"error": "text"}', "text", "answered 418: text."),
        (b'{"message": "text"}', {"message": "text"}, "answered 418: text."),
        (b'{"detail": "x"}', {"detail": "x"}, "answered 418: {'detail': 'x'}."),
        (
            envelope("text", code=418),
            {"message": "text", "type": "", "code": 418},
            "answered 418: text.",
        ),
    ],
)
def test_bodies_of_any_kind_are_kept_and_shown(body: bytes, expected: object, message: str) -> None:
    found = failure(418, body)

    assert expected == found.body
    assert f"{WHERE} {message}" == found.message


NGINX = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1>"
HAPROXY = b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available.\n</body></html>"
ENVOY = b"upstream connect error or disconnect/reset before headers"


@pytest.mark.parametrize(
    ("status", "body", "said", "advice"),
    [
        (502, NGINX, "502 Bad Gateway", "could not reach it, or lost the connection"),
        (
            503,
            HAPROXY,
            "503 Service Unavailable No server is available",
            "no server for this request",
        ),
        (503, ENVOY, ENVOY.decode(), "no server for this request"),
        (504, b"<h1>504 Gateway Time-out</h1>", "504 Gateway Time-out", "raise its timeout"),
    ],
)
def test_pages_of_balancers_are_told_as_such(
    status: int, body: bytes, said: str, advice: str
) -> None:
    found = failure(status, body)

    assert f"{WHERE} answered {status}: {said}." in found.message
    assert "A proxy or balancer in front of the server" in found.message
    assert advice in found.message
    assert (status == 503) == found.retryable


def test_a_server_that_speaks_of_such_things_is_no_balancer() -> None:
    found = failure(502, envelope("The upstream model is gone"))

    assert f"{WHERE} answered 502: The upstream model is gone." in found.message
    assert "between here and the server" not in found.message


@pytest.mark.parametrize(
    ("body", "said"), [(b'{"error": null}', ""), (b"{}", ": {}"), (b"null", ": null")]
)
def test_a_body_that_says_nothing_adds_nothing_odd(body: bytes, said: str) -> None:
    assert f"{WHERE} answered 500{said}." == failure(500, body).message


def test_a_deeply_nested_body_is_still_an_error() -> None:
    assert 500 == failure(500, b"[" * 100_000).status


def test_a_long_page_is_cut() -> None:
    assert len(failure(502, b"<p>" * 10_000).message) < 700


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "api_key=, or set MLXCEL_API_KEY"),
        (404, "address is that of an mlxcel server"),
        (405, "address is that of an mlxcel server"),
        (413, "fewer or smaller images"),
        (501, "started without a model"),
        (503, "raise max_retries"),
    ],
)
def test_messages_say_what_to_do_next(status: int, advice: str) -> None:
    assert advice in failure(status).message


def test_a_long_prompt_is_told_with_both_numbers() -> None:
    numbers = {"n_prompt_tokens": 5000, "n_ctx": 4096, "code": 400}

    found = failure(400, envelope("too long", "exceed_context_size_error", **numbers))

    assert (
        f"{WHERE} answered 400. The prompt has 5000 tokens and the context 4096: shorten the "
        "prompt, or start the server with a larger ctx_size."
    ) == found.message
    assert {"message": "too long", "type": "exceed_context_size_error", **numbers} == found.body


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    assert seconds == failure(503, retry_after=value).retry_after


@pytest.mark.parametrize("content_type", ["text/html", ""])
def test_what_is_no_stream_is_shown_in_short(content_type: str) -> None:
    message = not_a_stream(content_type, b"\xff<html>" + b"x" * 1000, WHERE)

    assert f"{WHERE} answered with {content_type or 'no content type'} instead" in message
    assert "<html>xxx" in message
    assert len(message) < 500


def test_a_refusal_of_the_chat_template_is_shown_without_its_place_and_with_advice() -> None:
    text = (
        "While executing CallExpression at line 1, column 197 in source:\n...^\n"
        "Error: Jinja Exception: Conversation roles must alternate user/assistant"
    )

    message = failure(400, envelope(text)).message

    said = "Jinja Exception: Conversation roles must alternate user/assistant."
    assert message.startswith(f"{WHERE} answered 400: {said} The model's chat template does not")


def test_a_model_for_embeddings_that_is_asked_to_answer_is_told() -> None:
    message = failure(500, envelope("the context does not support logits computation")).message

    assert message.endswith("made for embeddings and cannot chat: pass another as model=.")


def test_a_refusal_of_another_kind_gets_no_advice_about_roles() -> None:
    message = failure(400, envelope("temperature must not be negative")).message

    assert f"{WHERE} answered 400: temperature must not be negative." == message


CHECK = "Check that the address is that of an mlxcel server of a recent version."


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "Pass the server's key as api_key=, or set MLXCEL_API_KEY."),
        (403, "The server does not offer this, or not with this key."),
        (404, CHECK),
        (405, CHECK),
        (413, "Send fewer or smaller images, or less text."),
        (501, "The server was started without a model or a flag for this."),
        (503, "The server is busy or still loading: try again later, or raise max_retries=."),
    ],
)
def test_what_to_do_next_in_full(status: int, advice: str) -> None:
    assert f"{WHERE} answered {status}. {advice}" == failure(status).message


BALANCER = "A proxy or balancer in front of the server "


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (
            502,
            "could not reach it, or lost the connection: check its log, and send the request "
            "again.",
        ),
        (
            503,
            "found no server for this request: check that servers run behind it and pass its "
            "health checks, or try again later if they are busy.",
        ),
        (
            504,
            "stopped waiting: reading a long prompt takes a while, so raise its timeout.",
        ),
    ],
)
@pytest.mark.parametrize(
    "page",
    [
        "<TITLE>no\nno</TITLE><style>no</style><script>no</script><p>Oh,\n<b>dear.</b><style>no",
        " \n<p>Oh, dear.",
    ],
)
def test_a_page_is_shown_as_what_it_says(page: str, status: int, advice: str) -> None:
    assert (
        f"{WHERE} answered {status}: Oh, dear. {BALANCER}{advice}"
        == failure(status, page.encode()).message
    )


def test_a_page_is_known_by_its_kind() -> None:
    found = failure(502, b"Oh, dear.", content_type="text/html; charset=utf-8")

    assert f"{WHERE} answered 502: Oh, dear. {BALANCER}could not reach it" in found.message


@pytest.mark.parametrize("said", ["Jinja Exception: a", "Jinja Exception: a: Jinja Exception: b"])
@pytest.mark.parametrize("place", ["", "a: "])
def test_the_place_in_a_template_is_left_out(place: str, said: str) -> None:
    assert f"{WHERE} answered 400: {said}." == failure(400, envelope(place + said)).message


def test_a_refusal_of_two_system_messages_says_what_to_do() -> None:
    assert (
        f"{WHERE} answered 400: System prompt must be first. The model's chat template does not "
        "accept these messages: begin with a user message, let user and assistant take turns, and "
        "do not set merge_messages=False."
    ) == failure(400, envelope("System prompt must be first")).message


@pytest.mark.parametrize(("reserve", "left"), [(0, "0 tokens"), (1, "1 token"), (2, "2 tokens")])
def test_a_prompt_that_is_not_sent_is_told_as_servers_tell_it(reserve: int, left: str) -> None:
    said = f"the prompt was not sent, since the answer needs room for {left}"

    assert Failure(
        "BadRequestError",
        f"{WHERE}: {said}. The prompt has 9 tokens and the context 8: shorten the prompt, or "
        "start the server with a larger ctx_size.",
        400,
        {
            "type": "exceed_context_size_error",
            "message": said,
            "code": 400,
            "n_prompt_tokens": 9,
            "n_ctx": 8,
        },
    ) == overflow(9, 8, reserve, WHERE)


def test_an_overflow_names_the_file_that_tells_the_context_size() -> None:
    failure = overflow(9, 8, 1, WHERE, "/models/m/config.json")

    assert "room for 1 token (context size from /models/m/config.json). The" in failure.message


def test_an_overflow_without_numbers_is_told_without_them() -> None:
    assert (
        "The prompt has more tokens and the context fewer:"
        in failure(400, envelope("too long", "exceed_context_size_error")).message
    )


def test_what_is_no_stream_in_full() -> None:
    assert (
        f"{WHERE} answered with text/plain instead of a stream of events: {'é' * 100!r}. Check "
        "that the address is that of an mlxcel server."
    ) == not_a_stream("text/plain", "é".encode() * 101, WHERE)


def test_an_answer_of_a_worker_that_died_says_what_the_server_says() -> None:
    assert Failure(
        "InternalServerError",
        f"{WHERE} answered 503: it died! The server is busy or still loading: "
        "try again later, or raise max_retries=.",
        503,
        {"message": "it died!", "type": "server_error"},
        bare_message=f"{WHERE} answered 503: it died!",
    ) == failure(503, envelope("it died!", "server_error"))


@pytest.mark.parametrize("end", [".", "!", "?"])
def test_a_sentence_ends_once(end: str) -> None:
    assert f"{WHERE} answered 500: Why{end}" == failure(500, envelope(f" Why{end} ")).message


def test_a_long_text_is_kept_up_to_a_limit() -> None:
    assert "x" * 500 == failure(500, b"x" * 501).body
    assert '"' + "x" * 499 == failure(500, b'"' + b"x" * 600 + b'"').body
