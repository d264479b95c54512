"""What the fake server knows and answers: its state, its routes, its keys.

`FakeApi.reply` turns a request into a `Reply`; how that reaches a socket is in `server.py`.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.answers import Answer, Generation, Json, Kind, Turn
from tests.fakes.anthropic import from_anthropic
from tests.fakes.bodies import CACHED, LAST_REJECTED, OBSERVED, SETTINGS
from tests.fakes.checks import (
    CHECKS,
    Refused,
    check_anthropic,
    check_conversation,
    check_media,
    check_tool_count,
    invalid,
    is_int,
    parse_body,
    unprocessable,
)
from tests.fakes.default import default_answer
from tests.fakes.prompts import chat_prompt, prompt_pieces
from tests.fakes.replies import Reply
from tests.fakes.scheduler import Scheduler
from tests.fakes.text import Vocabulary
from tests.fakes.vectors import DIMENSIONS, embeddings, native_embeddings, rerank

BODY_LIMIT = 2 * 1024 * 1024
WINDOW = 4096
"""Tokens that the model was made for."""
CLOSED = "Generation error: Failed to send request: sending on a closed channel"
NO_PROMPT = Reply(
    answer=Answer(
        finish="error",
        failure="Generation error: Empty prompt: request has no input tokens to process",
    )
)


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; `connection` counts from 1, header names are lower-case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        """The parsed body, or None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class FakeApi:
    """The served model and its HTTP routes.

    Args:
        generation: Which server generation to be.
        model_id: The served model's id.
        api_key: Required key; the newest generation takes a comma-separated list.
        context_size: Tokens of one slot; None is a server that was not told any.
        slots: Number of slots.
        models: Entries for `/v1/models` instead of the one made from `model_id`. On the newest
            generation an entry with the capability "embedding" or "rerank" switches that route on.

    Attributes:
        busy: Refuse generation as with a full queue.
        loading: Be a server whose weights are not loaded yet; the older one lets requests wait.
        load_failed: Be a server whose weights could not be loaded.
        dead: Be a server whose worker has ended.
        stuck: Be a server whose worker for vectors takes too long.
        media: The parts of a message that the model can read beside text, as `MEDIA` names them.
        infill: Whether the model was trained to fill in.
        bos: Whether the tokenizer begins each text with a token of its own.
        cache: Whether the server keeps prompts for later ones.
        template_needs_a_message: Whether it fails without any; it can then only be counted.
        template_error: Why the chat template fails, which the older server only logs.
        log: What a line of the log is given to: its text, its level, where it is from.
        tool_call_parser: What the older server reads calls with; None without a chat template.
        chat_template: The template that the newest server shows.
        n_predict: Tokens of an answer when the request sets no limit; -1 is the whole context.
        api_prefix: Path above every route.
        props: Whether the older generation has `/props`, and the newest lets it be changed.
        slots_endpoint: Whether `/slots` is on.
        think: What answers a generation request for which no reply is scripted; it may return None.
        token_seconds: Pause between the tokens of an answer that sets none.
        requests: Every request in order.
        generating: How many slots are answering now.
        scheduler: What gives the slots of the older generation to requests.
    """

    def __init__(
        self,
        generation: Generation,
        *,
        model_id: str,
        api_key: str | None,
        context_size: int | None,
        slots: int,
        models: list[Json] | None,
    ) -> None:
        self.generation = generation
        self.model_id = model_id
        self.api_key = api_key
        # Without --ctx-size, the older server does not tell the window that its model has.
        told = 0 if generation == "v0.4.2" else WINDOW
        self.context_size = told if context_size is None else context_size
        self.total_slots = slots
        self.models = models
        self.busy = False
        self.loading = False
        self.load_failed = False
        self.dead = False
        self.stuck = False
        self.media: set[str] = set()
        self.infill = True
        self.bos = True
        self.cache = True
        self.template_needs_a_message = True
        self.template_error: str | None = None
        self.log: Callable[[str, str, str], None] = lambda text, level, source: None
        self.tool_call_parser: str | None = "mlxcel"
        self.chat_template = ""
        self.n_predict = -1
        self.api_prefix = ""
        self.props = False
        self.slots_endpoint = True
        self.think: Callable[[Json], Reply | None] = lambda body: None
        self.token_seconds = 0.0
        self.requests: list[Seen] = []
        self.generating = 0
        self.scheduler = Scheduler(slots)
        self._script: deque[Reply] = deque()
        self._fixed: dict[str, Reply] = {}
        self._vocabulary = Vocabulary()
        self.lock = threading.Lock()
        self._routes = self._make_routes()

    @property
    def posts(self) -> list[Seen]:
        """The generation requests among `requests`."""
        return [seen for seen in self.requests if self.generates(seen)]

    @property
    def full(self) -> bool:
        """Whether a generation request that arrives now is refused."""
        return self.busy or (self.generation == "v0.4.2" and self.scheduler.full)

    def generates(self, seen: Seen) -> bool:
        return seen.method == "POST" and seen.path.removeprefix(self.api_prefix) in self._kinds

    def script(self, *replies: Reply) -> None:
        """Queue replies for the next generation requests; afterwards come default answers.

        A request that the server would refuse is refused, and takes none from the queue.
        """
        self._script.extend(replies)

    def route(self, path: str, reply: Reply) -> None:
        """Always answer this path so, before any check of the request."""
        self._fixed[path] = reply

    def unroute(self, path: str) -> None:
        """Answer this path as usual again."""
        del self._fixed[path]

    def _make_routes(self) -> dict[str, dict[str, Callable[[Seen], Reply]]]:
        """Path -> method -> handler; also fills `_kinds`, the shape of each generation path."""
        newest = self.generation == "newest"
        self._kinds: dict[str, Kind] = {
            "/v1/chat/completions": "chat",
            "/chat/completions": "chat",
            "/v1/completions": "completion",
            "/completions": "native" if newest else "completion",
            "/completion": "native",
        }
        if newest:
            self._kinds["/infill"] = "native"
        routes: dict[str, dict[str, Callable[[Seen], Reply]]] = {
            path: {"POST": self._generate} for path in self._kinds
        }
        gets = {"/health": self._health, "/": self._health, "/slots": self._slots}
        gets |= {"/v1/models": self._list_models, "/models": self._list_models}
        posts = {"/tokenize": self._tokenize, "/detokenize": self._detokenize}
        posts |= dict.fromkeys(
            ["/v1/messages/count_tokens", "/messages/count_tokens"], self._count_tokens
        )
        gets["/props"] = self._props
        gets["/metrics"] = self._metrics
        gets["/v1/cache/stats"] = self._cache_stats
        posts["/v1/cache/reset"] = self._reset_cache
        posts["/v1/audio/speech"] = self._speak
        if newest:
            gets |= dict.fromkeys(["/tools", "/cors-proxy"], self._never)
            gets["/v1/health"] = self._health
            posts["/apply-template"] = self._apply_template
            posts["/v1/chat/completions/input_tokens"] = self._input_tokens
            posts["/chat/completions/input_tokens"] = self._input_tokens
            posts["/v1/embeddings"] = self._embeddings
            posts |= dict.fromkeys(["/embeddings", "/embedding"], self._native_embeddings)
            posts |= dict.fromkeys(
                ["/v1/rerank", "/v1/reranking", "/rerank", "/reranking"], self._rerank
            )
        routes |= {path: {"GET": handler} for path, handler in gets.items()}
        routes |= {path: {"POST": handler} for path, handler in posts.items()}
        if newest:
            routes["/props"]["POST"] = self._set_props
        return routes

    def reply(self, seen: Seen) -> Reply:
        """Decide what to answer."""
        path = seen.path.removeprefix(self.api_prefix)
        if path in self._fixed:
            kind = self._kinds.get(path, "chat")
            return self._fixed[path].render(
                Turn(self.generation, self.model_id, seen.json or {}, kind=kind)
            )
        unauthorized = self._unauthorized(seen)
        if unauthorized is not None:
            return unauthorized
        methods = self._routes.get(path) if seen.path.startswith(self.api_prefix) else None
        if methods is None:
            return Reply.plain(404)
        if seen.method == "HEAD" and "GET" in methods:
            return Reply.json(None)  # without its body, by the method
        if seen.method not in methods:
            return Reply.plain(405)
        if len(seen.body) > BODY_LIMIT and self.generation == "v0.4.2":
            return Reply.plain(413, "Failed to buffer the request body: length limit exceeded")
        try:
            return methods[seen.method](dataclasses.replace(seen, path=path))
        except Refused as refused:
            if refused.logged is not None:
                text = f"matcher build error: {refused.logged}"
                self.log(text, "ERROR", "mlxcel::server::structured")
            return refused.reply

    def _prompt(self, body: Json) -> str:
        """The prompt of a chat, by a template of the server's own if the model's fails."""
        lacking = self.template_needs_a_message and not body["messages"]
        if self.template_error is not None or lacking:
            reason = self.template_error or "undefined value (in chat:10)"
            what = "parse" if reason.startswith("syntax") else "render"
            failed = f"Failed to {what} chat template: {reason}"
            text = f"Chat template render failed, using fallback: {failed}"
            self.log(text, "WARN", "mlxcel::server::chat_request")
        return chat_prompt(body, self.generation)

    def _unauthorized(self, seen: Seen) -> Reply | None:
        newest = self.generation == "newest"
        # A prefixed health route is not public: the raw path is compared.
        if self.api_key is None or seen.path in ("/health", "/", "/v1/health" if newest else "/"):
            return None
        header = seen.headers.get("authorization", "")
        given = f"{header} ".removeprefix("Bearer ").strip()
        if newest:
            given = given or seen.headers.get("x-api-key", "")
            if given in self.api_key.split(","):
                return None
            return Reply.error(401, "Invalid API Key", "authentication_error", 401)
        if given == self.api_key:
            return None
        if header:
            return Reply.error(401, "Invalid API key", "invalid_api_key")
        missing = "Missing API key. Use 'Authorization: Bearer <api-key>' header."
        return Reply.error(401, missing, "missing_api_key")

    def _generate(self, seen: Seen) -> Reply:
        kind = self._kinds[seen.path]
        body = parse_body(seen.headers.get("content-type", ""), seen.body)
        CHECKS["infill" if seen.path == "/infill" else kind](body, self.generation)
        if kind == "chat":
            check_media(body, self.media, self.generation)
        self._check_queue()
        if seen.path == "/infill":
            if not self.infill:
                raise invalid("Infill is not supported by this model", "not_supported_error", 501)
            body["prompt"] = f"{body['input_prefix']} ... {body['input_suffix']}"
        prompt = self._prompt(body) if kind == "chat" else body["prompt"]
        count, limit = len(prompt_pieces(prompt, self.bos)), self._limit(body, kind)
        turn = Turn(self.generation, self.model_id, body, count, kind, limit, self.cache)
        if self.dead:
            status = 503 if self.generation == "newest" else 400
            raise invalid("The model worker has exited", "server_error", status)
        while self.loading and self.generation == "v0.4.2":
            time.sleep(0.01)
        if self.loading or self.load_failed:
            return self._without_weights().render(turn)
        if not count:
            return NO_PROMPT.render(turn)
        reply = self._next_scripted() or self.think(body)
        if reply is None:
            reply = Reply(answer=default_answer(turn))
        if reply.delay == 0 and reply.answer is not None:
            reply = dataclasses.replace(reply, delay=self.token_seconds)
        return reply.render(turn)

    def _check_queue(self) -> None:
        if self.full:
            raise invalid("All slots are busy. Please try again later.", "server_busy", 503)

    def _without_weights(self) -> Reply:
        if self.generation == "newest":
            return Reply.error(501, "no loaded chat model", "not_implemented")
        return Reply(answer=Answer(finish="error", failure=CLOSED))

    def _next_scripted(self) -> Reply | None:
        with self.lock:
            return self._script.popleft() if self._script else None

    def _limit(self, body: Json, kind: Kind) -> int:
        """How many tokens the answer may have."""
        names = ["n_predict" if kind == "native" else "max_tokens"]
        if self.generation == "newest":
            names = ["max_tokens", "max_completion_tokens", "n_predict"]
        window = self.context_size or WINDOW
        asked = [body[name] for name in names if body.get(name) is not None]
        limit = asked[0] if asked else self.n_predict
        if limit < 0:
            return window
        return limit if self.generation == "v0.4.2" else min(limit, window)

    def _health(self, _: Seen) -> Reply:
        loading = self.loading or self.load_failed
        if self.generation == "newest":
            if not loading:
                return Reply.json({"status": "ok"})
            return Reply.error(503, "Loading model", "unavailable_error", 503)
        if loading:
            return Reply.json({"status": "loading model", "tool_call_parser": None}, 503)
        full = self.full
        body = {
            "status": "no slot available" if full else "ok",
            "model": self.model_id,
            "batch": {
                "active_sequences": self.generating,
                "queue_depth": self.scheduler.queued,
                "max_batch_size": self.total_slots,
            },
            "observability": dict.fromkeys(OBSERVED.split(), 0)
            | {"prompt_cache_last_reject": None},
            "context_size": self.context_size,
            "tool_call_parser": self.tool_call_parser,
        }
        return Reply.json(body, 503 if full else 200)

    def _list_models(self, _: Seen) -> Reply:
        base = {"object": "model", "created": int(time.time())}
        if self.generation == "v0.4.2":
            entries = self.models or [{"id": self.model_id, "owned_by": "user"}]
            return Reply.json({"object": "list", "data": [{**base, **entry} for entry in entries]})
        window = self.context_size
        meta = {"vocab_type": 2, "n_vocab": 1000, "n_ctx": window, "n_ctx_train": window}
        chat = {
            "id": self.model_id,
            "meta": {**meta, "n_embd": 64, "n_params": 1000, "size": 1000, "ftype": "4bit"},
            "capabilities": ["completion"],
        }
        base |= {"aliases": [], "tags": [], "owned_by": "llamacpp"}
        data = [{**base, **entry} for entry in self.models or [chat]]
        listed = [{"name": entry["id"], "model": entry["id"]} for entry in data]
        return Reply.json({"models": listed, "object": "list", "data": data})

    def _props(self, _: Seen) -> Reply:
        if self.generation == "v0.4.2":
            if not self.props:
                return Reply.plain(404)
            limit = self.context_size or WINDOW if self.n_predict < 0 else self.n_predict
            settings = {"n_predict": limit, **SETTINGS}
            body = {"default_generation_settings": settings, "total_slots": self.total_slots}
            return Reply.json(body)
        embedder = self._capable("embedding")
        capabilities: Json = {"generation": True}
        if embedder:
            capabilities["embedding"] = {
                "model": embedder,
                "dim": DIMENSIONS,
                "pooling": "mean",
                "embd_normalize": 2,
                "multi_vector": False,
            }
        return Reply.json(
            {
                "default_generation_settings": {"params": {}, "n_ctx": self.context_size},
                "total_slots": self.total_slots,
                "model_alias": self.model_id,
                "model_path": f"/models/{self.model_id}",
                "modalities": {
                    "vision": "image_url" in self.media,
                    "video": "video_url" in self.media,
                    "audio": "input_audio" in self.media,
                },
                "chat_template": self.chat_template,
                "chat_template_caps": {"supports_tools": True},
                "bos_token": "<bos>",
                "eos_token": "<eos>",
                "build_info": "mlxcel-0.5.0",
                "is_sleeping": False,
                "capabilities": capabilities,
            }
        )

    def _set_props(self, _: Seen) -> Reply:
        if self.props:
            return Reply.json({"success": True})
        return Reply.error(501, "properties are fixed", "not_supported_error", 501)

    def _never(self, _: Seen) -> Reply:
        return Reply.error(403, "this feature is disabled", "feature_disabled", 403)

    def _speak(self, _: Seen) -> Reply:
        return Reply.error(501, "audio model kind not loaded: tts", "not_implemented")

    def _cache_stats(self, _: Seen) -> Reply:
        counts = dict.fromkeys(CACHED.split(), 0)
        last = dict.fromkeys(LAST_REJECTED.split())
        enabled = {"enabled": self.cache, "apc_enabled": self.cache, "hash": "sha256"}
        return Reply.json({**enabled, **counts, **last})

    def _reset_cache(self, _: Seen) -> Reply:
        return Reply.json({"cleared": True, "freed_bytes": 0, "freed_entries": 0})

    def _slots(self, seen: Seen) -> Reply:
        newest = self.generation == "newest"
        if not self.slots_endpoint:
            gone = Reply.error(501, "slots are off", "not_supported_error", 501)
            return gone if newest else Reply.plain(404)
        busy = [index < self.generating for index in range(self.total_slots)]
        if newest:
            if all(busy) and "fail_on_no_slot=1" in seen.query:
                return Reply.error(503, "no slot available", "unavailable_error", 503)
            common: Json = {"n_ctx": self.context_size, "speculative": False, "params": {}}
        else:
            common = {"context_size": self.context_size, "model": self.model_id}
        slots = [{"id": index, "is_processing": on, **common} for index, on in enumerate(busy)]
        if not newest:
            slots = [{**s, "state": "decoding" if s["is_processing"] else "idle"} for s in slots]
            # Those that wait stand in the list as well.
            queued = {"state": "queued", "is_processing": False, **common}
            waiting = range(self.total_slots, self.total_slots + self.scheduler.queued)
            slots += [{"id": index, **queued} for index in waiting]
        return Reply.json(slots)

    def _metrics(self, _: Seen) -> Reply:
        if self.generation == "v0.4.2":
            return Reply.plain(404)
        return Reply.error(501, "metrics are off", "not_supported_error", 501)

    def _tokenize(self, seen: Seen) -> Reply:
        body = parse_body(seen.headers.get("content-type", ""), seen.body)
        newest = self.generation == "newest"
        content = body.get("content")
        if not newest and not isinstance(content, str):
            raise unprocessable("missing field `content`, or not a string")
        for name in ["add_special", "parse_special", "with_pieces"][: 3 if newest else 1]:
            if not isinstance(body.get(name, False), bool):
                raise unprocessable(f"{name}: expected a boolean")
        if not isinstance(content, str | list | None):
            raise invalid("Tokenization error: content must be a string or an array")
        parts = content if isinstance(content, list) else [content] * (content is not None)
        if not all(isinstance(part, str) or is_int(part) for part in parts):
            raise invalid("Tokenization error: an element must be a string or a token id")
        tokens: list[int] = []
        with self.lock:
            for index, part in enumerate(parts):
                if isinstance(part, int):
                    tokens.append(part)
                else:
                    tokens += self._vocabulary.encode(
                        part,
                        add_special=self.bos and bool(body.get("add_special")) and index == 0,
                        parse_special=not newest or body.get("parse_special", True),
                    )
        if newest and body.get("with_pieces"):
            named = [{"id": token, "piece": self._vocabulary.decode([token])} for token in tokens]
            return Reply.json({"tokens": named})
        return Reply.json({"tokens": tokens})

    def _detokenize(self, seen: Seen) -> Reply:
        body = parse_body(seen.headers.get("content-type", ""), seen.body)
        tokens = body.get("tokens", [] if self.generation == "newest" else None)
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise unprocessable("tokens: expected a sequence of integers")
        known = [token for token in tokens if token in self._vocabulary]
        if len(known) < len(tokens) and self.generation == "newest":
            raise invalid("tokens: unknown id")
        return Reply.json({"content": self._vocabulary.decode(known)})

    def _inspected(self, seen: Seen) -> str:
        """The rendered prompt of a chat body; a bad shape is JSON here, not 422.

        What is only about the answer is not looked at.
        """
        body = parse_body(seen.headers.get("content-type", ""), seen.body)
        try:
            check_conversation(body, self.generation)
        except Refused as refused:
            if refused.reply.status == 422:
                raise invalid(f"Invalid request: {refused}") from None
            raise
        check_media(body, self.media, self.generation)
        check_tool_count(body)
        return chat_prompt(body, self.generation)

    def _apply_template(self, seen: Seen) -> Reply:
        return Reply.json({"prompt": self._inspected(seen)})

    def _input_tokens(self, seen: Seen) -> Reply:
        return Reply.json({"input_tokens": len(prompt_pieces(self._inspected(seen), self.bos))})

    def _count_tokens(self, seen: Seen) -> Reply:
        """Count an Anthropic body, whose errors have an envelope of their own on newer servers.

        The older one counts the token twice that both its template and its tokenizer begin with.
        """
        if self.generation == "v0.4.2":
            body = parse_body(seen.headers.get("content-type", ""), seen.body)
            check_anthropic(body)
            prompt = self._prompt(from_anthropic(body))
            return Reply.json({"input_tokens": len(prompt_pieces(prompt, self.bos)) + self.bos})
        body = seen.json
        if not isinstance(body, dict) or not body.get("model") or not body.get("messages"):
            error = {"type": "invalid_request_error", "message": "model and messages are required"}
            return Reply.json({"type": "error", "error": error}, 400)
        prompt = chat_prompt(from_anthropic(body), self.generation)
        return Reply.json({"input_tokens": len(prompt_pieces(prompt, self.bos))})

    def _capable(self, capability: str) -> str | None:
        """The id of the model with this capability."""
        for entry in self.models or ():
            if capability in entry.get("capabilities", ()):
                return str(entry["id"])
        return None

    def _embeddings(self, seen: Seen) -> Reply:
        return self._from_worker(embeddings, seen, "embedding")

    def _native_embeddings(self, seen: Seen) -> Reply:
        return self._from_worker(native_embeddings, seen, "embedding")

    def _rerank(self, seen: Seen) -> Reply:
        return self._from_worker(rerank, seen, "rerank")

    def _from_worker(
        self, answer: Callable[[Json, str | None], Reply], seen: Seen, capability: str
    ) -> Reply:
        """Answer, unless the worker cannot: what is wrong with a request is told before."""
        body = parse_body(seen.headers.get("content-type", ""), seen.body)
        reply = answer(body, self._capable(capability))
        self._check_queue()
        if self.stuck:
            raise invalid("The request timed out.", "server_timeout", 504)
        return reply
