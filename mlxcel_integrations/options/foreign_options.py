"""Options of other packages, and what to use here instead of each."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "FOREIGN_OPTIONS",
    "foreign_hint",
    "is_harmless",
    "named_options",
    "seconds_of",
    "snake_case",
]

_FIELDS = "use fields such as top_k= or min_p=, or extra_body="
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
_MODEL = "use model= to start a server, or served_model= to choose a model of a running one"
_AGENT = "give it to the agent of your framework: one request gets one answer here"
_QUESTION = "pass it to the method that asks, as its first argument"
_HISTORY = "pass the earlier messages again: the server keeps what it has read of them"
_TEMPLATE = "use chat_template=, or leave it out: a model has its own template"
_STREAM = "call the methods that stream, for an answer in pieces"
_USAGE = "leave it out: the number of tokens ends every stream"
_IMAGE = "leave it out: answers are text, not images"


def _for_each(names: str, instead: str) -> dict[str, str]:
    """Return the same text for several names."""
    return dict.fromkeys(names.split(), instead)


FOREIGN_OPTIONS = {
    # The model, and the server.
    "model_id": "use model=",
    "model_name": _MODEL,
    "azure_deployment": _MODEL,
    "deployment": _MODEL,
    "deployment_name": _MODEL,
    "model_path": "use model=",
    "model_key": "use model=",
    "model_url": "use model=, which takes a repository id",
    "api_base": "use base_url=",
    "api_host": "use base_url=",
    "azure_endpoint": "use base_url=",
    "endpoint": "use base_url=",
    "openai_api_base": "use base_url=",
    "openai_api_key": "use api_key=",
    "token": "use api_key=",
    "azure_ad_token": "use api_key=",
    "azure_ad_token_provider": "use api_key=",
    "azure_ad_async_token_provider": "use api_key=",
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
    **_for_each(
        """
        device f16_kv lora_base lora_path main_gpu n_batch n_gpu_layers n_threads num_batch
        num_gpu num_thread rope_freq_base rope_freq_scale flash_attn low_vram n_threads_batch
        n_ubatch numa offload_kqv rope_scaling_type split_mode tensor_split type_k type_v
        use_mlock use_mmap cpu_threads draft_model eval_batch_size flash_attention gpu
        gpu_strict_vram_cap keep_model_in_memory llama_k_cache_quantization_type
        llama_v_cache_quantization_type num_experts offload_kv_cache_to_gpu rope_frequency_base
        rope_frequency_scale speculative_decoding_min_continue_drafting_probability
        speculative_decoding_min_draft_length_to_consider
        speculative_decoding_num_draft_tokens_exact try_mmap use_fp16_for_kv_cache
        """,
        _FLAG,
    ),
    # Sampling.
    "max_completion_tokens": "use max_tokens=",
    "max_new_tokens": "use max_tokens=",
    "max_output_tokens": "use max_tokens=",
    "num_output": "use max_tokens=",
    "num_predict": "use max_tokens=, and leave it out instead of -1 or -2",
    "stop_sequences": "use stop=",
    "stop_strings": "use stop=",
    "top_k_sampling": "use top_k=",
    "top_p_sampling": "use top_p=",
    "min_p_sampling": "use min_p=",
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
    "config": _FIELDS,
    "best_of": _REPEATED,
    "n": _REPEATED,
    "do_sample": "use temperature=, where 0 always takes the likeliest token",
    # Tools, and what belongs into messages.
    "function_call": _TOOLS,
    "functions": _TOOLS,
    "parallel_tool_calls": _TOOLS,
    "raw_tools": _TOOLS,
    "tool_choice": _TOOLS,
    "tools": _TOOLS,
    "handle_invalid_tool_request": _AGENT,
    "max_parallel_tool_calls": _AGENT,
    "max_prediction_rounds": _AGENT,
    "on_round_end": _AGENT,
    "on_round_start": _AGENT,
    "image": "put it into the content of a message",
    "images": "put them into the content of a message",
    "instructions": "put it into the first message",
    "system": "put it into the first message",
    "chat": _QUESTION,
    "history": _QUESTION,
    "input": _QUESTION,
    "messages": _QUESTION,
    "prompt": _QUESTION,
    "user": "pass it with each request",
    "context": _HISTORY,
    "conversation": _HISTORY,
    "previous_response_id": _HISTORY,
    "context_overflow_policy": "shorten a long conversation with fit_messages() of LLM",
    "chat_format": _TEMPLATE,
    "prompt_template": _TEMPLATE,
    "template": _TEMPLATE,
    "raw": "use LLM.generate(), MlxcelLLM or LlamaIndex's complete(), which send a prompt without "
    "the chat template",
    # Thoughts, and the form of answers.
    "reasoning_effort": "use reasoning=",
    "think": "use reasoning=",
    "thinking": "use reasoning=",
    "reasoning_parsing": "leave it out: thoughts are separated from the answer",
    "reasoning_budget_tokens": "use thinking_budget_tokens=",
    "format": f'{_SCHEMA}, or {{"type": "json_object"}} for any JSON',
    "json_mode": f'{_SCHEMA}, or {{"type": "json_object"}} for any JSON',
    "json_schema": _SCHEMA,
    "structured": _SCHEMA,
    "text": _SCHEMA,
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
    "stream": _STREAM,
    "streaming": _STREAM,
    "on_first_token": _STREAM,
    "on_message": _STREAM,
    "on_prediction_completed": _STREAM,
    "on_prediction_fragment": _STREAM,
    "on_prompt_processing_progress": "use return_progress=",
    "stream_options": _USAGE,
    "stream_usage": _USAGE,
    "disable_streaming": "leave it out: every answer is streamed from the server",
    "disabled_params": "leave it out: fields that are not set are not sent",
    "batch_size": "leave it out: a batch has as many requests at once as the server has slots",
    "echo": "leave it out: answers do not repeat the prompt",
    "suffix": "pass it to generate() of LLM, for text between a prompt and a suffix",
    "prompt_key": "leave it out",
    "height": _IMAGE,
    "steps": _IMAGE,
    "width": _IMAGE,
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
    **_for_each(
        """
        default_query extra_query embedding_only logits_all n_parts num_keep
        ollama_additional_kwargs penalize_newline vocab_only preset tool_call_stop_strings
        """,
        _NO_EQUAL,
    ),
    "reuse_client": "leave it out: an object keeps its connections",
    "client": _CLIENT,
    "async_client": _CLIENT,
    "openai_client": _CLIENT,
    "async_openai_client": _CLIENT,
    "root_client": _CLIENT,
    "root_async_client": _CLIENT,
    # Fields of OpenAI's service.
    **_for_each(
        """
        api_version audio_config context_management include modalities mode openai_api_type
        openai_api_version openai_organization organization prompt_cache_options service_tier
        store truncation use_previous_response_id use_responses_api verbosity admin_api_key
        audio background encoding_format max_tool_calls metadata model_version moderation
        prediction project prompt_cache_retention data_residency access_programs
        background_options provider safety_identifier validate_base_url web_search_options
        webhook_secret websocket_base_url workload_identity
        """,
        _CLOUD,
    ),
    # Fields of llama.cpp, and of Ollama.
    **_for_each(
        """
        adaptive_decay adaptive_target add_generation_prompt backend_sampling
        continue_final_message dynatemp_exponent dynatemp_range id_slot ignore_eos lora min_keep
        n_cache_reuse n_discard n_indent n_keep post_sampling_probs reasoning_budget_message
        reasoning_control reasoning_format response_fields return_tokens samplers
        sse_ping_interval t_max_predict_ms timings_per_token
        """,
        _LLAMA_CPP,
    ),
}
"""What to do instead of giving an option, by its name; the migration pages are made from this."""


def foreign_hint(name: str) -> str | None:
    """Return what to do instead of giving an option of another package, None for another name."""
    instead = FOREIGN_OPTIONS.get(snake_case(name))
    if instead is None:
        return None
    if instead.startswith("use "):
        return f"Here, {instead}."
    return f"{instead[0].upper()}{instead[1:]}."


def is_harmless(name: str) -> bool:
    """Return whether a request may have this field: nothing is lost if the server ignores it."""
    instead = FOREIGN_OPTIONS.get(snake_case(name), "leave it out")
    return instead.startswith("leave it out") or instead == _LLAMA_CPP


def snake_case(name: str) -> str:
    """Return a name such as "maxTokens", as LM Studio writes them, in the way of Python."""
    return re.sub("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


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
