"""What mlxcel 0.4.2 tells of itself: the names in its bodies."""

from __future__ import annotations

from tests.fakes.answers import Json

SETTINGS: Json = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.1,
    "repeat_penalty": 1.0,
    "repeat_last_n": 64,
    "seed": 2**64 - 1,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": 0,
}
CACHED = """
    block_size entries bytes capacity_bytes max_entries hits lookups hit_rate inserts
    evictions_lru evictions_ttl rejections_oversized total_blocks_stored unique_block_hashes
    apc_active_entries snapshot_entries snapshot_bytes snapshot_capacity_bytes
    snapshot_max_entries snapshot_hits snapshot_lookups snapshot_hit_rate snapshot_inserts
    snapshot_evictions_lru snapshot_evictions_ttl snapshot_rejections_oversized paged_block_size
    paged_blocks_allocated paged_blocks_live paged_blocks_free paged_bytes_reserved
    paged_bytes_in_use paged_block_budget reject_oversized reject_disabled
    reject_prefix_too_short reject_mode_mismatch reject_empty_set reject_layout_constraints
    reject_block_boundary_floor
"""
LAST_REJECTED = """
    last_reject_reason last_reject_seq_id last_reject_context_len last_reject_at_unix_ms
"""
"""What the cache of prompts counts, and what it tells of the last that it did not take."""

OBSERVED = """
    sequences_started sequences_completed total_prefill_tokens total_decode_tokens
    prefill_chunks_processed decode_steps_processed decode_lookahead_steps current_batch_size
    current_queue_depth cache_pool_active cache_pool_bytes cache_pool_paged_block_size
    cache_pool_paged_blocks_allocated cache_pool_paged_blocks_live
    cache_pool_paged_blocks_free cache_pool_paged_bytes_reserved cache_pool_paged_bytes_in_use
    cache_pool_paged_block_budget decode_storage_fallbacks audio_source_duration_micros
    audio_source_samples audio_normalized_samples audio_feature_frames audio_effective_tokens
    audio_effective_prefill_tokens audio_preprocess_latency_micros audio_preprocess_rejections
    audio_reject_queue_full audio_reject_memory_limit audio_reject_worker_unavailable
    audio_reject_overflow audio_reject_waveform audio_reject_feature
    audio_reject_feature_panic audio_reject_context_limit audio_preprocess_cancelled
    audio_preprocess_queued_bytes audio_preprocess_inflight_host_bytes prompt_cache_hits
    prompt_cache_hit_tokens prompt_cache_inserts prompt_cache_insert_rejects
    prompt_cache_reject_oversized prompt_cache_reject_disabled
    prompt_cache_reject_prefix_too_short prompt_cache_reject_mode_mismatch
    prompt_cache_reject_empty_set prompt_cache_reject_layout_constraints
    prompt_cache_reject_block_boundary_floor
"""
"""What the health of the older generation counts."""
