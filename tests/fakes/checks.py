"""What the fake server refuses: the checks of a request's body, for both generations.

A wrong type is a 422 with a plain text, a wrong value a 400 with the JSON envelope.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from tests.fakes.answers import Generation, Json, Kind
from tests.fakes.prompts import MEDIA
from tests.fakes.replies import Reply
from tests.fakes.schemas import compile_error, requested_schema
from tests.fakes.wire import dumps


class Refused(Exception):
    """The request is answered with an error reply; of a schema, more is logged."""

    def __init__(self, reply: Reply, reason: str, logged: str | None = None) -> None:
        super().__init__(reason)
        self.reply = reply
        self.logged = logged


def unprocessable(reason: str) -> Refused:
    text = f"Failed to deserialize the JSON body into the target type: {reason}"
    return Refused(Reply.plain(422, text), reason)


def invalid(reason: str, kind: str = "invalid_request_error", status: int = 400) -> Refused:
    return Refused(Reply.error(status, reason, kind), reason)


def parse_body(content_type: str, body: bytes) -> Json:
    """Read a JSON object as the server's framework does; its refusals are plain text."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        text = "Expected request with `Content-Type: application/json`"
        raise Refused(Reply.plain(415, text), text)
    twice: set[str] = set()

    def unique(pairs: list[tuple[str, Any]]) -> Json:
        names = [name for name, _ in pairs]
        twice.clear()  # the outermost object comes last
        twice.update(name for name in names if names.count(name) > 1)
        return dict(pairs)

    try:
        value = json.loads(body, parse_constant=reject_constant, object_pairs_hook=unique)
        dumps(value)  # half of a character, escaped, is none
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        text = f"Failed to parse the request body as JSON: {error}"
        raise Refused(Reply.plain(400, text), text) from None
    if not isinstance(value, dict):
        raise unprocessable("invalid type: expected a map")
    if twice & (SAMPLING.keys() | CHAT.keys() | COMPLETION.keys()):
        raise unprocessable(f"duplicate field `{sorted(twice)[0]}`")
    return value


def reject_constant(name: str) -> object:
    raise ValueError(f"expected value, found {name}")


def member(value: object, name: str) -> Any:
    """The named member of an object; None where there is no object or no such member."""
    return value.get(name) if isinstance(value, dict) else None


Check = Callable[[Any], bool]


def is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_uint(value: Any) -> bool:
    return is_int(value) and value >= 0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_string(value: Any) -> bool:
    return isinstance(value, str)


def is_object(value: Any) -> bool:
    return isinstance(value, dict)


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def is_strings(value: Any) -> bool:
    return is_list(value) and all(map(is_string, value))


def is_uints(value: Any) -> bool:
    return is_list(value) and all(map(is_uint, value))


def fields(check: Check, names: str) -> dict[str, Check]:
    return dict.fromkeys(names.split(), check)


SAMPLING: dict[str, Check] = {
    **fields(is_string, "model user prompt_cache_key"),
    **fields(is_bool, "stream"),
    "stream_options": lambda value: is_object(value) and is_bool(value.get("include_usage", True)),
    **fields(is_uint, "max_tokens top_k seed repetition_context_size dry_allowed_length"),
    **fields(is_uint, "max_pattern_size min_pattern_size min_count"),
    **fields(is_int, "dry_penalty_last_n"),
    **fields(is_int, "thinking_budget_tokens thinking_token_budget thinking_budget"),
    **fields(is_number, "temperature top_p min_p repetition_penalty frequency_penalty"),
    **fields(is_number, "presence_penalty dry_multiplier dry_base xtc_probability xtc_threshold"),
    "logit_bias": lambda value: is_object(value) and all(map(is_number, value.values())),
    "stop": is_strings,
    "dry_sequence_breakers": is_uints,
}
NEWEST: dict[str, Check] = {
    **fields(is_uint, "n_predict max_completion_tokens repeat_last_n"),
    **fields(is_int, "seed reasoning_budget_tokens"),
    **fields(is_number, "repeat_penalty top_n_sigma typical_p"),
    **fields(is_bool, "cache_prompt echo reasoning_control"),
    "reasoning_effort": is_string,
    "stop": lambda value: is_string(value) or is_strings(value),
}
# Names of one field; two of them are a duplicate.
ALIASES = (
    {"max_tokens", "n_predict", "max_completion_tokens"},
    {"repetition_penalty", "repeat_penalty"},
    {"repetition_context_size", "repeat_last_n"},
    {"thinking_budget_tokens", "reasoning_budget_tokens"},
)
CHAT: dict[str, Check] = {
    **fields(is_list, "messages tools"),
    **fields(is_bool, "logprobs parallel_tool_calls"),
    **fields(is_uint, "top_logprobs"),
    "chat_template_kwargs": is_object,
    "tool_choice": lambda value: is_string(value) or is_string(named_tool(value)),
}
COMPLETION: dict[str, Check] = {"prompt": is_string, "logprobs": is_uint}

