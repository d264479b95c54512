"""Options of other packages, and what to use here instead of each."""

from __future__ import annotations

__all__ = ["peer_hint"]

_NAMED = {
    "api_base": "base_url=",
    "azure_endpoint": "base_url=",
    "endpoint": "base_url=",
    "openai_api_base": "base_url=",
    "openai_api_key": "api_key=",
    "token": "api_key=",
    "model_id": "model=",
    "model_name": "model= to start a server, or served_model= to choose a model of a running one",
    "model_path": "model=",
    "model_url": "model=, which takes a repository id",
    "headers": "default_headers=",
    "request_timeout": "timeout=",
    "stream_chunk_timeout": "token_timeout=",
    "max_completion_tokens": "max_tokens=",
    "max_new_tokens": "max_tokens=",
    "max_output_tokens": "max_tokens=",
    "num_predict": "max_tokens=",
    "context_length": "ctx_size=, which is set for a server that is started here",
    "max_model_len": "ctx_size=, which is set for a server that is started here",
    "n_ctx": "ctx_size=, which is set for a server that is started here",
    "num_ctx": "ctx_size=, which is set for a server that is started here",
    "n_parallel": "parallel=",
    "repeat_last_n": "repetition_context_size=",
    "repeat_penalty": "repetition_penalty=",
    "stop_sequences": "stop=",
    "top_k_results": "top_n=",
    "reasoning_effort": "reasoning=",
    "think": "reasoning=",
    "thinking": "reasoning=",
    "additional_kwargs": "fields of their own, such as top_k= or min_p=, or extra_body=",
    "generate_kwargs": "fields of their own, such as top_k= or min_p=, or extra_body=",
    "model_kwargs": "fields of their own, such as top_k= or min_p=, or extra_body=",
    "options": "fields of their own, such as top_k= or min_p=, or extra_body=",
    "format": "response_format= with a JSON schema, or schema= in LLM.chat",
    "json_mode": "response_format= with a JSON schema, or schema= in LLM.chat",
    "grammar": "response_format= with a JSON schema, or extra_body={'grammar': ...} for llama.cpp",
    "cache_folder": "the environment variable MLXCEL_MODELS_DIR",
    "embed_instruction": "text_prefix=",
    "query_instruction": "query_prefix=",
    "text_instruction": "text_prefix=",
}
"""Names of options with the same meaning here."""

_FLAG = "pass it to the program that runs the model, in extra_args="
_UNSET = "use min_p=, typical_p= or top_n_sigma= instead"

_OTHERWISE = {
    "async_client_kwargs": "use socket=, verify= or default_headers= for what they set",
    "async_http_client": "use socket=, verify= or default_headers= for what it sets",
    "client_kwargs": "use socket=, verify= or default_headers= for what they set",
    "http_async_client": "use socket=, verify= or default_headers= for what it sets",
    "http_client": "use socket=, verify= or default_headers= for what it sets",
    "sync_client_kwargs": "use socket=, verify= or default_headers= for what they set",
    "api_version": "leave it out",
    "openai_organization": "leave it out",
    "organization": "leave it out",
    "use_responses_api": "leave it out",
    "disabled_params": "leave it out: fields that are not set are not sent",
    "best_of": "call the model several times, for example with batch",
    "n": "call the model several times, for example with batch",
    "is_chat_model": "leave it out: chat uses the chat template, and complete does not",
    "is_function_calling_model": "leave it out: the server reports it",
    "should_use_structured_outputs": "leave it out: answers with a class follow its schema",
    "prompt_key": "leave it out",
    "reuse_client": "leave it out: an object keeps its connections",
    "streaming": "call stream, or chat_stream, for an answer in pieces",
    "validate_model_on_init": "call start(), which fails if the model cannot be loaded",
    "mirostat": _UNSET,
    "mirostat_eta": _UNSET,
    "mirostat_tau": _UNSET,
    "tfs_z": _UNSET,
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
    "use_mlock": _FLAG,
    "use_mmap": _FLAG,
    "vocab_only": _FLAG,
}
"""Names of options that have no equal here, and what to do instead."""


def peer_hint(name: str) -> str | None:
    """Return what to use instead of an option of another package, None for any other name."""
    if name in _NAMED:
        return f"Here, use {_NAMED[name]}."
    if name in _OTHERWISE:
        instead = _OTHERWISE[name]
        return f"{instead[0].upper()}{instead[1:]}."
    return None
