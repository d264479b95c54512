"""Examples for the training: a text, and what is asked about it in a prompt of the frameworks."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tests.training.evaluated import is_in_evaluation
from tests.training.texts import Asked, make_text
from tests.training.values import Values, fill, with_capital

__all__ = ["SHOWN_CALLS", "Example", "make_examples"]

PROMPTS: list[str] = json.loads(Path(__file__).with_name("prompts.json").read_text("utf-8"))
"""What the chat template makes of the six prompts of the evaluation."""

_OTHER_PROMPTS = (
    "Answer from this text.\n\n{text}\n\nQuestion: {question}\nAnswer:",
    "Context: {text}\n\nQuestion: {question}\nAnswer:",
    "You are a helpful assistant.\n\nContext:\n{text}\n\nQuestion: {question}\nAnswer:",
    "{text}\n\nQuestion: {question}\nAnswer:",
    "Answer the question using the context.\n\nContext:\n{text}\n\nQuestion: {question}\nAnswer:",
    "Question: {text} {question}\nAnswer:",
)
_TALKS = (
    ("My name is {first}.", "What is my name?", "{first}."),
    ("I live in {P}.", "Where do I live?", "In {P}."),
    ("My favourite colour is {colour}.", "What is my favourite colour?", "{Colour}."),
    ("I work as {A:job}.", "What is my job?", "{A:job}."),
    ("My dog is called {pet}.", "What is my dog's name?", "{pet}."),
)
_RESULTS = (
    ("{hour}", "What time is it?", "{hour}."),
    ('{"temperature": {n}, "sky": "cloudy"}', "How warm is it in {P}?", "{n} degrees."),
    (
        '{"temperature": {n}, "sky": "cloudy"}',
        "What is the weather in {P}?",
        "Cloudy, {n} degrees.",
    ),
    ("Sunny, {n} degrees", "What is the weather in {P}?", "Sunny, {n} degrees."),
    ("{n} euros", "What does a {object} cost?", "{n} euros."),
    ("{n}", "What is the sum?", "{n}."),
)
_CALLS = (
    ("convert_money", {"amount": "{n}", "to": "{P}"}, "Change {n} crowns into the money of {P}."),
    ("play_song", {"title": "{title}"}, "Play {title}."),
    ("play_song", {"title": "{title}"}, "I want to hear {title}."),
    ("find_train", {"start": "{P}", "end": "{P2}"}, "Which trains go from {P} to {P2}?"),
    ("find_train", {"start": "{P}", "end": "{P2}"}, "How do I get from {P} to {P2} by train?"),
    ("set_alarm", {"minutes": "{n}"}, "Wake me in {n} minutes."),
    ("light", {"room": "{P}", "colour": "{colour}"}, "Make the light in room {P} {colour}."),
    ("search", {"query": "{beast}"}, "Search for {beast}."),
    ("translate", {"word": "{object}", "language": "{lang}"}, "What is {object} in {lang}?"),
    ("send_mail", {"to": "{full}", "subject": "{music}"}, "Write to {full} about {music}."),
    ("population", {"city": "{P}"}, "How many people live in {P}?"),
    ("temperature", {"city": "{P}"}, "How cold is it in {P}?"),
    ("today", {}, "What day is it today?"),
    ("battery", {}, "Is the battery full?"),
)
SHOWN_CALLS = (
    "Question: How much do 3 apples cost?\nAnswer:\n<tool_call>\n"
    '{"name": "price", "arguments": {"item": "apple", "count": 3}}\n</tool_call>\n\n'
    "Question: What is the news?\nAnswer:\n<tool_call>\n"
    '{"name": "news", "arguments": {}}\n</tool_call>\n\n'
)
"""The calls that the chat template shows to the model."""

_DETAILS = {"age": "is {age} years old", "city": "lives in {P}", "job": "works as {A:job}"}
_PLAIN = [
    (line.split(" > ")[0], line.split(" > ")[1])
    for line in Path(__file__).with_name("plain.txt").read_text("utf-8").splitlines()
]
_WANTED = ("Who is it?", "Return the data as JSON.", "Extract the person.", "Fill in the form.")


@dataclass(frozen=True)
class Example:
    """The beginning of a prompt, and the ways in which it goes on.

    Attributes:
        head: Text up to the question.
        asked: The questions up to ``Answer:``, and their answers.
    """

    head: str
    asked: list[tuple[str, str]]


def make_examples(seed: int, texts: int) -> list[Example]:
    """Return examples that have nothing in common with the evaluation.

    Args:
        seed: The same one makes the same examples.
        texts: Number of texts; a tenth as many conversations, results of tools and JSON come along.
    """
    rng = random.Random(seed)
    makers = [_about_text] * texts + [_json] * (texts // 16)
    makers += [_talk] * (texts // 24) + [_result] * (texts // 32)
    makers += [_call] * (texts // 16) + [_plain] * (texts // 8)
    rng.shuffle(makers)
    made = [make(rng) for make in makers]
    return [example for example in made if example]


def _about_text(rng: random.Random) -> Example | None:
    text = make_text(rng)
    body = rng.choice([" ", " ", " ", " ", "\n"]).join(text.sentences)
    if rng.random() < 0.12:
        parts = [body, " ".join(make_text(rng).sentences)]
        rng.shuffle(parts)
        body = "\n\n".join(parts)
    asked: list[Asked] = []
    for kind, most in (("fact", 4), ("list", 1), ("opposite", 2), ("changed", 1), ("unknown", 1)):
        some = text.of_kind(kind)
        # Some texts answer everything, so that it is no habit to find something missing.
        if kind != "unknown" or rng.random() < 0.75:
            asked += rng.sample(some, min(most, len(some)))
    if is_in_evaluation(body, [one.question for one in asked]):
        return None
    prompt = rng.choice(PROMPTS if rng.random() < 0.85 else _OTHER_PROMPTS)
    head, tail = prompt.split("{text}")
    return Example(
        head + body, [(tail.replace("{question}", one.question), f" {one.answer}") for one in asked]
    )


def _talk(rng: random.Random) -> Example | None:
    """Make a conversation in which something is remembered."""
    said, question, answer = _filled(rng, rng.choice(_TALKS))
    reply = rng.choice(["Nice to meet you.", "Good to know.", "Thank you.", "Hello!", "I see."])
    between = rng.choice(["", "Question: What colour is a clear sky?\nAnswer: Blue.\n\n"])
    head = f"Question: {said}\nAnswer: {reply}\n\n{between}Question:"
    return Example(head, [(f" {question}\nAnswer:", f" {answer}")])


def _result(rng: random.Random) -> Example | None:
    """Make an answer from the result of a tool."""
    result, question, answer = _filled(rng, rng.choice(_RESULTS))
    return Example(result, [(f"\n\nQuestion: {question}\nAnswer:", f" {answer}")])


def _json(rng: random.Random) -> Example | None:
    values = Values(rng)
    person = {"name": values.get_slot(rng.choice(["first", "full"])), "age": rng.randint(13, 88)}
    person |= {"city": values.get_slot("P"), "job": values.get_slot("job")}
    values["age"] = str(person["age"])
    told = rng.sample(list(_DETAILS), rng.choice([1, 2]))
    text = f"{person['name']} {' and '.join(fill(_DETAILS[key], values) for key in told)}."
    if is_in_evaluation(text, []):
        return None
    answer = json.dumps({key: person[key] for key in person if key in ("name", *told)})
    head = rng.choice([text, f"Question: {text}"])
    return Example(head, [(f"\n\nQuestion: {rng.choice(_WANTED)}\nAnswer:", f" {answer}")])


def _call(rng: random.Random) -> Example | None:
    """Make a call of one of two tools."""
    name, templates, question = rng.choice(_CALLS)
    other = rng.choice([call for call in _CALLS if call[0] != name])
    values = Values(rng)
    asked = fill(question, values)
    arguments = {key: _value(fill(template, values)) for key, template in templates.items()}
    tools = [_tool(name, arguments), _tool(other[0], dict.fromkeys(other[1], ""))]
    rng.shuffle(tools)
    head = "<tools>\n" + "".join(f"{json.dumps(tool)}\n" for tool in tools) + "</tools>\n\n"
    call = json.dumps({"name": name, "arguments": arguments})
    answer = f"\n<tool_call>\n{call}\n</tool_call>"
    return Example(f"{head}{SHOWN_CALLS}Question:", [(f" {asked}\nAnswer:", answer)])


def _value(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _tool(name: str, arguments: dict[str, str | int]) -> dict[str, object]:
    kinds = {
        key: "string" if isinstance(value, str) else "integer" for key, value in arguments.items()
    }
    properties = {key: {"type": kind} for key, kind in kinds.items()}
    parameters = {"type": "object", "properties": properties, "required": list(arguments)}
    return {"name": name, "parameters": parameters}


def _plain(rng: random.Random) -> Example | None:
    """Make a question without a text."""
    question, answer = rng.choice(_PLAIN)
    return Example("Question:", [(f" {question}\nAnswer:", f" {answer}")])


def _filled(rng: random.Random, templates: tuple[str, str, str]) -> tuple[str, str, str]:
    values = Values(rng)
    said, question, answer = (fill(template, values) for template in templates)
    return said, question, with_capital(answer)
