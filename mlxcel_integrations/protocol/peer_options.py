"""Options of other packages, and what to use here instead of each."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["PEER_OPTIONS", "is_harmless", "named_options", "peer_hint", "seconds_of"]

_FIELDS = "use fields of their own, such as top_k= or min_p=, or extra_body="
_SCHEMA = "use response_format= with a class or a JSON schema"
_CLIENT = "leave it out: connections are made here, and LLM has openai_client for other uses"
_CONNECTION = "use socket=, verify= or default_headers= for what it sets"
_CLOUD = "leave it out: only OpenAI's own service reads it"
_COUNTED = "leave it out: the server counts tokens"
_FLAG = "pass it to the program that runs the model, in extra_args="
_TOOLS = (
    "give tools with bind_tools() in LangChain, chat_with_tools() in LlamaIndex, or to LLM.chat"
)
_REPEATED = "call the model several times, for example with batch()"
_UNSET = "use min_p=, typical_p= or top_n_sigma= instead"
_LLAMA_CPP = "pass it in extra_body=, which llama.cpp reads"
_NO_EQUAL = "leave it out: servers have nothing like it"

PEER_OPTIONS = {
    # The model, and the server.
    "model_id": "use model=",
    "model_name": "use model= to start a server, or served_model= to choose a model of a running "
    "one",
    "model_path": "use model=",
    "model_url": "use model=, which takes a repository id",
    "api_base": "use base_url=",
    "azure_endpoint": "use base_url=",
    "endpoint": "use base_url=",
    "openai_api_base": "use base_url=",
    "openai_api_key": "use api_key=",
    "token": "use api_key=",
    "headers": "use default_headers=",
    "extra_headers": "use default_headers=",
    "hf_token": "use the environment variable HF_TOKEN",
    "ttl": "use keep_alive=",
    "request_timeout": "use timeout= until the answer begins, token_timeout= between tokens, and "
    "total_timeout= for the whole answer",
    "stream_chunk_timeout": "use token_timeout=",
    "retry_max_seconds": "use max_retries=: the pauses are chosen here",
    "retry_min_seconds": "use max_retries=: the pauses are chosen here",
    "cache_folder": "use the environment variable MLXCEL_MODELS_DIR",
    "validate_model_on_init": "call start(), which fails if the model cannot be loaded",
    # What the server is started with.
    "context_length": "use ctx_size=, which is set for a server that is started here",
    "context_window": "use ctx_size=, which is set for a server that is started here",
    "max_model_len": "use ctx_size=, which is set for a server that is started here",
    "n_ctx": "use ctx_size=, which is set for a server that is started here",
    "num_ctx": "use ctx_size=, which is set for a server that is started here",
    "n_parallel": "use parallel=",
    "device": _FLAG,
    "f16_kv": _FLAG,
    "lora_base": _FLAG,
    "lora_path": _FLAG,
    "main_gpu": _FLAG,
    "n_batch": _FLAG,
    "n_gpu_layers": _FLAG,
    "n_threads": _FLAG,
    "num_batch": _FLAG,
    "num_gpu": _FLAG,
    "num_thread": _FLAG,
    "rope_freq_base": _FLAG,
    "rope_freq_scale": _FLAG,
    "flash_attn": _FLAG,
    "low_vram": _FLAG,
    "n_threads_batch": _FLAG,
    "n_ubatch": _FLAG,
    "numa": _FLAG,
    "offload_kqv": _FLAG,
    "rope_scaling_type": _FLAG,
    "split_mode": _FLAG,
    "tensor_split": _FLAG,
    "type_k": _FLAG,
    "type_v": _FLAG,
    "use_mlock": _FLAG,
    "use_mmap": _FLAG,
    # Sampling.
    "max_completion_tokens": "use max_tokens=",
    "max_new_tokens": "use max_tokens=",
    "max_output_tokens": "use max_tokens=",
    "num_output": "use max_tokens=",
    "num_predict": "use max_tokens=, and leave it out instead of -1 or -2",
    "stop_sequences": "use stop=",
    "repeat_penalty": "use repetition_penalty=",
    "last_n_tokens_size": "use repetition_context_size=",
    "repeat_last_n": "use repetition_context_size=",
    "mirostat": _UNSET,
    "mirostat_eta": _UNSET,
    "mirostat_tau": _UNSET,
    "tfs_z": _UNSET,
    "n_probs": "use logprobs=True and top_logprobs=",
    "additional_kwargs": _FIELDS,
    "generate_kwargs": _FIELDS,
    "model_kwargs": _FIELDS,
    "options": _FIELDS,
    "best_of": _REPEATED,
    "n": _REPEATED,
    "do_sample": "use temperature=, where 0 always takes the likeliest token",
    # Tools, and what belongs into messages.
    "function_call": _TOOLS,
    "functions": _TOOLS,
    "images": "put them into the content of a message",
    "system": "put it into the first message",
    "chat_format": "use chat_template=, or leave it out: a model has a template of its own",
    # Thoughts, and the form of answers.
    "reasoning_effort": "use reasoning=",
    "think": "use reasoning=",
    "thinking": "use reasoning=",
    "reasoning_budget_tokens": "use thinking_budget_tokens=",
    "format": f'{_SCHEMA}, or {{"type": "json_object"}} for any JSON',
    "json_mode": f'{_SCHEMA}, or {{"type": "json_object"}} for any JSON',
    "json_schema": _SCHEMA,
    "grammar": f"{_SCHEMA}, or extra_body={{'grammar': ...}} for llama.cpp",
    "grammar_path": f"{_SCHEMA}, or extra_body={{'grammar': ...}} with its text for llama.cpp",
    "should_use_structured_outputs": "leave it out: answers with a class follow its schema",
    "strict": "leave it out: answers with a class, and forced calls, follow their schemas",
    # Embeddings and rankings.
    "chunk_size": "use batch_size=",
    "show_progress_bar": "use show_progress=",
    "check_embedding_ctx_length": "leave it out: a text that is too long is an error, unless "
    "truncate=True cuts it",
    "embed_instruction": "use text_prefix=",
    "text_instruction": "use text_prefix=",
    "query_instruction": "use query_prefix=",
    "top_k_results": "use top_n=",
    # What is not needed.
    "is_chat_model": "leave it out: chat() uses the chat template, and complete() does not",
    "is_function_calling_model": "leave it out: every model can call tools",
    "streaming": "call the methods that stream, for an answer in pieces",
    "stream_usage": "leave it out: the number of tokens ends every stream",
    "disable_streaming": "leave it out: every answer is streamed from the server",
    "disabled_params": "leave it out: fields that are not set are not sent",
    "batch_size": "leave it out: a batch has as many requests at once as the server has slots",
    "echo": "leave it out: answers do not repeat the prompt",
    "suffix": "pass it to generate() of LLM, for text between a prompt and a suffix",
    "prompt_key": "leave it out",
    "verbose": "leave it out: the logger mlxcel.server has what the server prints",
    "tokenizer": "leave it out: the server counts tokens, and MlxcelTokenizer gives its tokens to "
    "LlamaIndex",
    "tiktoken_enabled": _COUNTED,
    "tiktoken_model_name": _COUNTED,
    "allowed_special": _COUNTED,
    "disallowed_special": _COUNTED,
    "embedding_ctx_length": "leave it out: the server reports it",
    "include_response_headers": "leave it out: no header of an answer is needed",
    # The connection.
    "async_client_kwargs": _CONNECTION,
    "async_http_client": _CONNECTION,
    "client_kwargs": _CONNECTION,
    "http_async_client": _CONNECTION,
    "http_client": _CONNECTION,
    "sync_client_kwargs": _CONNECTION,
    "openai_proxy": "use the environment variable HTTPS_PROXY; servers on this machine are reached "
    "directly",
    "http_socket_options": "leave it out: lost connections are noticed by timeout=",
    "default_query": _NO_EQUAL,
    "extra_query": _NO_EQUAL,
    "reuse_client": "leave it out: an object keeps its connections",
    "client": _CLIENT,
    "async_client": _CLIENT,
    "openai_client": _CLIENT,
    "async_openai_client": _CLIENT,
    "root_client": _CLIENT,
    "root_async_client": _CLIENT,
    # Fields of OpenAI's service.
    "api_version": _CLOUD,
    "audio_config": _CLOUD,
    "context_management": _CLOUD,
    "deployment": _CLOUD,
    "include": _CLOUD,
    "modalities": _CLOUD,
    "mode": _CLOUD,
    "openai_api_type": _CLOUD,
    "openai_api_version": _CLOUD,
    "openai_organization": _CLOUD,
    "organization": _CLOUD,
    "prompt_cache_options": _CLOUD,
    "service_tier": _CLOUD,
    "store": _CLOUD,
    "truncation": _CLOUD,
    "use_previous_response_id": _CLOUD,
    "use_responses_api": _CLOUD,
    "verbosity": _CLOUD,
    # Fields of llama.cpp, and of Ollama.
    "adaptive_decay": _LLAMA_CPP,
    "adaptive_target": _LLAMA_CPP,
    "add_generation_prompt": _LLAMA_CPP,
    "backend_sampling": _LLAMA_CPP,
    "continue_final_message": _LLAMA_CPP,
    "dynatemp_exponent": _LLAMA_CPP,
    "dynatemp_range": _LLAMA_CPP,
    "id_slot": _LLAMA_CPP,
    "ignore_eos": _LLAMA_CPP,
    "lora": _LLAMA_CPP,
    "min_keep": _LLAMA_CPP,
    "n_cache_reuse": _LLAMA_CPP,
    "n_discard": _LLAMA_CPP,
    "n_indent": _LLAMA_CPP,
    "n_keep": _LLAMA_CPP,
    "post_sampling_probs": _LLAMA_CPP,
    "reasoning_budget_message": _LLAMA_CPP,
    "reasoning_control": _LLAMA_CPP,
    "reasoning_format": _LLAMA_CPP,
    "response_fields": _LLAMA_CPP,
    "return_tokens": _LLAMA_CPP,
    "samplers": _LLAMA_CPP,
    "sse_ping_interval": _LLAMA_CPP,
    "t_max_predict_ms": _LLAMA_CPP,
    "timings_per_token": _LLAMA_CPP,
    "embedding_only": _NO_EQUAL,
    "logits_all": _NO_EQUAL,
    "n_parts": _NO_EQUAL,
    "num_keep": _NO_EQUAL,
    "ollama_additional_kwargs": _NO_EQUAL,
    "penalize_newline": _NO_EQUAL,
    "vocab_only": _NO_EQUAL,
}
"""What to do instead of giving an option, by its name; the migration pages are made from this."""


def peer_hint(name: str) -> str | None:
    """Return what to do instead of giving an option of another package, None for another name."""
    instead = PEER_OPTIONS.get(name)
    if instead is None:
        return None
    if instead.startswith("use "):
        return f"Here, {instead}."
    return f"{instead[0].upper()}{instead[1:]}."


def is_harmless(name: str) -> bool:
    """Return whether a request may have this field: nothing is lost if the server ignores it."""
    instead = PEER_OPTIONS.get(name, "leave it out")
    return instead.startswith("leave it out") or instead == _LLAMA_CPP


def named_options(text: str) -> Iterable[str]:
    """Return the names of our options in a text: the words before an equals sign."""
    return re.findall(r"(\w+)=", text)


_UNITS_OF_DURATIONS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds_of(duration: str) -> float | None:
    """Return the seconds of a duration of Ollama's, such as "1h30m", None for other texts."""
    parts = re.findall(r"([\d.]+)(ms|[hms])", duration)
    if not parts or duration != "".join(number + unit for number, unit in parts):
        return None
    try:
        return sum(float(number) * _UNITS_OF_DURATIONS[unit] for number, unit in parts)
    except ValueError:
        return None
