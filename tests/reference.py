"""The pages of the reference: one for each class, and the tables of options.

`python -m tests.reference` writes them. A test compares.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mlxcel_integrations.options.fields import (
    ChatOptions,
    ConnectionOptions,
    EmbeddingOptions,
    RerankOptions,
    SamplingParams,
    ServerOptions,
)
from tests.pages import DOCS

COMMAND = "python -m tests.reference"
PAGE = DOCS / "reference.md"
FOLDER = DOCS / "reference"

OPTIONS: tuple[type[BaseModel], ...] = (
    ConnectionOptions,
    ServerOptions,
    SamplingParams,
    ChatOptions,
    EmbeddingOptions,
    RerankOptions,
)

CLASSES = {
    "core": [
        *("LLM", "AsyncLLM", "ManagedServer", "ChatReply"),
        *("Decision", "PromptCost", "PromptProgress", "RankedDocument", "ServerFeatures"),
        "SharedPrefix",
    ],
    "langchain": [
        *("ChatMlxcel", "MlxcelLLM", "MlxcelEmbeddings", "MlxcelRerank", "MlxcelDecision"),
        "register_with_langchain",
    ],
    "llama_index": [
        *("Mlxcel", "MlxcelEmbedding", "MlxcelRerank", "MlxcelSelector", "MlxcelTokenizer"),
        "PromptProgressEvent",
    ],
    "ray": ["chat", "ChatBatches", "ServerLost"],
}
"""What has a page, by its folder."""

OURS = {"without_tools", "with_only_text", "with_context", "take_template_failure", "is_peer"}
"""Methods that only other modules of this package call."""

FRAMEWORKS = {"langchain_core": "LangChain", "llama_index": "LlamaIndex"}


def path_of(room: str) -> str:
    return "mlxcel_integrations" if room == "core" else f"mlxcel_integrations.{room}"


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name of each page of the folder, and its text."""
    for room, names in CLASSES.items():
        for name in names:
            yield f"{room}/{name}.md", page(room, name)


def page(room: str, name: str) -> str:
    """Return the page of a class or function."""
    thing = getattr(import_module(path_of(room)), name)
    lines = [f"# {name}", "", f"::: {path_of(room)}.{name}"]
    if inspect.isclass(thing):
        members = public_members(thing)
        lines += [
            "    options:",
            f"      members: [{', '.join(members)}]",
            *(["      inherited_members: true"] if members else []),
            *base_of(thing),
        ]
        if issubclass(thing, BaseModel):
            lines += ["", *fields_of(thing)]
    return "\n".join(lines).rstrip() + "\n"


def public_members(thing: type) -> list[str]:
    """Return the names of the public methods and properties that this package defines."""
    fields = set(getattr(thing, "model_fields", {}))
    ours = [base for base in thing.__mro__ if base.__module__.startswith("mlxcel_integrations")]
    names = {
        name: inspect.getattr_static(thing, name)
        for base in ours
        for name in vars(base)
        if name not in fields | OURS and not name.startswith(("_", "model_"))
    }
    return [name for name, member in names.items() if hasattr(member, "__get__") and member.__doc__]


def base_of(thing: type) -> Iterator[str]:
    """Yield what says which class of a framework it takes the place of, if it does."""
    for base in thing.__mro__:
        package = base.__module__.partition(".")[0]
        if package in FRAMEWORKS:
            yield from (
                "",
                f"It is a `{base.__name__}` of {FRAMEWORKS[package]}, with its methods.",
            )
            return


def fields_of(thing: type[BaseModel]) -> Iterator[str]:
    """Yield the lines that list the fields of a class, by what they are about."""
    groups = [options for options in OPTIONS if issubclass(thing, options)]
    shared = {name for options in groups for name in options.model_fields}
    own = [
        name
        for name, field in thing.model_fields.items()
        if name not in shared and field.description and not field.exclude
    ]
    if own:
        yield from ("## Fields of its own", "", table(thing, own), "")
    for options in groups:
        about = options.__name__.removesuffix("Options").removesuffix("Params")
        yield from (f"## {about} fields", "", str(options.__doc__), "")
        yield from (table(thing, list(options.model_fields)), "")


def table(thing: type[BaseModel], names: list[str] | None = None) -> str:
    """Return a table of the fields of a class, or of some of them."""
    rows = [
        f"| `{name}` | {type_of(field.annotation)} | {default_of(field.get_default())} "
        f"| {field.description or ''} |"
        for name, field in thing.model_fields.items()
        if names is None or name in names
    ]
    return "\n".join(["| Name | Type | Default | Meaning |", "| --- | --- | --- | --- |", *rows])


def type_of(annotation: Any) -> str:
    """Return a type as readers write it; that None is allowed goes without saying."""
    text = _text(annotation)
    return f"`{text}`".replace("|", "\\|")


def _text(annotation: Any) -> str:
    arguments = get_args(annotation)
    if get_origin(annotation) is Union or isinstance(annotation, type(int | str)):
        return " | ".join(_text(one) for one in arguments if one is not type(None))
    if isinstance(annotation, type) and not arguments:
        return {"SecretStr": "str"}.get(annotation.__name__, annotation.__name__)
    return re.sub(r"\b(?:\w+\.)+|<class '|'>", "", str(annotation)).replace("SecretStr", "str")


def default_of(value: object) -> str:
    return "" if value in (None, (), PydanticUndefined) else f"`{value!r}`"


def with_tables(text: str) -> str:
    """Return the page of the options with the tables of today."""
    for options in OPTIONS:
        begin = f"### {options.__name__}\n\n"
        before, _, after = text.partition(begin)
        rest = after[after.index("\n\n") :]
        text = before + begin + table(options) + rest
    return text


def main() -> None:
    PAGE.write_text(with_tables(PAGE.read_text()))
    for name, text in pages():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
