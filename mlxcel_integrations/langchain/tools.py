"""Translation of LangChain's tools into OpenAI's: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PydanticUserError

from ..errors import MlxcelError
from ..protocol.tools.request_fields import check_choice, check_tools

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["ToolLike", "to_openai_tools", "tool_fields"]

ToolLike: TypeAlias = "Mapping[str, Any] | type | Callable[..., Any] | BaseTool"


def to_openai_tools(tools: Sequence[ToolLike], strict: bool | None = None) -> list[dict[str, Any]]:
    """Return OpenAI tools.

    Args:
        tools: Functions, Pydantic classes, TypedDicts, LangChain tools, or dictionaries.
        strict: Value of ``strict`` in the tools, which servers ignore; None leaves it out.

    Raises:
        MlxcelError: A tool cannot be expressed, or there are too many.
    """
    converted = [_to_openai_tool(index, tool, strict) for index, tool in enumerate(tools)]
    check_tools(converted)
    return converted


def _to_openai_tool(index: int, tool: ToolLike, strict: bool | None) -> dict[str, Any]:
    try:
        return convert_to_openai_tool(tool, strict=strict)
    except (PydanticUserError, *_CONVERSION_ERRORS) as error:
        name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
        raise MlxcelError(
            f"tools[{index}], {name or type(tool).__name__!r}, cannot be expressed as a tool: "
            f"{_first_line(error)}. Pass a function with annotated arguments, a Pydantic class, "
            "or a dictionary with name, description and parameters."
        ) from error


_CONVERSION_ERRORS = (ValueError, TypeError, KeyError, AttributeError, NameError)
"""Errors that LangChain raises for objects that are not tools, or lack annotations."""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def tool_fields(
    tools: Sequence[ToolLike],
    tool_choice: Any,
    parallel_tool_calls: bool | None,
    strict: bool | None,
) -> dict[str, Any]:
    """Return the fields of a request that offers tools, without those that are None.

    Raises:
        MlxcelError: As ``to_openai_tools``, or ``tool_choice`` names none of them.
    """
    converted = to_openai_tools(tools, strict)
    choice = check_choice(tool_choice, [tool["function"]["name"] for tool in converted])
    fields = {"tools": converted, "tool_choice": choice, "parallel_tool_calls": parallel_tool_calls}
    return {name: value for name, value in fields.items() if value is not None}