# Inclusive bounds; outside is a 400.
RANGES: dict[str, tuple[float, float]] = {"xtc_probability": (0, 1), "xtc_threshold": (0, 0.5)}
NEWEST_RANGES: dict[str, tuple[float, float]] = {
    "top_n_sigma": (0, math.inf),
    "typical_p": (math.ulp(0), 1),
}


def check_types(body: Json, checks: dict[str, Check], required: Sequence[str]) -> None:
    for name in required:
        if name not in body:
            raise unprocessable(f"missing field `{name}`")
        if body[name] is None:
            raise unprocessable(f"{name}: invalid type: null")
    for name, check in checks.items():
        if body.get(name) is not None and not check(body[name]):
            raise unprocessable(f"{name}: invalid value: {body[name]!r:.80}")


def check_sampling(body: Json, generation: Generation, checks: dict[str, Check]) -> None:
    """Refuse wrong types of the fields of a generation, and two names of one field."""
    newest = generation == "newest"
    if not newest and "stream" in body and body["stream"] is None:
        raise unprocessable("stream: invalid type: null, expected a boolean")
    check_types(body, SAMPLING | (NEWEST if newest else {}) | checks, ())
    for names in ALIASES if newest else ():
        if len(body.keys() & names) > 1:
            raise unprocessable(f"duplicate field: {sorted(body.keys() & names)}")


def check_chat(body: Json, generation: Generation) -> None:
    """Refuse what the chat route refuses: types with 422, then values with 400."""
    check_types(body, {"model": is_string}, ["model"])
    check_conversation(body, generation)
    check_ranges(body, generation)
    check_response_format(body, generation)
    check_tools(body, generation)
    check_thinking(body, generation)
    if (body.get("top_logprobs") or 0) > 20:
        raise invalid("top_logprobs must be between 0 and 20")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise invalid("top_logprobs requires logprobs to be set to true")


def check_conversation(body: Json, generation: Generation) -> None:
    """Refuse what has not the form of a chat, or says nothing."""
    check_types(body, {}, ["messages"])
    check_sampling(body, generation, CHAT)
    for message in body["messages"]:
        check_message(message, generation)
    for tool in body.get("tools") or []:
        if not is_string(member(tool, "type")) or not is_string(named_tool(tool)):
            raise unprocessable("tools: missing field `type`, `function` or its `name`")
    if not any(map(has_content, body["messages"])):
        raise invalid(EMPTY)


def named_tool(value: Any) -> Any:
    """The name in a tool or in the choice of one; None where there is none."""
    return member(member(value, "function"), "name")


def check_message(message: Any, generation: Generation) -> None:
    if not is_object(message):
        raise unprocessable("messages: expected a map")
    if message.get("role") not in ("system", "user", "assistant", "tool"):
        raise unprocessable(f"messages.role: unknown variant `{message.get('role')}`")
    check_types(message, fields(is_string, "name tool_call_id reasoning reasoning_content"), ())
    content = message.get("content")
    if not (content is None or is_string(content) or is_list(content)):
        raise unprocessable("messages.content: did not match any variant")
    for part in content if is_list(content) else ():
        check_part(part)
    for call in message.get("tool_calls") or ():
        function = member(call, "function")
        texts = [member(call, "id"), member(call, "type")]
        texts += [member(function, "name"), member(function, "arguments")]
        if not all(map(is_string, texts)):
            raise unprocessable("messages.tool_calls: missing field")
    thoughts = [message[name] for name in ("reasoning", "reasoning_content") if name in message]
    if len(thoughts) == 2 and (generation == "v0.4.2" or thoughts[0] != thoughts[1]):
        raise unprocessable("duplicate field `reasoning_content`")


