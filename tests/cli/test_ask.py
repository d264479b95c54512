from __future__ import annotations

import json
import math
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from mlxcel_integrations import LLM
from mlxcel_integrations.cli import main
from mlxcel_integrations.cli.ask.passages import Passage
from mlxcel_integrations.cli.ask.retrieval import Retrieval
from mlxcel_integrations.cli.ask.store import Store
from mlxcel_integrations.cli.terminal import Terminal
from tests.cli.conftest import CommandLine
from tests.fakes.server import FakeServer, Reply
from tests.fakes.vectors import vector

MODELS = [
    {"id": "chat", "capabilities": ["completion"]},
    {"id": "embedder", "capabilities": ["embedding"]},
]
QUESTION = "How tall is the lighthouse?"
NOTES = "# Notes\n\nThe lighthouse is 32 metres tall.\n\n## Cats\n\nCats sleep a lot.\n"


def pdf(*pages: str, password: str = "") -> bytes:
    """Return a document with one line of text on each page."""
    writer = PdfWriter()
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    names = DictionaryObject({NameObject(k): NameObject(v) for k, v in font.items()})
    for text in pages:
        page = writer.add_blank_page(300, 300)
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        fonts = DictionaryObject({NameObject("/F1"): names})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        page[NameObject("/Contents")] = writer._add_object(content)
    if password:
        writer.encrypt(password, algorithm="AES-256")
    file = BytesIO()
    writer.write(file)
    return file.getvalue()


class Said(NamedTuple):
    status: int
    out: str
    err: str


Ask = Callable[..., Said]


@pytest.fixture
def store(cache: Path) -> Path:
    return cache / "ask.sqlite3"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(models=MODELS) as server:
        yield server


@pytest.fixture
def ask(server: FakeServer, store: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*arguments: str | Path, question: str = QUESTION) -> Said:
        given = ["ask", *map(str, arguments), "--question", question, "--base-url", server.url]
        return Said(main(given), *capsys.readouterr())

    return run


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.md"
    path.write_text(NOTES)
    return path


def embedded(server: FakeServer) -> list[str]:
    """Return all texts that the server was asked to embed."""
    sent = [seen.json["input"] for seen in server.requests if seen.path == "/v1/embeddings"]
    return [text for batch in sent for text in batch]


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_the_answer_comes_with_its_sources(
    framework: str, ask: Ask, notes: Path, server: FakeServer
) -> None:
    said = ask(notes, "--with", framework)

    assert (0, "") == (said.status, said.err)
    assert "Files     1 read, 2 passages\n" in said.out
    assert f'Source    {notes}, "Notes"\n' in said.out
    assert f"Answer    echo: {QUESTION}\n" in said.out
    assert "tokens/s" in said.out
    system, human = server.posts[-1].json["messages"]
    assert "The lighthouse is 32 metres tall." in system["content"]
    assert QUESTION == human["content"]


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_json_is_all_there_is_on_standard_output(framework: str, ask: Ask, notes: Path) -> None:
    said = ask(notes, "--json", "--with", framework)

    result: dict[str, Any] = json.loads(said.out)
    assert f"echo: {QUESTION}" == result["answer"]
    first = {"file": str(notes), "place": '"Notes"', "text": NOTES.partition("\n\n##")[0]}
    assert first in result["sources"]
    assert (QUESTION, framework, "chat") == (
        result["question"],
        result["framework"],
        result["model"],
    )
    assert (2, 2, []) == (result["passages"], result["embedded_passages"], result["left_out"])
    assert result["output_tokens"] > 1
    assert "Answer    echo" in said.err


def test_what_means_the_same_is_found_without_a_common_word(
    ask: Ask, tmp_path: Path, server: FakeServer
) -> None:
    (tmp_path / "t.txt").write_text("\n\n".join(f"{n} {'filler ' * 60}" for n in range(20)))

    assert 0 == ask(tmp_path / "t.txt", question="zebra").status

    assert "filler" in server.posts[-1].json["messages"][0]["content"]


def test_the_second_question_embeds_only_itself(ask: Ask, notes: Path, server: FakeServer) -> None:
    ask(notes)
    server.requests.clear()
    notes.rename(notes.with_name("renamed.md"))

    ask(notes.with_name("renamed.md"), question="Another?")

    assert ["Another?"] == embedded(server)


