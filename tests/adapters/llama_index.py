"""Models and messages of LlamaIndex, by the interface that both frameworks have here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Json = dict[str, Any]
Call = Callable[..., Any]
"""The fixture that calls a method, or its asynchronous twin."""


class LlamaIndex:
    """Models and messages of LlamaIndex."""

    package = "llama_index.core"
    histories = "tests.llama_index.histories"
    chats = ("chat", "achat", "stream_chat", "astream_chat")
    predictions = tuple(
        f"{method}structured_predict" for method in ("", "a", "stream_", "astream_")
    )
    completions = ("complete", "acomplete", "stream_complete", "astream_complete")

    def model(self, **options: Any) -> Any:
        from mlxcel_integrations.llama_index import Mlxcel

        return Mlxcel(**options)

    completer = model

    def embedder(self, batch: int, **options: Any) -> Any:
        """Return a model of vectors that sends so many texts at once."""
        from mlxcel_integrations.llama_index import MlxcelEmbedding

        return MlxcelEmbedding(embed_batch_size=batch, **options)

    def embed(self, call: Call, embedder: Any, texts: list[str]) -> Any:
        return call(embedder, "get_text_embedding_batch", texts)

    def embed_query(self, call: Call, embedder: Any, text: str) -> Any:
        return call(embedder, "get_query_embedding", text)

    def ranker(self, **options: Any) -> Any:
        from mlxcel_integrations.llama_index import MlxcelRerank

        return MlxcelRerank(**options)

    def rank(self, call: Call, ranker: Any, query: str, texts: list[str]) -> Any:
        from llama_index.core.schema import NodeWithScore, TextNode

        nodes = [NodeWithScore(node=TextNode(text=text), score=0.1) for text in texts]
        return call(ranker, "postprocess_nodes", nodes, query_str=query)

    def handlers(self) -> Json:
        """Return options that have a model tell what it does."""
        from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler

        return {"callback_manager": CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])}

    def whole(self, chunks: Sequence[Any]) -> Any:
        """Return the answer that came in these chunks."""
        return chunks[-1]

    def text(self, answer: Any) -> str:
        text: str = answer.message.content if hasattr(answer, "message") else answer.text
        return text

    def message_of(self, answer: Any) -> Any:
        """Return the message of an answer in a chat."""
        return answer.message

    def thinking(self, answer: Any) -> str:
        block, _ = answer.message.blocks
        assert "thinking" == block.block_type
        thinking: str = block.content
        return thinking

    def with_tools(
        self, llm: Any, method: str, tools: Sequence[Any], text: str, **call: Any
    ) -> Any:
        """Return what a method returns where the model may call tools."""
        from llama_index.core.tools import FunctionTool

        made = [FunctionTool.from_defaults(tool) for tool in tools]
        return getattr(llm, f"{method}_with_tools")(made, text, **call)

    def predict(self, llm: Any, method: str, kind: type) -> Any:
        """Return what a method returns where the answer is an object."""
        from llama_index.core import PromptTemplate

        return getattr(llm, method)(kind, PromptTemplate("Which one?"))

    def calls(self, answer: Any) -> list[tuple[str, Json]]:
        return [
            (block.tool_name, block.tool_kwargs)
            for block in answer.message.blocks
            if block.block_type == "tool_call"
        ]

    def finish_reason(self, answer: Any) -> str | None:
        reason: str | None = answer.raw.get("finish_reason")
        return reason

    def has_usage(self, answer: Any) -> bool:
        return answer.raw.get("usage") is not None

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

    def call_of(self, result: Any) -> str:
        """Return the id of the call that has this result."""
        call: str = result.additional_kwargs["tool_call_id"]
        return call

    def function_call(self, name: str, arguments: str) -> Any:
        """Return a call in OpenAI's oldest form."""
        from llama_index.core.llms import ChatMessage

        call = {"name": name, "arguments": arguments}
        return ChatMessage(role="assistant", additional_kwargs={"function_call": call})

    def function_result(self, text: str, name: str) -> Any:
        """Return the result of such a call."""
        from llama_index.core.llms import ChatMessage

        return ChatMessage(text, role="function", additional_kwargs={"name": name})

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
