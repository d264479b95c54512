"""The prompts that frameworks make of a passage and a question."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.prompts import ChatPromptTemplate
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from mlxcel_integrations.cli.ask.prompt import INSTRUCTION
from mlxcel_integrations.langchain import ChatMlxcel
from mlxcel_integrations.llama_index import Mlxcel

__all__ = ["FORMS", "Form"]

Form = Callable[[ChatMlxcel, Mlxcel, str, str], str]
"""Asks a question about a text, and returns the answer."""

LANGCHAIN = {
    "LangChain, one message": [("user", "{text}\n\n{question}")],
    "LangChain, text in the system message": [
        ("system", f"{INSTRUCTION}\n\n{{text}}"),
        ("user", "{question}"),
    ],
    "LangChain, context and answer": [
        (
            "user",
            "Answer the question from the context below. If you do not know the answer, say that "
            "you do not know.\nQuestion: {question}\nContext: {text}\nAnswer:",
        )
    ],
}


class OneText(BaseRetriever):
    """A retriever that always finds the same text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [found(self._text)]


def found(text: str) -> NodeWithScore:
    return NodeWithScore(node=TextNode(text=text), score=1.0)


def langchain(messages: list[tuple[str, str]]) -> Form:
    def ask(chat: ChatMlxcel, _llm: Mlxcel, text: str, question: str) -> str:
        chain = ChatPromptTemplate.from_messages(messages) | chat
        return str(chain.invoke({"text": text, "question": question}).content)

    return ask


def synthesizer(mode: ResponseMode) -> Form:
    def ask(_chat: ChatMlxcel, llm: Mlxcel, text: str, question: str) -> str:
        return str(
            get_response_synthesizer(llm, response_mode=mode).synthesize(question, [found(text)])
        )

    return ask


def chat_engine(_chat: ChatMlxcel, llm: Mlxcel, text: str, question: str) -> str:
    # By default, the conversation is kept in a database that nothing closes.
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    engine = ContextChatEngine.from_defaults(OneText(text), llm=llm, memory=memory)
    return str(engine.chat(question))


FORMS: dict[str, Form] = {
    **{name: langchain(messages) for name, messages in LANGCHAIN.items()},
    "LlamaIndex, query engine": synthesizer(ResponseMode.COMPACT),
    "LlamaIndex, tree_summarize": synthesizer(ResponseMode.TREE_SUMMARIZE),
    "LlamaIndex, context chat engine": chat_engine,
}
