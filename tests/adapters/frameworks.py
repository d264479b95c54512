"""Messages of both frameworks, made and translated by one interface."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

__all__ = ["FRAMEWORKS", "Framework", "Json", "LangChain", "LlamaIndex"]

Json = dict[str, Any]


class LangChain:
    """Messages of LangChain."""

    package = "langchain_core"

    def model(self, **options: Any) -> Any:
        from mlxcel_integrations.langchain import ChatMlxcel

        return ChatMlxcel(**options)

    def ask(self, llm: Any, text: str, **call: Any) -> str:
        answer: str = llm.invoke(text, **call).text
        return answer

    async def aask(self, llm: Any, text: str, **call: Any) -> str:
        answer: str = (await llm.ainvoke(text, **call)).text
        return answer

    def prompt_tokens(self, llm: Any, messages: Sequence[Any], **call: Any) -> int:
        """Return the tokens of the prompt as the usage of an answer has them."""
        counted: int = llm.invoke(messages, **call).usage_metadata["input_tokens"]
        return counted

    def count(self, llm: Any, messages: Sequence[Any], **call: Any) -> int:
        counted: int = llm.get_num_tokens_from_messages(messages, **call)
        return counted

    async def acount(self, llm: Any, messages: Sequence[Any], **call: Any) -> int:
        counted: int = await llm.aget_num_tokens_from_messages(messages, **call)
        return counted

    def system(self, text: str) -> Any:
        from langchain_core.messages import SystemMessage

        return SystemMessage(text)

    def user(self, text: str, name: str | None = None, media: Sequence[Any] = ()) -> Any:
        from langchain_core.messages import HumanMessage

        return HumanMessage([{"type": "text", "text": text}, *media] if media else text, name=name)

    def assistant(self, text: str = "", calls: Sequence[Json] = (), thinking: str = "") -> Any:
        from langchain_core.messages import AIMessage

        reasoning = {"type": "reasoning", "reasoning": thinking}
        content: Any = [reasoning, {"type": "text", "text": text}] if thinking else text
        return AIMessage(content, tool_calls=list(calls))

    def result(self, text: str, call: str) -> Any:
        from langchain_core.messages import ToolMessage

        return ToolMessage(text, tool_call_id=call)

    def media(self, kind: str, data: bytes, mime_type: str) -> Any:
        return {"type": kind, "base64": base64.b64encode(data).decode(), "mime_type": mime_type}

    def address(self, kind: str, url: str) -> Any:
        return {"type": kind, "url": url}

    def sent(self, messages: Sequence[Any], **options: bool) -> list[Json]:
        from mlxcel_integrations.langchain.messages import to_openai_messages

        return to_openai_messages(messages, **options)


class LlamaIndex:
    """Messages of LlamaIndex."""

    package = "llama_index.core"

    def model(self, **options: Any) -> Any:
        from mlxcel_integrations.llama_index import Mlxcel

        return Mlxcel(**options)

    def ask(self, llm: Any, text: str, **call: Any) -> str:
        answer: str = llm.chat([self.user(text)], **call).message.content
        return answer

    async def aask(self, llm: Any, text: str, **call: Any) -> str:
        answer: str = (await llm.achat([self.user(text)], **call)).message.content
        return answer

    def prompt_tokens(self, llm: Any, messages: Sequence[Any], **call: Any) -> int:
        """Return the tokens of the prompt as the usage of an answer has them."""
        counted: int = llm.chat(messages, **call).raw["usage"]["prompt_tokens"]
        return counted

    def count(self, llm: Any, messages: Sequence[Any], **call: Any) -> int:
        counted: int = llm.count_message_tokens(messages, **call)
        return counted

    async def acount(self, llm: Any, messages: Sequence[Any], **call: Any) -> int:
        counted: int = await llm.acount_message_tokens(messages, **call)
        return counted

    def system(self, text: str) -> Any:
        from llama_index.core.llms import ChatMessage

        return ChatMessage(text, role="system")

    def user(self, text: str, name: str | None = None, media: Sequence[Any] = ()) -> Any:
        from llama_index.core.llms import ChatMessage, TextBlock

        more = {"name": name} if name else {}
        return ChatMessage([TextBlock(text=text), *media], additional_kwargs=more)

    def assistant(self, text: str = "", calls: Sequence[Json] = (), thinking: str = "") -> Any:
        from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
        from llama_index.core.llms import ChatMessage, TextBlock

        blocks: list[Any] = [ThinkingBlock(content=thinking)] if thinking else []
        blocks += [TextBlock(text=text)] if text else []
        blocks += [
            ToolCallBlock(tool_call_id=call["id"], tool_name=call["name"], tool_kwargs=call["args"])
            for call in calls
        ]
        return ChatMessage(role="assistant", blocks=blocks)

    def result(self, text: str, call: str) -> Any:
        from llama_index.core.llms import ChatMessage

        return ChatMessage(text, role="tool", additional_kwargs={"tool_call_id": call})

    def media(self, kind: str, data: bytes, mime_type: str) -> Any:
        from llama_index.core.base.llms.types import VideoBlock
        from llama_index.core.llms import AudioBlock, ImageBlock

        if kind == "audio":
            return AudioBlock(audio=data, format=mime_type.partition("/")[2])
        if kind == "video":
            return VideoBlock(video=data, video_mimetype=mime_type)
        return ImageBlock(image=data, image_mimetype=mime_type)

    def address(self, kind: str, url: str) -> Any:
        from llama_index.core.base.llms.types import ImageBlock, VideoBlock

        return {"image": ImageBlock, "video": VideoBlock}[kind](url=url)

    def sent(self, messages: Sequence[Any], **options: bool) -> list[Json]:
        from mlxcel_integrations.llama_index.messages import to_openai_messages

        return to_openai_messages(messages, **options)


Framework = LangChain | LlamaIndex
FRAMEWORKS: list[type[Framework]] = [LangChain, LlamaIndex]