def check_part(part: Any) -> None:
    kind = member(part, "type")
    if kind == "text" and is_string(part.get("text")):
        return
    if kind not in MEDIA:
        raise unprocessable(f"messages.content: unknown part `{kind}`")
    if not is_string(member(part.get(kind), MEDIA[kind])):
        raise unprocessable(f"messages.content: invalid `{kind}`")


def has_content(message: Json) -> bool:
    if any(message.get(name) for name in ("tool_calls", "reasoning", "reasoning_content")):
        return True
    content = message.get("content")
    if not isinstance(content, list):
        return bool((content or "").strip())
    return any(map(has_substance, content))


def has_substance(part: Json) -> bool:
    kind = part["type"]
    return bool(part["text"].strip() if kind == "text" else part[kind][MEDIA[kind]])


def check_ranges(body: Json, generation: Generation) -> None:
    for name, (least, most) in (RANGES | (NEWEST_RANGES if generation == "newest" else {})).items():
        if body.get(name) is not None and not least <= body[name] <= most:
            raise invalid(f"{name} must be between {float(least)} and {float(most)}")


def check_tools(body: Json, generation: Generation) -> None:
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    check_tool_count(body)
    if is_string(choice) and choice not in ("auto", "none", "required"):
        known = "Must be 'auto', 'none', 'required', or a function object."
        raise invalid(f"Invalid tool_choice value: '{choice}'. {known}")
    if generation == "v0.4.2" or choice in (None, "auto", "none"):
        return
    if is_object(choice) and named_tool(choice) not in map(named_tool, tools):
        raise invalid("tool_choice names a tool that is not declared")
    if not tools:
        raise invalid("tool_choice 'required' needs tools")
    if requested_schema(body) is not None:
        raise invalid("response_format cannot be combined with a forced tool_choice")


EMPTY = "Request must include at least one non-empty message content or media input."


def check_anthropic(body: Json) -> None:
    """Refuse what is no conversation of Anthropic's; one that says nothing is counted."""
    check_types(body, {"model": is_string, "messages": is_list}, ["model", "messages"])
    for message in body["messages"]:
        if member(message, "role") not in ("user", "assistant", "system"):
            raise unprocessable(f"messages.role: unknown variant `{member(message, 'role')}`")
        if not is_string(message.get("content")) and not is_list(message.get("content")):
            raise unprocessable("messages.content: did not match any variant")


def check_tool_count(body: Json) -> None:
    count = len(body.get("tools") or [])
    if count > 128:
        raise invalid(f"Too many tools: {count}. Maximum allowed is 128.")


SOFT_TOKENS = (70, 140, 280, 560, 1120)
DETAILS = {"low": SOFT_TOKENS[0], "high": SOFT_TOKENS[-1], "auto": None}


def check_media(body: Json, allowed: set[str], generation: Generation) -> None:
    """Refuse what the model cannot read, and what is more or other than a server takes."""
    contents = [message.get("content") for message in body["messages"]]
    parts = [part for content in contents if is_list(content) for part in content]
    kinds = [part["type"] for part in parts if part["type"] != "text"]
    # The older server looks at videos alone.
    looked_at = kinds if generation == "newest" else set(kinds) & {"video_url"}
    for kind in looked_at:
        if kind not in allowed:
            raise invalid(f"{kind.split('_')[kind == 'input_audio']} input is not supported")
    if "video_url" in kinds:
        raise invalid("video_url: no folder is allowed by MLXCEL_VIDEO_DIR_ALLOWLIST")
    if kinds.count("image_url") > 16 or kinds.count("input_audio") > 16:
        raise invalid("at most 16 images and 16 sounds are allowed")
    budgets = {soft_tokens(part["image_url"]) for part in parts if part["type"] == "image_url"}
    if len(budgets - {None}) > 1:
        raise invalid("conflicting image soft-token budgets in one request")


def soft_tokens(image: Json) -> int | None:
    """How many tokens an image is to have; None leaves it to the model."""
    asked = image.get("max_soft_tokens")
    if asked is not None and asked not in SOFT_TOKENS:
        raise invalid(f"max_soft_tokens must be one of {SOFT_TOKENS}")
    detail = image.get("detail") or "auto"
    if detail not in DETAILS:
        raise invalid(f"image_url.detail must be one of {list(DETAILS)}")
    return asked or DETAILS[detail]


