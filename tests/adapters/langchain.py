"""Models and messages of LangChain, by the interface that both frameworks have here."""

from __future__ import annotations

import base64
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

Json = dict[str, Any]
Call = Callable[..., Any]
"""The fixture that calls a method, or its asynchronous twin."""


class LangChain:
    """Models and messages of LangChain."""

    package = "langchain_core"
    histories = "tests.langchain.histories"
    chats = ("invoke", "ainvoke", "stream", "astream")
    completions = predictions = chats

    def model(self, **options: Any) -> Any:
        from mlxcel_integrations.langchain import ChatMlxcel

        return ChatMlxcel(**options)

    def completer(self, **options: Any) -> Any:
        from mlxcel_integrations.langchain import MlxcelLLM

        return MlxcelLLM(**options)

    def embedder(self, batch: int, **options: Any) -> Any:
        """Return a model of vectors that sends so many texts at once."""
        from mlxcel_integrations.langchain import MlxcelEmbeddings

        return MlxcelEmbeddings(batch_size=batch, **options)

    def embed(self, call: Call, embedder: Any, texts: list[str]) -> Any:
        return call(embedder, "embed_documents", texts)

    def embed_query(self, call: Call, embedder: Any, text: str) -> Any:
        return call(embedder, "embed_query", text)

    def ranker(self, **options: Any) -> Any:
        from mlxcel_integrations.langchain import MlxcelRerank

        return MlxcelRerank(**options)

    def rank(self, call: Call, ranker: Any, query: str, texts: list[str]) -> Any:
        from langchain_core.documents import Document

        return call(ranker, "compress_documents", [Document(text) for text in texts], query)

    def handlers(self) -> Json:
        """Return options that have a model tell what it does."""
        from langchain_core.callbacks import BaseCallbackHandler

        return {"callbacks": [BaseCallbackHandler()]}

    def whole(self, chunks: Sequence[Any]) -> Any:
        """Return the answer that came in these chunks."""
        return functools.reduce(operator.add, chunks)

    def text(self, answer: Any) -> str:
        text: str = answer if isinstance(answer, str) else answer.text
        return text

    def message_of(self, answer: Any) -> Any:
        """Return the message of an answer in a chat."""
        return answer

    def thinking(self, answer: Any) -> str:
        block, _ = answer.content_blocks
        assert "reasoning" == block["type"]
        thinking: str = block["reasoning"]
        assert thinking == answer.additional_kwargs["reasoning_content"]
        return thinking

    def with_tools(
        self, llm: Any, method: str, tools: Sequence[Any], text: str, **call: Any
    ) -> Any:
        """Return what a method returns where the model may call tools."""
        return getattr(llm.bind_tools(tools, **call), method)(text)

    def predict(self, llm: Any, method: str, kind: type) -> Any:
        """Return what a method returns where the answer is an object."""
        return getattr(llm.with_structured_output(kind), method)("Which one?")

    def calls(self, answer: Any) -> list[tuple[str, Json]]:
        return [(call["name"], call["args"]) for call in answer.tool_calls]

    def finish_reason(self, answer: Any) -> str | None:
        reason: str | None = answer.response_metadata.get("finish_reason")
        return reason

    def has_usage(self, answer: Any) -> bool:
        return answer.usage_metadata is not None

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

    def call_of(self, result: Any) -> str:
        """Return the id of the call that has this result."""
        call: str = result.tool_call_id
        return call

    def function_call(self, name: str, arguments: str) -> Any:
        """Return a call in OpenAI's oldest form."""
        from langchain_core.messages import AIMessage

        call = {"name": name, "arguments": arguments}
        return AIMessage("", additional_kwargs={"function_call": call})

    def function_result(self, text: str, name: str) -> Any:
        """Return the result of such a call."""
        from langchain_core.messages import FunctionMessage

        return FunctionMessage(text, name=name)

    def media(self, kind: str, data: bytes, mime_type: str) -> Any:
        return {"type": kind, "base64": base64.b64encode(data).decode(), "mime_type": mime_type}

    def address(self, kind: str, url: str) -> Any:
        return {"type": kind, "url": url}

    def sent(self, messages: Sequence[Any], **options: bool) -> list[Json]:
        from mlxcel_integrations.langchain.messages import to_openai_messages

        return to_openai_messages(messages, **options)
