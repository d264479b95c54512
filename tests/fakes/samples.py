"""A value for each sampling field."""

from __future__ import annotations

from typing import Any

SAMPLING: dict[str, Any] = {
    "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "typical_p": 0.9,
    "top_n_sigma": 1.5, "stop": ["END"], "seed": 7, "presence_penalty": 0.1,
    "frequency_penalty": 0.2, "repetition_penalty": 1.1, "repetition_context_size": 32,
    "logit_bias": {"5": -1.0}, "logprobs": True, "top_logprobs": 2,
    "response_format": {"type": "text"}, "dry_multiplier": 0.5, "dry_base": 1.5,
    "dry_allowed_length": 3, "dry_penalty_last_n": 16, "dry_sequence_breakers": [1],
    "xtc_probability": 0.1, "xtc_threshold": 0.2, "thinking_budget_tokens": 5,
    "max_pattern_size": 20, "min_pattern_size": 1, "min_count": 4,
    "chat_template_kwargs": {"enable_thinking": False}, "cache_prompt": True,
    "prompt_cache_key": "me", "extra_body": {"mine": 1},
}  # fmt: skip
