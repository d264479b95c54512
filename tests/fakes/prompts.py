"""Prompts: what of a conversation the model reads."""

from __future__ import annotations

import json

from tests.fakes.answers import Generation, Json
from tests.fakes.text import BOS, pieces

MEDIA = {"image_url": "url", "video_url": "url", "input_audio": "data"}
"""The parts of a message that are no text, and where in them the medium is."""


def content_text(content: object) -> str:
    """The text of a message's content, with a placeholder for each medium."""
    if not isinstance(content, list):
        return str(content or "")
    return "".join(part.get("text") or f"<{part['type']}>" for part in content)


def prompt_pieces(text: str, bos: bool = True) -> list[str]:
    """The tokens of a prompt; a tokenizer that has a `BOS` has it once, however it is written."""
    return [BOS] * bos + pieces(text.removeprefix(BOS))


def chat_prompt(body: Json, generation: Generation) -> str:
    """Render a chat as the fake model's template does."""
    turns = [BOS]
    if body.get("tools"):
        turns.append("<|tools|> " + json.dumps(body["tools"]))
    for message in body["messages"]:
        calls = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
        turns.append(f"<|{message['role']}|> {content_text(message.get('content'))}{calls}")
    # The newest server continues a trailing assistant message instead of answering it.
    if generation == "v0.4.2" or body["messages"][-1]["role"] != "assistant":
        turns.append("<|assistant|>")
    return " ".join(turns)
