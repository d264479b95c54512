"""``ChatBatches``: answers for a batch of rows, in an actor of Ray Data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import openai
import pyarrow as pa

from ..errors import MlxcelError
from ..protocol.arguments import as_whole
from ..structured.request import structured_chat
from ..structured.type_schema import to_schema
from .columns import column_types, column_values
from .prompts import Prompt, Row, Template, messages_for
from .servers import BatchModel, ServerLost, Servers

__all__ = ["ChatBatches"]


@dataclass(slots=True)
class Answer:
    """The answer for one row, or its error; each field but ``values`` is a column."""

    generated_text: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    values: Sequence[Any] | None = None


COLUMN_TYPES = {
    "generated_text": pa.string(),
    "finish_reason": pa.string(),
    "prompt_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "error": pa.string(),
}


class ChatBatches:
    """Ask a model about each row of a batch: a callable class for ``Dataset.map_batches``.

    ``chat`` sets everything up for it, and its documentation lists the columns. On its own, it
    takes batches in the format ``"pyarrow"``.

    Args:
        prompt: As for ``chat``.
        schema: As for ``chat``.
        show_schema: As for ``chat``.
        base_url: As for ``chat``.
        concurrency: As for ``chat``.
        options: As for ``chat``.

    Raises:
        MlxcelError: An option is unknown, or has an invalid value.
    """

    def __init__(
        self,
        *,
        prompt: Prompt,
        schema: Any = None,
        show_schema: bool = True,
        base_url: str | Sequence[str] | None = None,
        concurrency: int | None = None,
        **options: Any,
    ) -> None:
        if options.get("api_key") is not None:
            raise MlxcelError(
                "A key is never sent along with a job: drop api_key=, and set MLXCEL_API_KEY where "
                "the actors run."
            )
        if options.get("model") is not None:
            options = {"share": "user", "keep_alive": 60.0, **options}
        urls = [base_url] if base_url is None or isinstance(base_url, str) else base_url
        models = [BatchModel(base_url=url, **options) for url in urls]
        if not models:
            raise MlxcelError("base_url=[] names no server: pass at least one address.")
        if concurrency is not None:
            concurrency = as_whole("concurrency", concurrency, least=1)
        self._prompt = Template(prompt) if isinstance(prompt, str) else prompt
        self._schema = None if schema is None else to_schema(schema)
        self._show_schema = show_schema
        self._types = {} if self._schema is None else column_types(self._schema)
        for name in self._types.keys() & COLUMN_TYPES.keys():
            raise MlxcelError(
                f"{name!r} in the schema is also the name of a column that every answer has: "
                "rename it in the schema."
            )
        self._sampling = models[0].sampling
        self._servers = Servers(models, concurrency)

    async def __call__(self, table: pa.Table) -> pa.Table:
        """Return a batch with the columns of the answers beside its own.

        Raises:
            MlxcelError: A column is missing, or has the name of an answer's column.
            ServerLost: A server is gone.
        """
        answers = await self._answers(self._rows(table))
        for name, kind in COLUMN_TYPES.items():
            values = [getattr(answer, name) for answer in answers]
            table = table.append_column(name, pa.array(values, kind))
        for index, (name, kind) in enumerate(self._types.items()):
            values = [answer.values and answer.values[index] for answer in answers]
            table = table.append_column(name, pa.array(values, kind))
        return table

    def _rows(self, table: pa.Table) -> list[Row]:
        """Return the rows of a batch, with the columns that the prompt needs.

        Raises:
            MlxcelError: A column is missing, or has the name of an answer's column.
        """
        if not isinstance(table, pa.Table):
            raise MlxcelError('The batch is not an Arrow table: pass batch_format="pyarrow".')
        for name in (*COLUMN_TYPES, *self._types):
            if name in table.column_names:
                raise MlxcelError(
                    f"The dataset already has a column {name!r}, which the answers need: rename it "
                    f'with dataset.rename_columns({{{name!r}: "..."}}).'
                )
        if isinstance(self._prompt, Template):
            for name in self._prompt.columns:
                if name not in table.column_names:
                    raise MlxcelError(
                        f"The prompt names a column {name!r}, but the dataset only has "
                        f"{', '.join(table.column_names)}."
                    )
            if self._prompt.columns:
                table = table.select(self._prompt.columns)
        rows: list[Row] = table.to_pylist()
        return rows

    async def _answers(self, rows: Sequence[Row]) -> list[Answer]:
        """Answer all rows concurrently; stop at the first that loses its server for good."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(row)) for row in rows]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _answer(self, row: Row) -> Answer:
        answer = Answer()
        try:
            messages = messages_for(row, self._prompt)
            chat = structured_chat(messages, self._sampling, self._schema, self._show_schema)
            reply = await self._servers.complete(chat)
            usage = reply.usage or {}
            answer.generated_text, answer.finish_reason = reply.text, reply.finish_reason
            answer.prompt_tokens = usage.get("prompt_tokens")
            answer.completion_tokens = usage.get("completion_tokens")
            if self._schema is not None:
                parsed = chat.read(reply).parsed
                answer.values = column_values(parsed, self._schema, self._types)
        except ServerLost:
            raise
        except (MlxcelError, openai.APIError, pa.ArrowException, OverflowError) as error:
            answer.error = f"{type(error).__name__}: {error}"
        return answer
