"""Classes of other packages with their options, and the tables of the migration pages.

`python -m tests.migration` writes the tables, which say what to use instead of each option. The
options were recorded from the versions in the bench environment; where a package is installed, a
test compares them.
"""

from __future__ import annotations

import re
import sys
import types
from collections import defaultdict
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

from mlxcel_integrations.options.foreign_options import FOREIGN_OPTIONS

DOCS = Path(__file__).parents[1] / "docs"
COMMAND = "python -m tests.migration"


class Origin(NamedTuple):
    """A class or method that users come from.

    Attributes:
        name: Its name.
        module: Where it is.
        names: Its options, with their aliases.
    """

    name: str
    module: str
    names: str

    @property
    def options(self) -> list[str]:
        return self.names.split()

    def load(self) -> Any:
        """Return the class or method, None if its package is not installed."""
        if find_spec(self.module.partition(".")[0]) is None:
            return None
        # Two adapters import llama-cpp-python, which has to be compiled, but only use it later.
        stand_in: Any = types.SimpleNamespace(Llama=object)
        sys.modules.setdefault("llama_cpp", stand_in)
        try:
            return reduce(getattr, self.name.split("."), import_module(self.module))
        except ImportError:
            return None


LANGCHAIN = [
    Origin(
        "ChatOpenAI",
        "langchain_openai",
        """
        api_key async_client base_url cache callbacks client context_management
        custom_get_token_ids default_headers default_query disable_streaming
        disabled_params extra_body frequency_penalty http_async_client http_client
        http_socket_options include include_response_headers logit_bias logprobs
        max_completion_tokens max_retries max_tokens metadata model model_kwargs
        model_name n name openai_api_base openai_api_key openai_organization
        openai_proxy organization output_version presence_penalty profile
        prompt_cache_options rate_limiter reasoning reasoning_effort request_timeout
        root_async_client root_client seed service_tier stop stop_sequences store
        stream_chunk_timeout stream_usage streaming tags temperature tiktoken_model_name
        timeout top_logprobs top_p truncation use_previous_response_id use_responses_api
        verbose verbosity
        """,
    ),
    Origin(
        "ChatOllama",
        "langchain_ollama",
        """
        async_client_kwargs base_url cache callbacks client_kwargs custom_get_token_ids
        disable_streaming format keep_alive logprobs metadata mirostat mirostat_eta
        mirostat_tau model name num_ctx num_gpu num_predict num_thread output_version
        profile rate_limiter reasoning repeat_last_n repeat_penalty seed stop
        sync_client_kwargs tags temperature tfs_z top_k top_logprobs top_p
        validate_model_on_init verbose
        """,
    ),
    Origin(
        "ChatLlamaCpp",
        "langchain_community.chat_models",
        """
        cache callbacks client custom_get_token_ids disable_streaming echo f16_kv
        grammar grammar_path last_n_tokens_size logits_all logprobs lora_base lora_path
        max_tokens metadata model_kwargs model_path n_batch n_ctx n_gpu_layers n_parts
        n_threads name output_version profile rate_limiter repeat_penalty rope_freq_base
        rope_freq_scale seed stop streaming suffix tags temperature top_k top_p
        use_mlock use_mmap verbose vocab_only
        """,
    ),
    Origin(
        "ChatLlama",
        "langchain_llama_cpp",
        """
        adaptive_decay adaptive_target add_generation_prompt backend_sampling base_url
        cache cache_prompt callbacks chat_template_kwargs continue_final_message
        custom_get_token_ids disable_streaming dry_allowed_length dry_base
        dry_multiplier dry_penalty_last_n dry_sequence_breakers dynatemp_exponent
        dynatemp_range echo frequency_penalty grammar http_async_client http_client
        id_slot ignore_eos json_schema logit_bias logprobs lora max_retries max_tokens
        metadata min_keep min_p mirostat mirostat_eta mirostat_tau model n n_cache_reuse
        n_discard n_indent n_keep n_probs name output_version post_sampling_probs
        presence_penalty profile rate_limiter reasoning_budget_message
        reasoning_budget_tokens reasoning_control reasoning_effort reasoning_format
        repeat_last_n repeat_penalty response_fields return_progress return_tokens
        samplers seed sse_ping_interval stop stream_usage streaming t_max_predict_ms
        tags temperature timeout timings_per_token top_k top_logprobs top_n_sigma top_p
        typical_p verbose xtc_probability xtc_threshold
        """,
    ),
    Origin(
        "OpenAI",
        "langchain_openai",
        """
        allowed_special api_key async_client base_url batch_size best_of cache callbacks
        client custom_get_token_ids default_headers default_query disallowed_special
        extra_body frequency_penalty http_async_client http_client logit_bias logprobs
        max_retries max_tokens metadata model model_kwargs model_name n name
        openai_api_base openai_api_key openai_organization openai_proxy organization
        presence_penalty request_timeout seed streaming tags temperature
        tiktoken_model_name timeout top_p verbose
        """,
    ),
    Origin(
        "OllamaLLM",
        "langchain_ollama",
        """
        async_client_kwargs base_url cache callbacks client_kwargs custom_get_token_ids
        format keep_alive metadata mirostat mirostat_eta mirostat_tau model name num_ctx
        num_gpu num_predict num_thread reasoning repeat_last_n repeat_penalty seed stop
        sync_client_kwargs tags temperature tfs_z top_k top_p validate_model_on_init
        verbose
        """,
    ),
    Origin(
        "OpenAIEmbeddings",
        "langchain_openai",
        """
        allowed_special api_key api_version async_client base_url
        check_embedding_ctx_length chunk_size client default_headers default_query
        deployment dimensions disallowed_special embedding_ctx_length headers
        http_async_client http_client max_retries model model_kwargs openai_api_base
        openai_api_key openai_api_type openai_api_version openai_organization
        openai_proxy organization request_timeout retry_max_seconds retry_min_seconds
        show_progress_bar skip_empty tiktoken_enabled tiktoken_model_name timeout
        """,
    ),
    Origin(
        "OllamaEmbeddings",
        "langchain_ollama",
        """
        async_client_kwargs base_url client_kwargs dimensions keep_alive mirostat
        mirostat_eta mirostat_tau model num_ctx num_gpu num_thread repeat_last_n
        repeat_penalty stop sync_client_kwargs temperature tfs_z top_k top_p
        validate_model_on_init
        """,
    ),
    Origin(
        "AzureChatOpenAI",
        "langchain_openai",
        """
        api_key api_version async_client azure_ad_async_token_provider azure_ad_token
        azure_ad_token_provider azure_deployment azure_endpoint base_url cache callbacks
        client context_management custom_get_token_ids default_headers default_query
        deployment_name disable_streaming disabled_params extra_body frequency_penalty
        http_async_client http_client http_socket_options include
        include_response_headers logit_bias logprobs max_completion_tokens max_retries
        max_tokens metadata model model_kwargs model_name model_version n name
        openai_api_base openai_api_key openai_api_type openai_api_version
        openai_organization openai_proxy organization output_version presence_penalty
        profile prompt_cache_options rate_limiter reasoning reasoning_effort
        request_timeout root_async_client root_client seed service_tier stop
        stop_sequences store stream_chunk_timeout stream_usage streaming tags
        temperature tiktoken_model_name timeout top_logprobs top_p truncation
        use_previous_response_id use_responses_api validate_base_url verbose verbosity
        """,
    ),
    Origin(
        "AzureOpenAI",
        "langchain_openai",
        """
        allowed_special api_key api_version async_client azure_ad_async_token_provider
        azure_ad_token azure_ad_token_provider azure_deployment azure_endpoint base_url
        batch_size best_of cache callbacks client custom_get_token_ids default_headers
        default_query deployment_name disallowed_special extra_body frequency_penalty
        http_async_client http_client logit_bias logprobs max_retries max_tokens
        metadata model model_kwargs model_name n name openai_api_base openai_api_key
        openai_api_type openai_api_version openai_organization openai_proxy organization
        presence_penalty request_timeout seed streaming tags temperature
        tiktoken_model_name timeout top_p validate_base_url verbose
        """,
    ),
    Origin(
        "AzureOpenAIEmbeddings",
        "langchain_openai",
        """
        allowed_special api_key api_version async_client azure_ad_async_token_provider
        azure_ad_token azure_ad_token_provider azure_deployment azure_endpoint base_url
        check_embedding_ctx_length chunk_size client default_headers default_query
        deployment dimensions disallowed_special embedding_ctx_length headers
        http_async_client http_client max_retries model model_kwargs openai_api_base
        openai_api_key openai_api_type openai_api_version openai_organization
        openai_proxy organization request_timeout retry_max_seconds retry_min_seconds
        show_progress_bar skip_empty tiktoken_enabled tiktoken_model_name timeout
        validate_base_url
        """,
    ),
]
LLAMA_INDEX = [
    Origin(
        "OpenAILike",
        "llama_index.llms.openai_like",
        """
        additional_kwargs api_base api_key api_version async_http_client
        async_openai_client audio_config callback_manager completion_to_prompt
        context_window default_headers http_client is_chat_model
        is_function_calling_model logprobs max_retries max_tokens messages_to_prompt
        modalities model openai_client output_parser pydantic_program_mode
        query_wrapper_prompt rate_limiter reasoning_effort reuse_client
        should_use_structured_outputs strict system_prompt temperature timeout tokenizer
        top_logprobs
        """,
    ),
    Origin(
        "Ollama",
        "llama_index.llms.ollama",
        """
        additional_kwargs async_client base_url callback_manager client
        completion_to_prompt context_window headers is_function_calling_model json_mode
        keep_alive messages_to_prompt model output_parser prompt_key
        pydantic_program_mode query_wrapper_prompt rate_limiter request_timeout
        system_prompt temperature thinking
        """,
    ),
    Origin(
        "LlamaCPP",
        "llama_index.llms.llama_cpp",
        """
        callback_manager completion_to_prompt context_window generate_kwargs
        max_new_tokens messages_to_prompt model_kwargs model_path model_url
        output_parser pydantic_program_mode query_wrapper_prompt rate_limiter
        system_prompt temperature verbose
        """,
    ),
    Origin(
        "LMStudio",
        "llama_index.llms.lmstudio",
        """
        additional_kwargs base_url callback_manager completion_to_prompt context_window
        is_chat_model messages_to_prompt model_name num_output output_parser
        pydantic_program_mode query_wrapper_prompt rate_limiter request_timeout
        system_prompt temperature timeout
        """,
    ),
    Origin(
        "OpenAIEmbedding",
        "llama_index.embeddings.openai",
        """
        additional_kwargs api_base api_key api_version async_http_client
        callback_manager default_headers dimensions embed_batch_size embeddings_cache
        http_client max_retries mode model model_name num_workers rate_limiter
        reuse_client timeout
        """,
    ),
    Origin(
        "OllamaEmbedding",
        "llama_index.embeddings.ollama",
        """
        base_url callback_manager client_kwargs embed_batch_size embeddings_cache
        keep_alive model_name num_workers ollama_additional_kwargs query_instruction
        rate_limiter text_instruction
        """,
    ),
]
CLIENTS = [
    Origin(
        "Client",
        "lmstudio",
        """
        api_host
        """,
    ),
    Origin(
        "llm",
        "lmstudio",
        """
        config ttl
        """,
    ),
    Origin(
        "LLM.respond",
        "lmstudio",
        """
        config history on_first_token on_message on_prediction_fragment
        on_prompt_processing_progress preset response_format
        """,
    ),
    Origin(
        "LLM.act",
        "lmstudio",
        """
        chat config handle_invalid_tool_request max_parallel_tool_calls
        max_prediction_rounds on_first_token on_message on_prediction_completed
        on_prediction_fragment on_prompt_processing_progress on_round_end on_round_start
        preset tools
        """,
    ),
    Origin(
        "LlmPredictionConfig",
        "lmstudio",
        """
        contextOverflowPolicy context_overflow_policy cpuThreads cpu_threads draftModel
        draft_model maxTokens max_tokens minPSampling min_p_sampling promptTemplate
        prompt_template raw rawTools raw_tools reasoningParsing reasoning_parsing
        repeatPenalty repeat_penalty speculativeDecodingMinContinueDraftingProbability
        speculativeDecodingMinDraftLengthToConsider
        speculativeDecodingNumDraftTokensExact
        speculative_decoding_min_continue_drafting_probability
        speculative_decoding_min_draft_length_to_consider
        speculative_decoding_num_draft_tokens_exact stopStrings stop_strings structured
        temperature toolCallStopStrings tool_call_stop_strings topKSampling topPSampling
        top_k_sampling top_p_sampling
        """,
    ),
    Origin(
        "LlmLoadModelConfig",
        "lmstudio",
        """
        contextLength context_length evalBatchSize eval_batch_size flashAttention
        flash_attention gpu gpuStrictVramCap gpu_strict_vram_cap keepModelInMemory
        keep_model_in_memory llamaKCacheQuantizationType llamaVCacheQuantizationType
        llama_k_cache_quantization_type llama_v_cache_quantization_type numExperts
        num_experts offloadKVCacheToGpu offload_kv_cache_to_gpu ropeFrequencyBase
        ropeFrequencyScale rope_frequency_base rope_frequency_scale seed tryMmap
        try_mmap useFp16ForKVCache use_fp16_for_kv_cache
        """,
    ),
    Origin(
        "Client.chat",
        "ollama",
        """
        format keep_alive logprobs messages model options stream think tools
        top_logprobs
        """,
    ),
    Origin(
        "Client.generate",
        "ollama",
        """
        context format height images keep_alive logprobs model options prompt raw steps
        stream suffix system template think top_logprobs width
        """,
    ),
    Origin(
        "Client.embed",
        "ollama",
        """
        dimensions input keep_alive model options truncate
        """,
    ),
    Origin(
        "Options",
        "ollama",
        """
        embedding_only f16_kv frequency_penalty logits_all low_vram main_gpu mirostat
        mirostat_eta mirostat_tau num_batch num_ctx num_gpu num_keep num_predict
        num_thread numa penalize_newline presence_penalty repeat_last_n repeat_penalty
        seed stop temperature tfs_z top_k top_p typical_p use_mlock use_mmap vocab_only
        """,
    ),
    Origin(
        "OpenAI",
        "openai",
        """
        admin_api_key api_key base_url data_residency default_headers default_query
        http_client max_retries organization project provider timeout webhook_secret
        websocket_base_url workload_identity
        """,
    ),
    Origin(
        "AzureOpenAI",
        "openai",
        """
        admin_api_key api_key api_version azure_ad_token azure_ad_token_provider
        azure_deployment azure_endpoint base_url default_headers default_query
        http_client max_retries organization project timeout webhook_secret
        websocket_base_url workload_identity
        """,
    ),
    Origin(
        "Completions.create",
        "openai.resources.chat.completions",
        """
        audio extra_body extra_headers extra_query frequency_penalty function_call
        functions logit_bias logprobs max_completion_tokens max_tokens messages metadata
        modalities model moderation n parallel_tool_calls prediction presence_penalty
        prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort
        response_format safety_identifier seed service_tier stop store stream
        stream_options temperature timeout tool_choice tools top_logprobs top_p user
        verbosity web_search_options
        """,
    ),
    Origin(
        "Completions.create",
        "openai.resources.completions",
        """
        best_of echo extra_body extra_headers extra_query frequency_penalty logit_bias
        logprobs max_tokens model n presence_penalty prompt seed stop stream
        stream_options suffix temperature timeout top_p user
        """,
    ),
    Origin(
        "Embeddings.create",
        "openai.resources.embeddings",
        """
        dimensions encoding_format extra_body extra_headers extra_query input model
        timeout user
        """,
    ),
    Origin(
        "Responses.create",
        "openai.resources.responses",
        """
        access_programs background background_options context_management conversation
        extra_body extra_headers extra_query image include input instructions
        max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls
        previous_response_id prompt prompt_cache_key prompt_cache_options
        prompt_cache_retention reasoning safety_identifier service_tier store stream
        stream_options temperature text timeout tool_choice tools top_logprobs top_p
        truncation user
        """,
    ),
]
"""Clients of servers, and the methods and settings whose options people bring along."""

