"""The parts of the tests: what can share the machine, what needs it alone, and what takes long.

Each test is in one part, and only this file says in which. ``make test`` runs the first two parts,
``make test-long`` the other two. Without ``--part``, pytest runs all of them in order.
"""

from __future__ import annotations

PARTS = ("together", "alone", "long", "long-alone")

# How the names of tests begin, as pytest prints them: a folder, a file or a test.

LONG = (
    # Real kernels, pools of processes, and the same end or start in many surroundings: each test
    # waits for programs, and its neighbours look at one of them every day.
    "tests/adapters/test_changes.py::test_a_managed_server_goes_on_if_it_is_still_the_right_one",
    "tests/adapters/test_changes.py::test_a_server_that_another_object_names_stays",
    "tests/embedded/test_model.py::test_processes_that_start_at_once_make_one_whole_model",
    "tests/embedded/test_server.py::test_a_model_is_served_for_what_it_was_made_for",
    "tests/faults/test_environment.py::test_a_server_starts_wherever_the_program_runs",
    "tests/faults/test_forks.py",
    "tests/faults/test_kernels.py",
    "tests/faults/test_parents.py::test_a_subreaper_has_no_zombies",
    "tests/faults/test_signals.py::test_handlers_of_the_user_are_untouched_and_the_end_is_told",
    "tests/faults/test_signals.py::test_a_program_ends_in_peace_though_something_still_asks",
    "tests/faults/test_workers.py",
    "tests/fuzz/test_fuzz.py::test_the_script_spreads_its_inputs_and_tells_the_seed",
    "tests/structured/test_json_validator.py::test_a_validation_ends_soon",
    "tests/supervisor/test_guard.py::test_kills_at_random_moments_leave_nothing",
    "tests/supervisor/test_shared_process.py::test_an_end_is_told_to_all_and_the_next_call_starts_another",
    "tests/supervisor/test_shared_process.py::test_it_stays_for_a_while_after_its_last_user",
    "tests/transport/test_peers.py::test_a_stranger_gets_no_byte",
    # Notebooks: the examples of the first pages run every day.
    "tests/notebooks/test_notebooks.py::test_a_notebook_runs_to_its_end",
    "tests/notebooks/test_notebooks.py::test_a_refused_connection_in_a_kernel",
    "tests/notebooks/test_notebooks.py::test_a_quickstart_shows_right_answers",
    "tests/notebooks/test_notebooks.py::test_nine_values_of_ten_are_right",
    "tests/notebooks/test_notebooks.py::test_keywords_and_vectors_together_find_nine_answers_of_ten",
    # Programs of recipes, an app that serves the model, and its image.
    "tests/docs/test_recipes.py::test_an_agent_calls_the_tool_of_an_mcp_server",
    "tests/docs/test_recipes.py::test_a_span_has_what_the_page_shows",
    "tests/docs/test_recipes.py::test_a_page_keeps_the_conversation_of_its_visitor",
    "tests/docs/test_recipes.py::test_the_app_streams_an_answer_and_ends_with_its_server",
    "tests/docs/test_recipes.py::test_the_image_is_built",
    # Loops over thousands of requests, and many starts and ends: others look at one of each.
    "tests/client/test_leaks.py",
    "tests/faults/test_measurements.py",
    "tests/ray/test_dataset.py",
    "tests/soak/",
    # Programs that are killed, agents on the engine, and many files: others do the same in less.
    "tests/cli/ask/test_command.py::test_ten_thousand_files_are_read_and_searched",
    "tests/cli/test_demo.py::test_interrupt_in_an_answer_is_quiet",
    "tests/cli/test_demo.py::test_terminal_can_be_plain",
    "tests/client/test_strict_roles.py::test_an_agent_goes_on_after_a_summary_and_an_unanswered_question",
    "tests/embedded/test_sharing.py::test_a_second_program_finds_the_model_still_loaded",
    "tests/rag/test_qdrant_langchain.py::test_a_killed_ingestion_is_continued_without_duplicates",
    "tests/rag/test_qdrant_llama_index.py::test_a_killed_ingestion_is_continued_without_duplicates",
    # Random questions to the engine: others ask it chosen ones.
    "tests/langchain/test_engine_tokens.py::test_random_chats_have_the_tokens_that_their_usage_tells",
    "tests/client/test_engine.py::test_every_whole_answer_to_a_random_schema_fits_it",
    "tests/client/test_engine_thinking.py::test_of_twenty_answers_all_have_thoughts",
    "tests/llama_index/test_prompt_helper.py::test_random_queries_over_long_texts",
    # Schemas, tools and clients of other kinds: the engine gets one of each every day.
    "tests/cli/test_demo.py::test_both_answers_are_in_the_readme_alone_which_an_installed_package_has",
    "tests/client/test_decide.py::test_the_engine_decides_among_labels_that_begin_alike[False]",
    "tests/client/test_engine.py::test_answers_are_objects[<class 'bool'>",
    "tests/client/test_engine.py::test_answers_are_objects[typing.",
    "tests/client/test_engine.py::test_answers_are_objects[{",
    "tests/client/test_engine.py::test_tools_may_refer_to_their_whole_parameters[auto]",
    "tests/client/test_engine.py::test_tools_may_refer_to_their_whole_parameters[required]",
    "tests/client/test_engine_thinking.py::test_asynchronous_answers_are_the_same",
    "tests/client/test_engine_thinking.py::test_thoughts_end_and_the_answer_fits[a budget]",
    "tests/client/test_strict_roles.py::test_a_real_template_is_served_joined_messages[async]",
    "tests/embedded/test_answers.py::test_a_quote_whose_tokens_are_guessed_ahead_is_the_same",
    "tests/embedded/test_answers.py::test_it_calls_tools[What is the weather",
    "tests/embedded/test_answers.py::test_text_that_looks_like_the_next_turn_does_not_cut_json",
    "tests/langchain/test_decisions.py::test_the_engine_routes_a_request[async]",
    "tests/langchain/test_engine_tokens.py::test_trimming_and_fitting_leave_what_the_engine_takes",
    "tests/llama_index/test_engine_structured.py::test_an_object_grows_until_it_is_whole",
    # A kernel, and a pool of processes.
    "tests/llama_index/test_workers.py::test_workers_ask_the_same_server_by_its_socket",
    "tests/supervisor/test_progress_bar.py::test_a_notebook_shows_it_in_the_cell_that_starts",
    # Pages with many questions to the engine, and actors of Ray: the first pages run every day.
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[batches.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[core.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[evaluation.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[llama-index-agents.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[llama-index-structured.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[prompt-cache.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[reasoning.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[structured-output.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[tokens.md]",
    "tests/docs/test_examples.py::test_the_examples_of_a_page_print_what_it_shows[tools.md]",
    # Sixty questions, of which the examples of the pages ask a few every day.
    "tests/evaluation/test_evaluation.py::test_most_answers_are_right_and_all_are_clean",
    # All our docs are embedded.
    "tests/evaluation/test_retrieval.py::test_most_questions_find_their_section",
    # Tokens of conversations on the engine, of which the tests of the client compare short ones.
    "tests/evaluation/test_prompt_orders.py",
    # Conversations and long texts on the engine, whose cached tokens are counted; restarts.
    "tests/embedded/test_conversations.py",
    "tests/embedded/test_kept_prompts.py",
    "tests/adapters/test_prompt_cache.py",
    # Twenty tasks on the engine, of which one is done every day.
    "tests/adapters/test_prompted_tools_engine.py::test_twenty_tasks_have_only_valid_calls",
    "tests/client/test_engine_embeddings.py",
    # Processes that are stopped: each test waits for several limits.
    "tests/faults/test_deadlines.py",
    "tests/faults/test_orphans.py",
    "tests/faults/test_stopped.py",
    # A suite that is run on the scripted server, too.
    "tests/langchain/test_standard_engine.py",
    # A whole run of mypy, and one of the benchmarks.
    "tests/test_type_checkers.py",
    "tests/benchmarks/test_benchmarks.py::test_a_part_runs_from_the_command_line",
    # Parts of the benchmarks that start engines.
    "tests/benchmarks/test_engine_parts.py",
    # How long we take beside others.
    "tests/client/test_engine_tokens.py::test_many_texts_at_once_are_several_times_faster",
    "tests/client/test_vectors.py::test_our_own_time_is_near_that_of_httpx_and_numpy",
    "tests/scaling/test_throughput.py",
)

ALONE = (
    # They look how soon something happens, or how time grows.
    "tests/benchmarks/",
    "tests/client/test_balanced.py::test_answers_that_are_held_back_are_told_once",
    "tests/client/test_concurrency.py",
    "tests/client/test_engine_tokens.py::test_many_texts_at_once_are_several_times_faster",
    "tests/client/test_leaks.py",
    "tests/client/test_slots.py",
    "tests/client/test_stop.py::test_a_piece_costs_less_than_a_microsecond",
    "tests/client/test_timeouts.py",
    "tests/client/test_vectors.py::test_our_own_time_is_near_that_of_httpx_and_numpy",
    "tests/faults/test_crashes.py",
    "tests/faults/test_deadlines.py",
    "tests/faults/test_measurements.py",
    "tests/faults/test_use.py",
    "tests/fuzz/test_time.py",
    "tests/langchain/test_engine.py::test_a_completion_stops_and_frees_its_slot",
    "tests/langchain/test_engine.py::test_breaking_out_of_a_stream_frees_the_slot",
    "tests/langchain/test_engine.py::test_cancelling_a_task_frees_the_slot",
    "tests/langchain/test_web_server.py",
    "tests/llama_index/test_engine.py::test_leaving_a_stream_frees_the_slot",
    "tests/llama_index/test_engine.py::test_leaving_a_task_frees_the_slot",
    "tests/llama_index/test_engine.py::test_no_method_blocks_the_event_loop",
    "tests/protocol/answers/test_sse.py::test_time_grows_with_the_bytes_and_not_faster",
    "tests/soak/",
    "tests/supervisor/test_guard.py",
    "tests/supervisor/test_cleanup.py",
    "tests/supervisor/test_managed_server.py",
    # They use up what the machine has.
    "tests/faults/test_full_machine.py",
    "tests/scaling/",
)

TIMED = (
    # They compare times with limits, and a machine with other work reaches such a limit first: what
    # fails is tried again, twice. pytest prints an R for each time.
    *("tests/benchmarks/", "tests/scaling/", "tests/soak/"),
    "tests/adapters/test_v042.py::test_all_slots_busy_is_a_timeout_in_both",
    "tests/client/test_accepted_wrongly.py",  # the log comes through a pipe
    "tests/client/test_broken_streams.py",
    "tests/client/test_concurrency.py",
    "tests/client/test_engine_tokens.py",
    "tests/client/test_prompt_progress.py",
    "tests/client/test_slots.py",
    "tests/client/test_stop.py",
    "tests/client/test_structured_endings.py",
    "tests/client/test_timeouts.py",
    "tests/client/test_vectors.py::test_our_own_time_is_near_that_of_httpx_and_numpy",
    "tests/contract/test_overload.py",
    "tests/contract/test_streaming.py",
    "tests/embedded/test_answers.py",
    "tests/embedded/test_server.py",
    "tests/fakes/test_server.py",
    "tests/faults/",
    "tests/fuzz/test_time.py",
    "tests/langchain/test_engine.py",
    "tests/langchain/test_web_server.py",
    "tests/llama_index/test_engine.py",
    "tests/llama_index/test_llm.py",
    "tests/llama_index/test_replies.py",
    "tests/llama_index/test_tokenizer.py",
    "tests/protocol/answers/test_sse.py::test_time_grows_with_the_bytes_and_not_faster",
    "tests/ray/test_dataset.py::test_eight_servers_answer_eight_times_as_many_rows",
    "tests/structured/test_answer_stream.py",
    "tests/structured/test_partial_json.py",
    "tests/structured/test_decision.py::test_our_part_of_a_thousand_labels_takes_two_milliseconds",
    "tests/structured/test_type_schema.py::test_a_hostile_schema_or_answer_ends_within_a_second",
    "tests/supervisor/test_async_start.py",
    "tests/supervisor/test_cleanup.py",
    "tests/supervisor/test_guard.py",
    "tests/supervisor/test_launcher.py",
    "tests/supervisor/test_local_models.py",
    "tests/supervisor/test_logs.py",
    "tests/supervisor/test_managed_server.py",
    "tests/supervisor/test_readiness.py",
    "tests/supervisor/test_shared_process.py",
)

SPEED = (
    # They compare our own speed with a limit, which says nothing while every line or call is noted:
    # `make coverage` and `make mutants` leave them out.
    "tests/benchmarks/",
    "tests/client/test_stop.py::test_a_piece_costs_less_than_a_microsecond",
    "tests/fuzz/test_time.py",
    "tests/llama_index/test_llm.py::test_making_one_takes_less_than_a_millisecond_and_asks_nothing",
    "tests/protocol/answers/test_sse.py::test_time_grows_with_the_bytes_and_not_faster",
    "tests/structured/test_answer_stream.py::test_100_kilobytes_stream_in_no_time",
    "tests/structured/test_decision.py::test_our_part_of_a_thousand_labels_takes_two_milliseconds",
    "tests/structured/test_type_schema.py::test_a_hostile_schema_or_answer_ends_within_a_second",
)


def part_of(test: str) -> str:
    """Return the part of a test.

    Args:
        test: Its name, such as ``tests/client/test_answers.py::test_tool_calls[sync-tcp]``.
    """
    if test.startswith(LONG):
        return "long-alone" if test.startswith(ALONE) else "long"
    return "alone" if test.startswith(ALONE) else "together"


def is_timed(test: str) -> bool:
    """Return whether a test that failed is tried again."""
    return test.startswith(TIMED)


def is_of_speed(test: str) -> bool:
    """Return whether a test means nothing while the code is watched."""
    return test.startswith(SPEED)


def may_have(path: str, part: str) -> bool:
    """Return whether a folder or a file may have tests of a part."""
    if part == "together":
        return not path.startswith(LONG + ALONE)
    names = ALONE if part == "alone" else LONG
    return path.startswith(names) or any(name.startswith(path) for name in names)
