from __future__ import annotations

from mlxcel_integrations.cli.ask.client_chat import stream_answer
from mlxcel_integrations.cli.ask.passages import Passage
from mlxcel_integrations.cli.ask.prompt import prompt_style
from tests.fakes.server import FakeServer, Reply

PASSAGE = Passage("notes.md", "line 1", "The lighthouse is 32 metres tall.")


def test_an_answer_streams_with_its_number_of_tokens(server: FakeServer) -> None:
    server.script(Reply.text("32 metres"))
    options = prompt_style("another").options

    pieces = list(
        stream_answer(server.url, lambda question: [PASSAGE], "How tall?", options, print)
    )

    assert "32 metres" == "".join(text for text, _ in pieces)
    assert len(pieces) == pieces[-1][1]
    sent = server.posts[-1].json
    assert {"enable_thinking": False} == sent["chat_template_kwargs"]
    system, human = sent["messages"]
    assert PASSAGE.text in system["content"]
    assert "How tall?" == human["content"]
