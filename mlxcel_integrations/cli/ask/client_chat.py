"""Chat with the client of this package: passages, a prompt and a model, without a framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...client import LLM
from ...protocol.answers.prompt_progress import PromptProgress
from ...protocol.messages import Message
from .passages import Passage
from .prompt import INSTRUCTION

__all__ = ["stream_answer"]


def stream_answer(
    base_url: str,
    find: Callable[[str], Sequence[Passage]],
    question: str,
    options: Mapping[str, Any],
    progress: Callable[[PromptProgress], object],
) -> Iterator[tuple[str, int]]:
    """Yield the pieces of an answer, each with the number of tokens so far, 0 if unknown.

    Args:
        base_url: Address of the server.
        find: Returns the passages for a question, best first.
        question: The question.
        options: Fields of the request.
        progress: Called with each report on the prompt's progress.
    """
    text = "\n\n".join(passage.text for passage in find(question))
    messages: list[Message] = [
        {"role": "system", "content": f"{INSTRUCTION}\n\n{text}"},
        {"role": "user", "content": question},
    ]
    with LLM(base_url=base_url) as llm:
        # A piece is a token, or a few that belong together.
        for count, piece in enumerate(llm.chat_stream(messages, progress=progress, **options), 1):
            yield piece, count