OLLAMA_FIELDS = Origin(
    "additional_kwargs",
    "",
    """
    min_p mirostat mirostat_eta mirostat_tau num_batch num_ctx num_gpu num_predict num_thread
    repeat_last_n repeat_penalty seed stop temperature tfs_z top_k top_p use_mmap
    """,
)
"""What LlamaIndex's Ollama passes on."""

_MODEL = "a repository id, a directory or a `.gguf` file, with which a server is started; "
_SAME_NAME = {
    "model": f"{_MODEL}`served_model` chooses a model of a running server, unless it has only one",
    "base_url": "address of a running server, with or without `/v1`; `socket` for a Unix socket",
    "api_key": "only if the server asks for one",
    "timeout": "until the answer begins; `token_timeout` between tokens, and `total_timeout` for "
    "the whole answer",
    "max_retries": "only requests that the server has not started to process are sent again",
    "stream_usage": "on unless you switch it off",
    "keep_alive": 'in seconds, for a server with `share="user"`',
    "context_window": "leave it out: the server reports it, and `ctx_size` sets that of a server "
    "that is started here",
}
"""What is different about options that have the same name here."""

PAGES = {
    "migrating.md": LANGCHAIN[:4],
    "llama-index-migrating.md": [*LLAMA_INDEX[:4], OLLAMA_FIELDS],
}

