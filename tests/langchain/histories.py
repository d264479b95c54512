"""Answers of other models, as their packages for LangChain write them.

Each thinks, says something, and calls a tool twice. The shapes are those of langchain-openai 1.7,
langchain-anthropic 1.7, langchain-google-genai 4.4, langchain-mistralai 1.1, langchain-aws 1.9,
langchain-ollama 1.1 and of langchain-core 1.8, whose ``output_version="v1"`` translates them.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

__all__ = ["ANSWERS", "FUNCTIONS", "THOUGHTLESS", "results"]

Json = dict[str, Any]

CITIES = {"call_1": "Paris", "call_2": "Rome"}
NAME = "get_weather"
CALLS = [{"name": NAME, "args": {"city": city}, "id": call} for call, city in CITIES.items()]
FUNCTIONS: list[Json] = [
    {
        "id": call,
        "type": "function",
        "function": {"name": NAME, "arguments": f'{{"city": "{city}"}}'},
    }
    for call, city in CITIES.items()
]


def answer(content: Any, provider: str | None = None, v1: bool = False, **more: Any) -> AIMessage:
    metadata = {"model_provider": provider} if provider else {}
    if v1:
        metadata["output_version"] = "v1"
    return AIMessage(content, tool_calls=CALLS, response_metadata=metadata, additional_kwargs=more)


TEXT = {"type": "text", "text": "I look."}
REASONING = {"type": "reasoning", "reasoning": "Two cities."}
TOOL_CALLS: list[Json] = [{"type": "tool_call", **call} for call in CALLS]
TOOL_USES: list[Json] = [
    {"type": "tool_use", "name": NAME, "input": {"city": city}, "id": call}
    for call, city in CITIES.items()
]

# ------------------------------------------------------------------- OpenAI

SEARCH = {"type": "search", "query": "weather"}
SUMMARY = [{"text": "Two cities.", "type": "summary_text"}]
CITED = {
    **TEXT,
    "annotations": [
        {
            "end_index": 3,
            "start_index": 0,
            "title": "x",
            "type": "url_citation",
            "url": "https://x.org",
        }
    ],
}
OPENAI: dict[str, AIMessage] = {
    "ChatOpenAI, chat completions": answer("I look.", refusal=None),
    "ChatOpenAI, chat completions of another server": answer(
        "I look.", "openai", reasoning_content="Two cities.", tool_calls=FUNCTIONS
    ),
    "ChatOpenAI, responses, v0": answer(
        [CITED],
        "openai",
        reasoning={
            "id": "rs_1",
            "summary": SUMMARY,
            "type": "reasoning",
            "encrypted_content": "gAAA",
        },
        tool_outputs=[
            {"id": "ws_1", "action": SEARCH, "status": "completed", "type": "web_search_call"}
        ],
        __openai_function_call_ids__={"call_1": "fc_1", "call_2": "fc_2"},
    ),
    "ChatOpenAI, responses, responses/v1": answer(
        [
            {"id": "rs_1", "summary": SUMMARY, "type": "reasoning", "encrypted_content": "gAAA"},
            {"id": "ws_1", "action": SEARCH, "status": "completed", "type": "web_search_call"},
            {**CITED, "id": "msg_1"},
            *(
                {
                    "arguments": f'{{"city": "{city}"}}',
                    "call_id": call,
                    "name": NAME,
                    "type": "function_call",
                    "id": f"fc_{call}",
                    "status": "completed",
                }
                for call, city in CITIES.items()
            ),
        ],
        "openai",
    ),
    "ChatOpenAI, responses, v1": answer(
        [
            {"id": "rs_1", **REASONING, "encrypted_content": "gAAA"},
            {"type": "server_tool_call", "name": "web_search", "args": SEARCH, "id": "ws_1"},
            {"type": "server_tool_result", "tool_call_id": "ws_1", "status": "success"},
            {
                **TEXT,
                "annotations": [{"type": "citation", "title": "x", "url": "https://x.org"}],
                "id": "msg_1",
            },
            *({**call, "extras": {"status": "completed"}} for call in TOOL_CALLS),
        ],
        "openai",
        v1=True,
    ),
}

# ------------------------------------------------------------------- Anthropic

FOUND = {
    "encrypted_content": "E",
    "page_age": None,
    "title": "x",
    "type": "web_search_result",
    "url": "https://x.org",
}
ANTHROPIC: dict[str, AIMessage] = {
    "ChatAnthropic": answer(
        [
            {"signature": "Eq", "thinking": "Two cities.", "type": "thinking"},
            {"data": "Em", "type": "redacted_thinking"},
            {
                "id": "srv_1",
                "input": {"query": "weather"},
                "name": "web_search",
                "type": "server_tool_use",
            },
            {"content": [FOUND], "tool_use_id": "srv_1", "type": "web_search_tool_result"},
            {"text": "I ", "type": "text"},
            {
                "citations": [{"cited_text": "c", "type": "web_search_result_location"}],
                "text": "look.",
                "type": "text",
            },
            *({**use, "toolset_name": None} for use in TOOL_USES),
        ],
        "anthropic",
    ),
    "ChatAnthropic, streamed": answer(
        [
            {"signature": "Eq", "thinking": "Two cities.", "type": "thinking", "index": 0},
            {"text": "I look.", "type": "text", "index": 1},
            *(
                {
                    "id": call,
                    "input": {},
                    "name": NAME,
                    "type": "tool_use",
                    "index": index,
                    "partial_json": f'{{"city": "{city}"}}',
                }
                for index, (call, city) in enumerate(CITIES.items(), 2)
            ),
        ],
        "anthropic",
    ),
    "ChatAnthropic, v1": answer(
        [
            {**REASONING, "extras": {"signature": "Eq"}},
            {"type": "non_standard", "value": {"data": "Em", "type": "redacted_thinking"}},
            {"type": "server_tool_call", "name": "web_search", "args": SEARCH, "id": "srv_1"},
            {
                "type": "server_tool_result",
                "tool_call_id": "srv_1",
                "status": "success",
                "extras": {"block_type": "web_search_tool_result"},
                "output": [FOUND],
            },
            {"type": "text", "text": "I "},
            {
                "type": "text",
                "text": "look.",
                "annotations": [{"type": "citation", "cited_text": "c"}],
            },
            *TOOL_CALLS,
        ],
        "anthropic",
        v1=True,
    ),
}

# ------------------------------------------------------------------- Google

LAST_CALL = {"name": NAME, "arguments": '{"city": "Rome"}'}
GOOGLE: dict[str, AIMessage] = {
    "ChatGoogleGenerativeAI": answer(
        [
            {"type": "thinking", "thinking": "Two cities.", "signature": "AAAA"},
            {
                "type": "executable_code",
                "executable_code": "print(1)",
                "language": "PYTHON",
                "id": "code_1",
            },
            {
                "type": "code_execution_result",
                "code_execution_result": "1",
                "outcome": 1,
                "tool_call_id": "",
            },
            {**TEXT, "extras": {"signature": "AAAA"}},
        ],
        "google_genai",
        function_call=LAST_CALL,
    ),
    "ChatGoogleGenerativeAI, streamed": answer(
        [
            {"type": "thinking", "thinking": "Two "},
            {"type": "thinking", "thinking": "cities."},
            "I ",
            "look.",
        ],
        "google_genai",
        function_call=LAST_CALL,
    ),
    "ChatGoogleGenerativeAI, v1": answer(
        [
            {**REASONING, "extras": {"signature": "AAAA"}},
            {
                "type": "server_tool_call",
                "name": "code_interpreter",
                "args": {"code": "print(1)", "language": "PYTHON"},
                "id": "code_1",
            },
            {
                "type": "server_tool_result",
                "tool_call_id": "",
                "status": "success",
                "output": "1",
                "extras": {"block_type": "code_execution_result", "outcome": 1},
            },
            TEXT,
            *TOOL_CALLS,
        ],
        "google_genai",
        v1=True,
        function_call=LAST_CALL,
    ),
}

# ------------------------------------------------------------------- Mistral, Bedrock, Ollama

OTHERS: dict[str, AIMessage] = {
    "ChatMistralAI": answer(
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Two cities."}]},
            TEXT,
            {"type": "text", "text": "", "reference": {"reference_ids": [1]}},
        ],
        "mistralai",
        tool_calls=FUNCTIONS,
    ),
    "ChatMistralAI, v1": answer(
        [
            REASONING,
            TEXT,
            {
                "type": "text",
                "text": "",
                "annotations": [{"type": "citation", "extras": {"reference_ids": [1]}}],
            },
            *TOOL_CALLS,
        ],
        "mistralai",
        v1=True,
        tool_calls=FUNCTIONS,
    ),
    "ChatBedrockConverse": answer(
        [
            {
                "type": "reasoning_content",
                "reasoning_content": {"text": "Two cities.", "signature": "S"},
            },
            {"type": "reasoning_content", "reasoning_content": {"redacted_content": b"abc"}},
            {"type": "text", "text": "I "},
            {"type": "text", "text": "look.", "citations": [{"title": "t"}]},
            *TOOL_USES,
        ]
    ),
    "ChatBedrockConverse, v1": answer(
        [
            {
                "type": "non_standard",
                "value": {
                    "type": "reasoning_content",
                    "reasoning_content": {"text": "Two cities.", "signature": "S"},
                },
            },
            TEXT,
            *({"type": "non_standard", "value": use} for use in TOOL_USES),
            *TOOL_CALLS,
        ],
        v1=True,
    ),
    "ChatOllama": answer("I look.", "ollama", reasoning_content="Two cities."),
    "ChatOllama, v1": answer(
        [REASONING, TEXT, *TOOL_CALLS], "ollama", v1=True, reasoning_content="Two cities."
    ),
}

ANSWERS = OPENAI | ANTHROPIC | GOOGLE | OTHERS

THOUGHTLESS = {"ChatOpenAI, chat completions"}
"""Answers without thoughts: this route of OpenAI does not tell them."""


def results(name: str) -> list[ToolMessage]:
    """Return the results of an answer's calls."""
    return [
        ToolMessage(text, tool_call_id=call)
        for text, call in zip(("sunny", "rainy"), CITIES, strict=True)
    ]
