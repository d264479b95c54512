"""``chat``: a dataset in, a dataset with answers out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.data import ActorPoolStrategy, Dataset

from ..protocol.arguments import as_whole
from .batches import ChatBatches
from .prompts import Prompt

__all__ = ["chat"]


def chat(
    dataset: Dataset,
    *,
    prompt: Prompt,
    schema: Any = None,
    show_schema: bool = True,
    base_url: str | Sequence[str] | None = None,
    concurrency: int | None = None,
    actors: int = 1,
    batch_size: int = 64,
    **options: Any,
) -> Dataset:
    """Ask a model about each row of a dataset, when the dataset is read.

    The answers are columns beside those of the dataset: ``generated_text``, ``finish_reason``,
    ``prompt_tokens`` and ``completion_tokens``. ``error`` says why a row has no answer, beginning
    with the name of the exception, and is null otherwise. With ``schema``, each of its properties
    is a column of its type, null where there is an error; an answer that is not an object is one
    column ``value``.

    Args:
        dataset: The rows. Their order may change.
        prompt: A text with names of columns in braces, such as ``"Translate: {text}"``, or a
            function that takes a row and returns a text, or OpenAI messages.
        schema: Schema of each answer: a Pydantic model, another type, or a JSON schema.
        show_schema: Whether the model sees the schema, too; not needed if the prompt shows answers.
        base_url: Address of a running server or balancer; or several, and each row goes to one
            that has a free slot.
        concurrency: Rows that an actor sends to each server at once; the number of the server's
            slots if not given. Give it where a balancer stands for several servers.
        actors: Number of processes that send requests. One for each machine that starts a server
            is enough.
        batch_size: Rows of one piece of work, which is repeated as a whole when its actor is
            killed.
        options: Fields of ``ChatMlxcel``: ``model``, ``temperature``, ``max_tokens`` and so on.
            A server that is started is shared by the actors of its machine (``share="user"``),
            and stays for 60 seconds after the last of them (``keep_alive``).

    Returns:
        A dataset that sends the requests when it is read, and again each time it is read.

    Raises:
        MlxcelError: An option is unknown, or has an invalid value.
    """
    arguments = {
        "prompt": prompt,
        "schema": schema,
        "show_schema": show_schema,
        "base_url": base_url,
        "concurrency": concurrency,
        **options,
    }
    # Made here as well, so that wrong arguments raise here and not in an actor.
    ChatBatches(**arguments)
    actors = as_whole("actors", actors, least=1)
    batch_size = as_whole("batch_size", batch_size, least=1)
    servers = 1 if base_url is None or isinstance(base_url, str) else len(base_url)
    rows_at_once = (concurrency or 0) * servers
    return dataset.repartition(target_num_rows_per_block=batch_size).map_batches(
        ChatBatches,
        fn_constructor_kwargs=arguments,
        batch_format="pyarrow",
        batch_size=batch_size,
        # Enough batches at once that no slot idles while the last row of a batch is answered.
        compute=ActorPoolStrategy(
            size=actors, max_concurrent_calls_per_actor=2 + rows_at_once // batch_size
        ),
        udf_modifying_row_count=False,
    )
