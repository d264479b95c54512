"""``MlxcelTokenizer``: exact token counts of the served model, in few requests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from ..adapters.generation import GenerationAdapter
from ..client import LLM
from ..errors import MlxcelError
from ..options.fields import ConnectionOptions, ServerOptions
from .local_tokenizer import Encode, find_tokenizer_file, load_tokenizer

__all__ = ["MlxcelTokenizer", "TokenIds"]

LONG_TEXT = 1000
"""Characters of a text that a splitter may cut into words."""

LONG_WORD = 100
"""Characters of a word that a splitter may cut further, as in languages without spaces."""


class MlxcelTokenizer:
    """The tokenizer of a served model, for everything in LlamaIndex that takes one.

    Its counts are the server's own. They are remembered, and a long text is counted together with
    its words, which splitters count next. Where the model's ``tokenizer.json`` can be read and the
    package ``tokenizers`` is installed, the counts come from there, once they have agreed with the
    server's.

    It is thread-safe. A pickle holds the address of a running server, so that workers ask the same
    one, but no key, which is read from ``MLXCEL_API_KEY`` again.

    Args:
        llm: The model.
        file: A ``tokenizer.json`` to use; the one in the model's folder if not given.

    Examples:
        >>> from mlxcel_integrations.llama_index import Mlxcel
        >>> with Mlxcel(model="embedded") as llm:
        ...     ids = llm.tokenizer("A lighthouse by the sea")
        ...     print(len(ids))
        5
    """

    def __init__(self, llm: GenerationAdapter, file: str | os.PathLike[str] | None = None) -> None:
        self._set_up(llm._llm, _connection_options(llm), Path(file) if file is not None else None)

    def _set_up(self, llm: LLM, options: dict[str, Any], file: Path | None) -> None:
        self._llm = llm
        self._options = options
        self._file = file
        self._memory = llm._connection.tokens
        if file is not None:
            self._memory.searched = False

    def __call__(self, text: str) -> TokenIds:
        """Return the tokens of a text, without the special ones that begin a prompt."""
        count = self._memory.counts.get("text", text)
        return TokenIds(self._count(text) if count is None else count, text, self)

    def encode(self, text: str, *args: Any, **kwargs: Any) -> TokenIds:
        """Return the tokens of a text; arguments of other tokenizers are ignored."""
        return self(text)

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        encode = self._local_encode()
        return encode(text) if encode is not None else self._llm.tokenize(text)

    def prime(self, texts: str | Iterable[str]) -> None:
        """Count texts and their words ahead, in as few requests as possible.

        A long text primes itself when it is counted; priming many texts at once is faster. Servers
        that count one text at a time are not asked.

        Args:
            texts: The texts that splitters will be given.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        self.count_ahead(
            [*texts, *dict.fromkeys(part for text in texts for part in _splitter_parts(text))]
        )

    def count_ahead(self, texts: Sequence[str]) -> None:
        """Count texts ahead, but not their words, in as few requests as possible."""
        if self._local_encode() is None and self._llm.counts_at_once():
            self._llm.count_tokens(list(texts))

    def _count(self, text: str) -> int:
        if not isinstance(text, str):
            raise MlxcelError(f"The tokenizer was given a {type(text).__name__}: pass it a str.")
        encode = self._local_encode()
        if encode is not None:
            count = len(encode(text))
            self._memory.counts.put("text", text, count)
            return count
        if len(text) >= LONG_TEXT:
            self.prime(text)
        return self._llm.count_tokens(text)

    def _local_encode(self) -> Encode | None:
        """Return a function that encodes texts without the server, if there is one."""
        memory = self._memory
        if not memory.searched:
            # Other threads ask the server while this one searches.
            memory.searched = True
            try:
                memory.local = self._search()
            except BaseException:
                memory.searched = False
                raise
        return memory.local

    def _search(self) -> Encode | None:
        if self._file is not None:
            return load_tokenizer(self._file, self._llm, required=True)
        file = find_tokenizer_file(self._llm, self._options.get("model"))
        return None if file is None else load_tokenizer(file, self._llm, required=False)

    def __repr__(self) -> str:
        return f"MlxcelTokenizer({self._llm!r})"

    def __getstate__(self) -> dict[str, Any]:
        address = self._llm._connection.address
        if address is None:
            return {"options": self._options, "file": self._file}
        kept = {name: v for name, v in self._options.items() if name in _SERVER_INDEPENDENT_OPTIONS}
        return {"options": {**kept, "base_url": address}, "file": self._file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set_up(LLM(**state["options"]), state["options"], state["file"])


class TokenIds(Sequence[int]):
    """Token ids whose number is known, and which are fetched when they are read.

    Args:
        count: Their number.
        text: The text.
        tokenizer: The tokenizer that fetches them.
    """

    __slots__ = ("_count", "_ids", "_text", "_tokenizer")

    def __init__(self, count: int, text: str, tokenizer: MlxcelTokenizer) -> None:
        self._count = count
        self._text = text
        self._tokenizer = tokenizer
        self._ids: list[int] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        return self._fetch()[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._fetch())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | TokenIds):
            return NotImplemented
        return len(self) == len(other) and self._fetch() == list(other)

    __hash__ = None  # type: ignore[assignment]  # it may equal a list, which has none

    def __repr__(self) -> str:
        return f"<{self._count} tokens>"

    def _fetch(self) -> list[int]:
        if self._ids is None:
            self._ids = self._tokenizer.ids(self._text)
        return self._ids


_SERVER_INDEPENDENT_OPTIONS = ConnectionOptions.model_fields.keys() - {
    "model",
    "base_url",
    "socket",
    "api_key",
}
"""Options of a connection that hold for any server."""


def _connection_options(llm: GenerationAdapter) -> dict[str, Any]:
    """Return the options that make an equal connection, without the key."""
    fields = {**ConnectionOptions.model_fields, **ServerOptions.model_fields}
    del fields["api_key"]
    return {
        name: value
        for name, field in fields.items()
        if (value := getattr(llm, name)) != field.default
    }


def _splitter_parts(text: str) -> Iterator[str]:
    """Yield the parts that ``TokenTextSplitter`` counts: words, lines, characters."""
    for word in _pieces(text, " "):
        yield word
        if len(word) >= LONG_WORD:
            yield from _pieces(word, "\n")
            yield from word


def _pieces(text: str, separator: str) -> Iterator[str]:
    """Yield the parts between separators, each with the separator before it."""
    first, *others = text.split(separator)
    if first:
        yield first
    for other in others:
        yield separator + other
