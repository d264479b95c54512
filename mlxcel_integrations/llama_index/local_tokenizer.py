"""The ``tokenizer.json`` of a model on this machine, used once it agrees with the server."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from ..client import LLM
from ..errors import MlxcelError
from ..protocol.body import valid_text

__all__ = ["PROBES", "Encode", "find_tokenizer_file", "load_tokenizer"]

Encode = Callable[[str], list[int]]

PROBES = (
    "Hello, world!",
    "  two  spaces\n\n\tand a tab",
    "0123456789 3.14159 1,000",
    "def f(x):\n    return x ** 2  # code\n",
    "früh übt sich, déjà vu",
    "e\u0301 \u00e9 \ufb01 \u00a0 \u200b",
    "안녕하세요 세계",
    "日本語のテキスト、中文",
    "مرحبا بالعالم",
    "🎉 👩‍👩‍👧",
    "<bos><eos></s><unk><|im_start|>user<|im_end|>[INST]",
    "a\r\nb\n\n\n\nc" + " " * 20 + "d",
)
"""Texts that different tokenizers split differently."""


def find_tokenizer_file(llm: LLM, model: str | None) -> Path | None:
    """Return the ``tokenizer.json`` of a served model, or None if it is not on this machine.

    Args:
        llm: A client of the server.
        model: The model that the server is started with, None in connect mode.
    """
    if not _is_installed():
        return None
    for folder in (model, llm.features.model_path):
        if folder is not None and (file := Path(folder) / "tokenizer.json").is_file():
            return file
    return None


def load_tokenizer(file: Path, llm: LLM, *, required: bool) -> Encode | None:
    """Return a function that encodes texts as the server does.

    Args:
        file: A ``tokenizer.json``.
        llm: A client of the server.
        required: Whether a file that cannot be read is an error.

    Returns:
        The function, or None if the file cannot be read or, after a warning, if its tokens differ
        from the server's.

    Raises:
        MlxcelError: The file is required and cannot be read.
    """
    try:
        encode = _read(file)
    except Exception as error:  # noqa: BLE001  # the package raises bare Exceptions
        if required:
            raise MlxcelError(
                f"Cannot read the tokenizer {file}: {error}. Check the path, and that "
                "mlxcel-integrations[tokenizers] is installed."
            ) from None
        return None
    for probe in PROBES:
        if encode(probe) != llm.tokenize(probe):
            warnings.warn(
                f"{file} is not the tokenizer of the served model: they disagree about {probe!r}. "
                "Tokens are counted by the server instead. Remove the file, or serve the model it "
                "belongs to.",
                stacklevel=2,
            )
            return None
    return encode


def _is_installed() -> bool:
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        return False
    return True


def _read(file: Path) -> Encode:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(valid_text(text), add_special_tokens=False).ids
        return ids

    return encode