def check_thinking(body: Json, generation: Generation) -> None:
    names = ["thinking_budget_tokens", "thinking_token_budget", "thinking_budget"]
    if generation == "newest":
        names.insert(0, "reasoning_budget_tokens")
    budget = next((body[name] for name in names if body.get(name) is not None), -1)
    if budget < -1:
        values = "use -1 for unlimited, 0 for immediate end, or a positive cap"
        raise invalid(f"thinking_budget_tokens must be >= -1 (got {budget}); {values}")
    limit = body.get("max_tokens")
    if limit is not None and budget > limit:
        raise invalid(f"thinking_budget_tokens ({budget}) must be <= max_tokens ({limit})")


def check_response_format(body: Json, generation: Generation) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    if not is_object(wanted):
        raise unusable("response_format must be an object")
    kind = wanted.get("type")
    if kind == "text" or (generation == "v0.4.2" and not is_string(kind)):
        return
    if kind == "json_object":
        instead = 'supply type="json_schema" with a schema'
        raise unusable(f'response_format type "json_object" is not supported; {instead}')
    if kind != "json_schema":
        raise unusable(f'unsupported response_format type: "{kind}"')
    if not is_object(wanted.get("json_schema")):
        instead = 'requires a json_schema object (try {"json_schema": {"schema": {...}}})'
        raise unusable(f'response_format.type == "json_schema" {instead}')
    if "schema" not in wanted["json_schema"]:
        raise unusable("response_format.json_schema must include a schema field")
    check_schema(wanted["json_schema"]["schema"], generation)


def unusable(reason: str) -> Refused:
    return invalid(f"invalid response_format: {reason}")


def check_schema(schema: Any, generation: Generation) -> None:
    """Refuse a schema that is too large, or that the grammar of the older server cannot say."""
    if generation == "newest" and not is_object(schema):
        raise invalid("response_format.json_schema.schema is required")
    text = dumps(schema)
    for measure, value, limit in (
        ("serialised size", len(text), 64 * 1024),
        ("nesting depth", nesting(schema), 32),
        ("$ref count", text.count(b'"$ref"'), 64),
    ):
        if value > limit:
            unit = " bytes" if measure == "serialised size" else ""
            excess = f"schema {measure} {value}{unit} exceeds limit {limit}{unit}"
            raise invalid(f"response_format schema too large: {excess}")
    problem = compile_error(schema) if generation == "v0.4.2" else None
    if problem is not None:
        reason = "invalid JSON schema for response_format: schema compilation failed"
        raise Refused(Reply.error(400, reason), reason, problem)


def nesting(value: object) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(map(nesting, inner), default=0) if isinstance(inner, list) else 0


def check_completion(body: Json, generation: Generation) -> None:
    check_types(body, COMPLETION, ["model", "prompt"])
    check_sampling(body, generation, COMPLETION)
    check_ranges(body, generation)
    check_thinking(body, generation)
    check_response_format(body, generation)
    if (body.get("logprobs") or 0) > 5:
        raise invalid("logprobs must be between 0 and 5")
    if body["prompt"] and not body["prompt"].strip():
        raise invalid(EMPTY)


def check_native(body: Json, generation: Generation) -> None:
    newest = generation == "newest"
    checks = SAMPLING | (NEWEST if newest else {})
    limit = is_int if newest else is_uint
    check_types(body, checks | {"n_predict": limit, "prompt": is_string}, ["prompt"])
    if body.get("response_format") not in (None, {"type": "text"}):
        other = "use /v1/chat/completions for structured-output / JSON-Schema constrained decoding"
        raise invalid(f"response_format is not supported on /completion; {other}")


def check_infill(body: Json, generation: Generation) -> None:
    texts = fields(is_string, "input_prefix input_suffix")
    check_types(body, SAMPLING | NEWEST | {"n_predict": is_int} | texts, list(texts))


CHECKS: dict[Kind | Literal["infill"], Callable[[Json, Generation], None]] = {
    "chat": check_chat,
    "completion": check_completion,
    "native": check_native,
    "infill": check_infill,
}
