"""Texts of the built-in embedder: normalized, and long ones in parts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlxcel_integrations.protocol.vectors.vector_models import BUILT_IN_EMBEDDER, VectorMemory
from mlxcel_integrations.protocol.vectors.word_pieces import (
    MAX_PIECES,
    mean_vectors,
    normalize,
)
from tests.protocol.vectors.server import Server, embed

WORD = "x" * 101


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Sea, 3.5 m!", "The Sea, 3.5 m!"),
        ("Grüße aus Málaga", "gruße aus malaga"),
        ("é, composed or e\u0301", "e ,  composed or e"),
        ("안", "\u110b\u1161\u11ab"),
        ("日本の海", " 日  本 の 海 "),
        ("“So”…", " “ so ”  … "),
        (
            "soft\u00adhyphen, zero\u200bwidth, \ufeff, \ufffd é",
            "softhyphen ,  zerowidth ,   ,   e",
        ),
        ("a\u00a0b\u3000c", "a b c"),
        ("İSTANBUL ШИШ", "istanbul шиш"),
        ("x" * 100, "x" * 100),
        (f"a {WORD} b", "a [UNK] b"),
        (f"{'x' * 100}.{WORD}/{WORD}", f"{'x' * 100}.[UNK]/[UNK]"),
        ("é" * 101, "[UNK]"),
        ("海" * 101, " 海 " * 101),
        ("\u200b", ""),
        ("\ud800é", "e"),
    ],
)
def test_a_text_is_normalized_as_bert_does(text: str, expected: str) -> None:
    assert expected == normalize(text)


def test_the_pieces_of_a_normalized_text_are_those_of_the_text() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    bert = tokenizers.normalizers.BertNormalizer()
    words = tokenizers.pre_tokenizers.BertPreTokenizer()
    text = (
        "Ünïcödé ΣΑΣ İ ﬁ ① ½ 안녕 日本,x «q» a\u0301\u0327 \u0e01\u0e34 हिन्दी مرحبا 🎉 \u2028 ok\tß"
    )

    def split(text: str) -> list[str]:
        normal = bert.normalize_str(text)
        return [word for word, _ in words.pre_tokenize_str(normal)]

    assert split(text) == split(normalize(text))


def tokenized(body: Any) -> dict[str, Any]:
    return {"tokens": [7] * len(body["content"].split())}


def of_parts(body: Any) -> dict[str, Any]:
    """A vector that tells how many pieces a part has: [1, 0] for a full one, else [0, 1]."""
    full = [isinstance(part, list) and len(part) == MAX_PIECES for part in body["input"]]
    rows = [[float(is_full), float(not is_full)] for is_full in full]
    return {"data": [{"index": at, "embedding": row} for at, row in enumerate(rows)]}


def server() -> Server:
    routes = {
        "_v1_models": {"data": [{"id": BUILT_IN_EMBEDDER}]},
        "_tokenize": tokenized,
        "_v1_embeddings": of_parts,
    }
    return Server(**routes)


def inputs(server: Server) -> list[Any]:
    return [part for body in server.bodies("/v1/embeddings") for part in body["input"]]


@pytest.mark.parametrize(
    ("words", "lengths"),
    [(254, None), (255, [256, 3]), (508, [256, 256]), (509, [256, 256, 3])],
)
def test_a_text_is_read_in_parts_of_at_most_256_pieces(
    words: int, lengths: list[int] | None
) -> None:
    asked = server()

    embed(["word " * words], asked)

    parts = inputs(asked)
    if lengths is None:
        assert ["word " * words] == parts
    else:
        assert lengths == [len(part) for part in parts]
        assert {(101, 102)} == {(part[0], part[-1]) for part in parts}


def test_the_vector_of_a_long_text_is_the_mean_of_its_parts_by_their_length() -> None:
    (vector,) = embed(["word " * 508 + "end"], server())

    size = math.hypot(512, 3)
    assert pytest.approx([512 / size, 3 / size]) == vector


def test_truncate_reads_the_beginning_alone() -> None:
    asked = server()

    assert [[1, 0]] == embed(["word " * 1000], asked, truncate=True)
    assert [MAX_PIECES] == [len(part) for part in inputs(asked)]


def test_parts_that_cancel_each_other_out_have_a_vector() -> None:
    assert [[0.0]] == mean_vectors([[1.0], [-1.0]], [[[1], [2]]])


def test_short_texts_are_sent_as_texts_and_nothing_is_counted() -> None:
    asked, memory = server(), VectorMemory()

    embed(["Boats", "\u200b"], asked, memory)

    assert ["Boats", " "] == inputs(asked)
    assert [] == asked.bodies("/tokenize")


def test_many_parts_go_in_several_requests() -> None:
    asked = server()

    embed(["word " * 254 * 100], asked)

    sizes = [len(body["input"]) for body in asked.bodies("/v1/embeddings")]
    assert 100 == sum(sizes)
    assert 64 == max(sizes)


def test_each_text_of_many_keeps_its_place_and_progress_counts_texts() -> None:
    done: list[int] = []
    texts = ["a", "word " * 600, "b", "word " * 254 * 2]

    vectors = embed(texts, server(), batch_size=2, done=done.append)

    assert [False, True, False, True] == [vector[0] > 0.5 for vector in vectors]
    assert len(texts) == sum(done)