def test_an_interrupted_run_is_continued(
    command_line: CommandLine, ask: Ask, store: Path, tmp_path: Path, server: FakeServer
) -> None:
    """What was embedded before Ctrl-C is not sent again, and nothing else is missing."""
    text = "\n\n".join(f"Number {n} {'filler ' * 60}" for n in range(100))
    (tmp_path / "t.txt").write_text(text)
    arguments = ("ask", str(tmp_path / "t.txt"), "--question", "Number?", "--embed-all")
    process = command_line.start(
        *arguments, "--base-url", server.url, XDG_CACHE_HOME=str(store.parents[1])
    )
    # A batch must be through before the next one hangs.
    while not count(store):
        assert process.poll() is None
    server.route("/v1/embeddings", Reply(action="hang"))
    asked = len(embedded(server))
    while process.poll() is None and len(embedded(server)) == asked < 101:
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (130, "\nStopped.\n") == (process.returncode, err)
    kept = count(store)
    server.unroute("/v1/embeddings")
    server.requests.clear()

    said = ask(tmp_path / "t.txt", "--embed-all", "--json", question="Number?")

    assert 100 == json.loads(said.out)["embedded_passages"] == count(store)
    assert 1 + 100 - kept == len(embedded(server))


def count(store: Path) -> int:
    """Return how many vectors are kept."""
    if not store.exists():
        return 0
    with closing(sqlite3.connect(store)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM vector").fetchone()[0])
        except sqlite3.OperationalError:  # its table is not made yet
            return 0


def test_what_there_is_no_time_for_comes_next_time(store: Path, server: FakeServer) -> None:
    texts = [f"filler {number}" for number in range(50)] + ["zebra"]
    passages = [Passage("t.txt", "line 1", text) for text in texts]
    log = StringIO()
    with LLM(base_url=server.url) as llm, closing(Store(store)) as kept:
        retrieval = Retrieval(Terminal(log), passages, llm, kept)
        retrieval.prepare("zebra?", 0.0)
        assert 0 == retrieval.embedded
        assert [passages[-1]] == retrieval.find("zebra?", 1)
        retrieval.prepare("zebra!", math.inf)

    assert "the other 51 would take an unknown time: the next question goes on" in log.getvalue()
    assert ["zebra?", "zebra!", "zebra", *texts[:-1]] == embedded(server)


def test_vectors_of_another_length_are_made_anew(
    ask: Ask, notes: Path, server: FakeServer, store: Path
) -> None:
    ask(notes)
    shorter = [{"index": 0, "embedding": vector(QUESTION, 4)}]
    server.route("/v1/embeddings", Reply.json({"data": shorter}))

    said = ask(notes)

    assert "the model makes other vectors than before" in said.out
    server.unroute("/v1/embeddings")
    server.requests.clear()
    assert 2 == json.loads(ask(notes, "--json").out)["embedded_passages"]
    assert 3 == len(embedded(server))


@pytest.mark.parametrize("models", [MODELS[:1], None], ids=["no capability", "501"])
def test_without_embeddings_keywords_do(
    models: Any, ask: Ask, notes: Path, server: FakeServer
) -> None:
    server.models = models

    said = ask(notes, "--json")

    assert 0 == said.status
    assert "Search    by keywords alone. " in said.err
    assert "--embedding-model" in said.err
    result = json.loads(said.out)
    assert None is result["embedded_passages"]
    assert ['"Notes"'] == [source["place"] for source in result["sources"]]


def test_a_damaged_store_is_made_anew(ask: Ask, notes: Path, store: Path) -> None:
    store.parent.mkdir(parents=True)
    store.write_bytes(b"junk" * 1000)

    said = ask(notes)

    assert 0 == said.status
    assert f"Cache     {store} was damaged and is made anew" in said.out
    assert 2 == count(store)
    assert 0o600 == store.stat().st_mode & 0o777


def test_nothing_is_kept_where_nothing_can_be_written(ask: Ask, notes: Path, store: Path) -> None:
    store.parent.parent.write_text("a file where the folder should be")

    said = ask(notes)

    assert 0 == said.status
    assert "Cache     Nothing is kept for the next time" in said.out


UNREADABLE = {
    "empty.txt": (b" \n", "it is empty"),
    "broken.pdf": (b"%PDF-1.7\n1 0 obj\n<<", "it is no PDF, or a broken one"),
    "none.pdf": (b"plain text", "it is no PDF, or a broken one"),
    "cut.pdf": (pdf("x")[:300], "it is no PDF, or a broken one"),
    "locked.pdf": (pdf("secret", password="p"), "it is protected by a password"),
    "scan.pdf": (pdf(""), "it has pictures and no text"),
    "photo.txt": (bytes(range(256)) * 9, "it is neither text nor PDF"),
    "program": (b"\x7fELF\x02\x01\x01\x00", "it is neither text nor PDF"),
    "gone.txt": (None, "No such file or directory"),
    "": (None, "it is no file"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_one_bad_file_alone_is_one_message(
    name: str, ask: Ask, tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, reason = UNREADABLE[name]
    if content is not None:
        Path(name).write_bytes(content)

    said = ask(name)

    assert 1 == said.status
    assert said.err.startswith(f"Cannot read {name or '.'}: {reason}")
    assert 1 == said.err.count("\n")
    assert [] == server.requests


def test_bad_files_among_good_ones_are_told(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, (content, _) in UNREADABLE.items():
        if content is not None:
            (folder / name).write_bytes(content)
    (folder / "deep").mkdir()
    (folder / "deep" / "good.PDF").write_bytes(pdf("First page.", f"{QUESTION} 32 metres."))
    (folder / ".hidden").mkdir()
    (folder / ".hidden/secret.txt").write_text(QUESTION)

    said = ask(folder, "--json")

    assert 0 == said.status
    result = json.loads(said.out)
    assert [(f"{folder}/deep/good.PDF", "page 2"), (f"{folder}/deep/good.PDF", "page 1")] == [
        (source["file"], source["place"]) for source in result["sources"]
    ]
    assert 7 == len(result["left_out"])
    assert 5 == said.err.count(f"Left out  {folder}/")
    assert "Left out  2 more\n" in said.err


def test_a_folder_without_texts_says_what_counts(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")

    said = ask(tmp_path)

    assert 1 == said.status
    assert (
        f"There is nothing to read in {tmp_path}: in folders, files count that end in" in said.err
    )


def test_old_encodings_are_read(ask: Ask, tmp_path: Path, server: FakeServer) -> None:
    (tmp_path / "western.txt").write_bytes("Größe: 32 m".encode("cp1252"))
    (tmp_path / "wide.txt").write_bytes("Höhe: 7 m".encode("utf-16"))

    assert 0 == ask(tmp_path).status

    assert {"Größe: 32 m", "Höhe: 7 m"} < set(embedded(server))


def test_ten_thousand_files(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(10_000):
        (folder / f"{number}.txt").write_text(f"The number of this file is {number}.")

    said = ask(folder, "--json", question="Which file has the number 7123?")

    result = json.loads(said.out)
    assert 10_000 == result["passages"]
    assert f"{folder}/7123.txt" == result["sources"][0]["file"]


@pytest.mark.parametrize("question", ["", "  "])
def test_an_empty_question_is_refused(question: str, ask: Ask, notes: Path) -> None:
    said = ask(notes, question=question)

    assert (1, "") == (said.status, said.out)
    assert "The question is empty" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["notes.md"], "--question"),
        (["--question", "x"], "FILE"),
        (["f", "--question", "x", "--with", "haystack"], "invalid choice"),
        (["f", "--question", "x", "--model", "m", "--base-url", "u"], "not allowed with"),
    ],
)
def test_a_wrong_command_line_is_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ask", *arguments])

    assert 2 == caught.value.code
    assert message in capsys.readouterr().err


def test_a_running_server_takes_no_second_model(ask: Ask, notes: Path) -> None:
    said = ask(notes, "--embedding-model", "owner/embedder")

    assert 1 == said.status
    assert "--embedding-model: only for a server that is started here" in said.err


@pytest.mark.engine
def test_the_embedded_engine_answers_from_a_pdf(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "lighthouse.pdf"
    file.write_bytes(pdf("Cats sleep a lot.", "The lighthouse is 32 metres tall."))

    done = command_line.run(
        "ask", str(file), "--question", QUESTION, "--with", "llamaindex", "--json"
    )

    assert 0 == done.returncode, done.stderr
    result = json.loads(done.stdout)
    assert "32" in result["answer"]
    assert ["page 2"] == [source["place"] for source in result["sources"]]
    # Its own vectors are made only of what shares words with the question.
    assert (2, 1) == (result["passages"], result["embedded_passages"])
    assert [] == list(command_line.runtime.iterdir())
