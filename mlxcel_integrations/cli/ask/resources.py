"""Resources that questions need: the store, the servers, and the search over passages."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...client import LLM
from ...embedded import BUILT_IN_EMBEDDER, embedder_beside, is_embedded
from ...embedded.model import cache_directory
from ..engine import Choice, kept_options, running_engine
from ..terminal import Terminal
from .answer import Framework
from .documents import is_table
from .english import are_english, are_foreign
from .passages import Passage
from .store import Store

if TYPE_CHECKING:
    from .retrieval import Retrieval

__all__ = ["embedding_server", "open_search", "open_store"]


@contextlib.contextmanager
def open_store(terminal: Terminal) -> Iterator[Store]:
    """Open the store in the user's cache directory."""
    with contextlib.closing(Store(cache_directory() / "ask.sqlite3")) as store:
        shown_notice = store.notice
        if shown_notice:
            terminal.fact("Cache", shown_notice)
        yield store
        if store.notice != shown_notice:
            terminal.fact("Cache", store.notice)


@contextlib.contextmanager
def open_search(
    terminal: Terminal,
    passages: Sequence[Passage],
    store: Store,
    choice: Choice,
    framework: Framework,
    embedder: LLM | None = None,
    **options: Any,
) -> Iterator[tuple[str, LLM, Retrieval]]:
    """Yield a server's address, a client and a retrieval; stop the servers that were started.

    Args:
        terminal: Where to print progress.
        passages: The passages to search.
        store: Where vectors are kept.
        choice: The engine.
        framework: The framework that runs the chain.
        embedder: A second server for embeddings, started meanwhile; None if the first one embeds.
        options: Options of ``running_engine``.
    """

    def prepare() -> None:
        # Both take about as long as the server's start. An error is raised again below.
        with contextlib.suppress(Exception):
            importlib.import_module(".retrieval", __package__)
            importlib.import_module(f".{framework.module}", __package__)
        with contextlib.suppress(Exception):
            if embedder is not None:
                embedder.start()

    with (
        running_engine(terminal, choice, prepare, **options) as endpoint,
        LLM(base_url=str(endpoint)) as llm,
    ):
        from .retrieval import Retrieval

        # An unreachable server is reported here, once, and not again for embeddings.
        _ = llm.model
        answers_only = is_embedded(choice.mode.model or "")
        embeds = embedder or (None if answers_only else llm)
        yield str(endpoint), llm, Retrieval(terminal, passages, embeds, store)


@contextlib.contextmanager
def embedding_server(
    log: Terminal, passages: Sequence[Passage], choice: Choice, options: dict[str, Any]
) -> Iterator[LLM | None]:
    """Yield a server for embeddings, not started yet; None if none is needed."""
    model = choice.mode.model
    wanted = embedder_beside(model, options.get("embedding_model")) if model else None
    if wanted is None:
        yield None
        return
    options.pop("embedding_model", None)
    if wanted == BUILT_IN_EMBEDDER and not _in_english(passages):
        log.fact(
            "Search",
            "by keywords alone: the texts do not look English, the only language of the "
            "built-in embedder",
        )
        yield None
        return
    with contextlib.closing(
        LLM(wanted, progress=False, **kept_options(options["keep"]))
    ) as embedder:
        yield embedder


def _in_english(passages: Sequence[Passage]) -> bool:
    """Return whether passages are in English; tables, with few sentences, count if alone."""
    sentences = [passage.text for passage in passages if not is_table(passage)]
    if sentences:
        return are_english(sentences)
    return not are_foreign([passage.text for passage in passages])