_CODE = re.compile(
    r"""\w+=(?:True|"[^"]*"|\{[^}]*\})? | \w+\(\) | \{"type"[^}]*\} | [A-Z]+(?:_[A-Z]+)+
    | mlxcel\.server | openai_client | MlxcelTokenizer""",
    re.VERBOSE,
)


def installed_options(found: Any) -> set[str]:
    """Return the options of an installed class or method, with their aliases."""
    if hasattr(found, "__struct_fields__"):  # a class of msgspec
        return {*found.__struct_fields__, *found.__struct_encode_fields__}
    kinds = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    arguments = signature(found.__init__ if isinstance(found, type) else found).parameters.values()
    fields = getattr(found, "model_fields", {})
    names = (
        {*fields, *(field.alias for field in fields.values() if field.alias)}
        | {argument.name for argument in arguments if argument.kind in kinds}
    ) - {"self"}
    return {name for name in names if not name.startswith("_")}


def instead(name: str, ours: set[str]) -> str:
    """Return what a page says of an option, "" if it stays as it is."""
    if name in ours:
        return _SAME_NAME.get(name, "")
    return _CODE.sub(lambda code: f"`{code[0].removesuffix('=')}`", FOREIGN_OPTIONS[name])


def table(origin: Origin, title: str) -> str:
    """Return the options of one of these in groups, each with what to use here."""
    from mlxcel_integrations.langchain import ChatMlxcel
    from mlxcel_integrations.llama_index import Mlxcel

    ours = ChatMlxcel if origin in LANGCHAIN else Mlxcel
    order = [*_SAME_NAME, *FOREIGN_OPTIONS]
    rows = defaultdict(list)
    for name in sorted(origin.options, key=lambda name: order.index(name) if name in order else 0):
        rows[instead(name, {*ours.model_fields})].append(f"`{name}`")
    same = ", ".join(sorted(rows.pop("", [])))
    lines = [f"| {title} | `{ours.__name__}` |", "| --- | --- |"]
    lines += [f"| {', '.join(names)} | {text} |" for text, names in rows.items()]
    return "\n".join([*lines, "", f"The same here: {same}."])


def with_tables(page: str, origins: list[Origin]) -> str:
    """Return a page with the tables of today."""
    for origin in origins:
        begin, end = f"<!-- options of {origin.name}: {COMMAND} -->\n", "<!-- end of options -->"
        before, _, rest = page.partition(begin)
        title = "In `additional_kwargs`" if origin is OLLAMA_FIELDS else f"`{origin.name}`"
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{table(origin, title)}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    for name, origins in PAGES.items():
        path = DOCS / name
        path.write_text(with_tables(path.read_text(), origins))
