"""Tools in requests, and tool calls forced by a JSON schema.

mlxcel up to v0.4.2 does not enforce a ``tool_choice``, and later versions do for some models only;
llama.cpp lets text stand before a call, which may then never come. All servers enforce a JSON
schema. So a forced call is requested as JSON of the form ``{"name": ..., "arguments": ...}``, or
several as a list of these, and turned into tool calls. The same is done for tools together with a
schema for the answer, which would otherwise keep the model from calling any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import MlxcelError
from ..body import to_json
from ..sampling import without_thinking
from .call_schemas import CallSchemas, any_of, list_of

if TYPE_CHECKING:
    from ..features import ServerFeatures

__all__ = [
    "FREE_CHOICES",
    "CallsInJson",
    "Tools",
    "answer_schema",
    "check_choice",
    "check_tools",
    "named",
    "take_tools",
    "with_tools",
]

MAX_TOOLS = 128
FREE_CHOICES = (None, "auto", "none")

Tools = Sequence[Mapping[str, Any]]


def check_tools(tools: Tools) -> list[str]:
    """Return the names of tools, all of which every server version accepts.

    Raises:
        MlxcelError: They are not a list, one is not an OpenAI function tool, or there are too many.
    """
    if not isinstance(tools, list | tuple):
        raise MlxcelError(f"tools= must be a list of OpenAI tools, not {type(tools).__name__}.")
    if len(tools) > MAX_TOOLS:
        raise MlxcelError(
            f"There are {len(tools)} tools, but a server accepts at most {MAX_TOOLS}: pass only "
            "those that this request needs."
        )
    return [_checked_name(index, tool) for index, tool in enumerate(tools)]


def _checked_name(index: int, tool: Mapping[str, Any]) -> str:
    if not isinstance(tool, Mapping):
        raise MlxcelError(
            f"tools[{index}] is {type(tool).__name__}, not a dictionary such as "
            '{"type": "function", "function": {"name": "...", "parameters": {...}}}.'
        )
    if tool.get("type") != "function":
        raise MlxcelError(
            f"tools[{index}] has the type {tool.get('type')!r}: a local model can only call "
            "functions of this program, of type 'function'."
        )
    function = tool.get("function")
    if not isinstance(function, Mapping):
        function = {}
    name = function.get("name")
    if not (name and isinstance(name, str)):
        raise MlxcelError(
            f'tools[{index}] has no function with a name: add "function": {{"name": ...}}.'
        )
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise MlxcelError(
            f"tools[{index}], {name!r}: the parameters are not the JSON schema of an object, such "
            'as {"type": "object", "properties": {...}}.'
        )
    try:
        to_json(tool)
    except MlxcelError as error:
        raise MlxcelError(f"tools[{index}], {name!r}, cannot be sent: {error}") from None
    return name


def check_choice(choice: Any, names: Sequence[str]) -> Any:
    """Return a ``tool_choice`` in OpenAI's form.

    Args:
        choice: None, ``"auto"``, ``"none"``, ``"required"`` or ``"any"`` or True, the name of a
            tool, or a dictionary that names one.
        names: The names of the tools.

    Raises:
        MlxcelError: It names no tool.
    """
    if choice in FREE_CHOICES:
        return choice
    if choice is False:
        return None
    if choice is True or choice in ("any", "required"):
        name = None
    elif isinstance(choice, Mapping):
        name = (choice.get("function") or choice).get("name")
    else:
        name = choice
    if names and name is None and not isinstance(choice, Mapping):
        return "required"
    if name not in names:
        known = ", ".join(names) or "none"
        raise MlxcelError(f"tool_choice={choice!r}: there is no such tool. The tools are: {known}.")
    return {"type": "function", "function": {"name": name}}


def take_tools(fields: dict[str, Any]) -> tuple[Tools, Any]:
    """Remove the tools from the fields of a request, and return them with the ``tool_choice``.

    Raises:
        MlxcelError: No server accepts a tool, two have one name, or the choice names none.
    """
    tools = fields.pop("tools", None) or []
    names = check_tools(tools)
    for name in names:
        if names.count(name) > 1:
            raise MlxcelError(
                f"Two tools are named {name!r}, so calls would be ambiguous: rename one."
            )
    return tools, check_choice(fields.pop("tool_choice", None), names)


class CallsInJson(NamedTuple):
    """The calls that an answer may have as JSON.

    Attributes:
        names: Names of the tools that may be called.
        several: Whether the answer is a list of calls.
        required: Whether the answer must be a call.
    """

    names: Sequence[str]
    several: bool
    required: bool


def with_tools(
    sampling: Mapping[str, Any], features: ServerFeatures | None
) -> tuple[dict[str, Any], CallsInJson | None]:
    """Return fields that make the server respect ``tool_choice``, and the calls that come as JSON.

    Args:
        sampling: The fields of a request, with ``tools``.
        features: The server's features, None if unknown.

    Returns:
        The fields, and the calls that come as JSON, usually none.

    Raises:
        MlxcelError: No server accepts a tool, or two have one name.
    """
    fields = dict(sampling)
    tools, choice = take_tools(fields)
    if not tools:
        fields.pop("parallel_tool_calls", None)
        return fields, None
    fields["tools"] = tools
    # All tools stay in the prompt, whose beginning servers would otherwise compute anew.
    callable_tools = tools
    is_llama_cpp = features is not None and features.engine == "llama.cpp"
    # mlxcel itself reads one call in JSON, but seldom a list of them.
    several = choice == "required" and is_llama_cpp and bool(fields.get("parallel_tool_calls"))
    if isinstance(choice, Mapping):
        callable_tools = named(tools, choice)
        choice = "required"
    answer = None if choice == "required" else answer_schema(fields)
    if choice == "none" or (choice in FREE_CHOICES and answer is None):
        return fields | {"tool_choice": choice}, None
    if choice == "required" and is_llama_cpp:
        # It would also allow calls in the model's own form.
        fields["tool_choice"] = "none"
    fields["response_format"] = _calls_format(callable_tools, answer, several=several)
    names = [tool["function"]["name"] for tool in callable_tools]
    return without_thinking(fields), CallsInJson(names, several, required=choice == "required")


def named(tools: Tools, choice: Mapping[str, Any]) -> Tools:
    """Return the tool that a ``tool_choice`` names, in a list."""
    return [tool for tool in tools if tool["function"]["name"] == choice["function"]["name"]]


def answer_schema(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of the answer, None without one."""
    wanted = fields.get("response_format") or {}
    schema: Mapping[str, Any] | None = (wanted.get("json_schema") or {}).get("schema")
    return schema


def _calls_format(
    tools: Tools, answer: Mapping[str, Any] | None, *, several: bool
) -> dict[str, Any]:
    """Return the ``response_format`` of calls of the tools, or of an answer."""
    schemas = CallSchemas()
    forms = [schemas.call(tool["function"]) for tool in tools]
    if several:
        forms = [list_of(any_of(forms))]
    if answer is not None:
        forms.append(schemas.placed(answer))
    return schemas.response_format(any_of(forms))
