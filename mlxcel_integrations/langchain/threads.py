"""Conversations as LangChain knows them: the thread of the config that a model runs under."""

from __future__ import annotations

from langchain_core.runnables.config import RunnableConfig

__all__ = ["session_of_thread"]


def session_of_thread(config: RunnableConfig) -> str | None:
    """Return the name of the conversation that a model is called in, None without one.

    It is the ``thread_id`` of the config. A subagent has its own conversation, so the names of the
    nodes above it are added. These are the same for all subagents of an agent, whose tools are one
    node, so the subagent's own name is added, too.
    """
    configurable = config.get("configurable") or {}
    thread = configurable.get("thread_id")
    if thread is None:
        return None
    # Such as "research:3f2a|model:91bc", a name and the run for each graph.
    *above, _ = str(configurable.get("checkpoint_ns") or "").split("|")
    names = [step.partition(":")[0] for step in above]
    # Set by create_agent, if it was given a name.
    agent = (config.get("metadata") or {}).get("lc_agent_name")
    if names and agent:
        names.append(str(agent))
    name = "/".join([str(thread), *names])
    # A session that the user names has been checked; a thread may have any name.
    return name if name.strip() and name.isascii() and name.isprintable() else None
