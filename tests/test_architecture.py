"""The structure of the package: limits, one direction of imports, public names, twins."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, get_type_hints

import pytest

import mlxcel_integrations
from mlxcel_integrations import LLM, AsyncLLM, keywords
from mlxcel_integrations.adapters.model import CONNECTION_FIELDS
from mlxcel_integrations.options.fields import ConnectionOptions
from mlxcel_integrations.protocol.timeouts import Timeouts
from mlxcel_integrations.transport.async_driver import AsyncDriver
from mlxcel_integrations.transport.settings import ConnectionSettings
from mlxcel_integrations.transport.sync_driver import SyncDriver
from mlxcel_integrations.transport.tls import TLS
from tests import help_texts
from tests.structure import figures
from tests.structure.imports import RANK, Import, circles, imports, modules, room, upward_imports

PACKAGE = mlxcel_integrations.__name__
FRAMEWORKS = {"langchain", "langchain_core", "llama_index", "ray"}

# Modules whose tests are not in a file of their name: where they are, and why.
TESTED_ELSEWHERE = {
    "tests/client: each scenario runs through both clients, over TCP and Unix sockets": [
        "async_client",
        "base_client",
        "transport.async_driver",
        "transport.generation",
        "transport.sync_driver",
    ],
    "tests/cli/ask/test_command.py: questions use the store, the servers and the search": [
        "cli.ask.resources"
    ],
    "tests/adapters/test_reading_ahead.py: one table for both frameworks": [
        "langchain.reading_ahead",
        "llama_index.reading_ahead",
    ],
    "tests/supervisor/test_shared_process.py: who shares a server has joined it": [
        "supervisor.shared_start"
    ],
    "tests/supervisor/test_kept_prompts.py: saved and restored over HTTP": ["supervisor.slots"],
}

# --------------------------------------------------------------------------- limits


def test_the_top_of_the_package_has_13_modules() -> None:
    assert 13 >= len(figures.flat_modules()), figures.flat_modules()


def test_what_waits_for_a_server_decides_little() -> None:
    """Decisions belong in ``protocol``, ``operations`` and ``transport.exchange``, for both."""
    most = {"BaseClient": 0, "LLM": 7, "AsyncLLM": 7, "SyncDriver": 15, "AsyncDriver": 19}
    found = figures.decisions_of_shells()

    assert {} == {name: count for name, count in found.items() if count > most[name]}


@pytest.mark.parametrize("option", figures.places_of_all_options())
def test_an_option_of_a_connection_is_written_in_few_places(option: str) -> None:
    """It has a field, and a setting."""
    places = figures.places_to_edit(option)

    assert 2 >= len(places), places


def test_the_path_of_a_message_is_short() -> None:
    path = figures.path_of_a_message()

    assert 89 >= len(set(path)), set(path)
    # Three of them pass a chunk through the method that finds the thread of the config.
    assert 98 >= figures.moves([function.module for function in path])


def test_a_chat_model_is_not_a_tower_of_mixins() -> None:
    bases = figures.bases("ChatMlxcel", "langchain.chat_models")

    assert 4 >= len(bases), bases


def test_a_name_means_one_thing_in_the_core() -> None:
    """A type variable, a logger and the main function of a program are the same everywhere."""
    shared = ("T", "logger", "main")
    twice = figures.names_with_two_homes()

    assert {} == {name: homes for name, homes in twice.items() if name not in shared}


def test_every_module_has_tests_of_its_name_or_a_reason() -> None:
    without = set(figures.modules_without_tests())
    listed = {module for names in TESTED_ELSEWHERE.values() for module in names}

    assert set() == without - listed, "Add a test file of this name, or a line to the table."
    assert set() == listed - without, "These are in the table without need."


@pytest.mark.parametrize("reason", TESTED_ELSEWHERE)
def test_the_tests_that_are_named_exist(reason: str) -> None:
    assert (figures.TESTS.parent / reason.partition(":")[0]).exists()


# --------------------------------------------------------------------------- direction of imports


def test_the_walk_finds_imports_of_each_kind() -> None:
    found = imports()

    assert Import("client", f"{PACKAGE}.protocol.answers.delta", lazy=False) in found
    assert Import("protocol.messages", f"{PACKAGE}.errors", lazy=False) in found
    assert Import("supervisor.leases", f"{PACKAGE}.supervisor.managed_server", lazy=False) in found
    assert Import("transport.openai_errors", "openai", lazy=False) in found
    assert any(entry.lazy and entry.room != entry.target_room for entry in found)
    assert not any(entry.target == "openai" for entry in found if entry.module == "client")


def test_every_module_has_a_layer() -> None:
    assert RANK.keys() == {room(module) for module in modules()}


def test_imports_point_one_way() -> None:
    assert [] == upward_imports()


def test_no_modules_import_each_other() -> None:
    assert [] == circles()


def test_only_the_version_is_taken_from_the_top() -> None:
    taken = {entry.target for entry in imports() if entry.target_room not in (None, *RANK)}

    assert {f"{PACKAGE}.__version__"} == taken


@pytest.mark.parametrize("folder", ["protocol", "structured"])
@pytest.mark.parametrize("name", ["httpx", "asyncio", "subprocess", "socket", "threading", "time"])
def test_a_pure_folder_does_not_wait(folder: str, name: str) -> None:
    users = {entry.module for entry in imports() if entry.room == folder and entry.target == name}

    assert set() == users


def test_only_two_core_modules_know_openai() -> None:
    outer = {"langchain", "llama_index", "ray", "cli"}
    users = {e.module for e in imports() if e.target == "openai" and e.room not in outer}

    assert {"transport.openai_errors", "transport.openai_clients"} == users


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_frameworks_stay_in_their_adapters(framework: str) -> None:
    own = {"langchain_core": "langchain"}.get(framework, framework)
    users = {e.room for e in imports() if e.target.partition(".")[0] == framework}

    assert users <= {own, "cli"}


def test_adapters_do_not_know_each_other() -> None:
    pairs = {(entry.room, entry.target_room) for entry in imports()}

    assert set() == pairs & {("langchain", "llama_index"), ("llama_index", "langchain")}


# --------------------------------------------------------------------------- public names

PUBLIC = [
    "LLM",
    "AsyncLLM",
    "ChatReply",
    "Decision",
    "ManagedServer",
    "MlxcelError",
    "MlxcelServerError",
    "MlxcelStreamError",
    "MlxcelTimeoutError",
    "PromptCost",
    "PromptProgress",
    "RankedDocument",
    "ServerFeatures",
    "SharedPrefix",
    "StructuredOutputError",
    "StructuredOutputTruncated",
    "__version__",
]


def test_public_names_are_these() -> None:
    assert PUBLIC == mlxcel_integrations.__all__
    assert sorted(PUBLIC) == dir(mlxcel_integrations)
    for name in PUBLIC:
        assert getattr(mlxcel_integrations, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Llm'"):
        _ = mlxcel_integrations.Llm


@pytest.mark.parametrize("module", [name for name in modules() if "__main__" not in name])
def test_every_module_exports_what_it_has(module: str) -> None:
    if module.split(".")[0] == "ray":
        pytest.importorskip("ray", reason="the extra [ray] is not installed")
    loaded = importlib.import_module(f"{PACKAGE}.{module}")

    assert [] == [name for name in getattr(loaded, "__all__", []) if not hasattr(loaded, name)]


# --------------------------------------------------------------------------- twins


def public(kind: type) -> dict[str, list[tuple[str, Any, Any]] | None]:
    """Return the public names of a class, with the parameters of its methods."""
    members: dict[str, list[tuple[str, Any, Any]] | None] = {}
    for name, member in vars(kind).items():
        if name.startswith("_") and name != "__init__":
            continue
        function = member.__func__ if isinstance(member, classmethod) else member
        members[name] = None
        if callable(function):
            parameters = inspect.signature(function).parameters.values()
            members[name] = [(p.name, p.kind, p.default) for p in parameters]
    return members


TWINS = [(LLM, AsyncLLM), (SyncDriver, AsyncDriver)]


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_the_twins_offer_the_same(sync: type, twin: type) -> None:
    assert {"close"} <= public(sync).keys()
    assert public(sync) == public(twin)


@pytest.mark.parametrize("name", sorted(CONNECTION_FIELDS - {"model"}))
def test_an_option_of_a_connection_is_a_keyword_and_has_a_setting(name: str) -> None:
    """An option is written in ``options``, where it is checked for adapters, and for the clients.

    Both have their reasons: type checkers know a class of Pydantic and the keywords of a function
    by different declarations, and clients do not load Pydantic.
    """
    settings = [ConnectionSettings, Timeouts, TLS]
    defaults = [kind._field_defaults[name] for kind in settings if name in kind._fields]

    place = (
        f"Hold {name} in ConnectionSettings (transport/settings.py), or in its part Timeouts or "
        "TLS, with the default of its field."
    )
    assert 1 == len(defaults), place
    if name in ConnectionOptions.model_fields:
        assert ConnectionOptions.model_fields[name].default == defaults[0], place
    assert name in get_type_hints(keywords.ClientKeywords), f"Run `{help_texts.COMMAND}`."
