"""Objects of a type from JSON that is still coming: what they hold at each step."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import typing
from typing import Annotated, Any, Literal, NewType

import pydantic.dataclasses
import pytest
from pydantic import BaseModel, Field

from mlxcel_integrations.structured.partial_json import MISSING, IncrementalJSON
from mlxcel_integrations.structured.partial_objects import partial_objects
from tests.structured.schemas import v1


def growth(output_type: Any, *pieces: str) -> list[Any]:
    """Return what is made of each value that is new."""
    parser, make = IncrementalJSON(), partial_objects(output_type)
    return [make(parser.value) for piece in pieces if parser.feed(piece)]


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


@dataclasses.dataclass
class Chain:
    name: str
    next: Chain | None = None


class OldTree(v1.BaseModel):
    name: str
    size: int | None = None
    children: list[OldTree] | None = None


OldTree.update_forward_refs()

A1, A = Tree(name="a1"), Tree(name="a", children=[Tree(name="a1")])
OLD_A = OldTree(name="a", size=None)


@pytest.mark.parametrize(
    ("output_type", "pieces", "expected"),
    [
        (
            Tree,
            [
                '{"name": "r", "children": [{"name": "a", "children": [{"name": "a1"',
                "}]}",
                ', {"name": "b", "children": [{"name": "c"}, {"name": "d',
                'd"}, {"name": "e"}]}, {"name": "f"',
            ],
            [
                Tree(name="r", children=[A]),
                Tree(
                    name="r",
                    children=[A, Tree(name="b", children=[Tree(name="c"), Tree(name="d")])],
                ),
                Tree(
                    name="r",
                    children=[
                        A,
                        Tree(name="b", children=[Tree(name=name) for name in ("c", "dd", "e")]),
                        Tree(name="f"),
                    ],
                ),
            ],
        ),
        (
            Chain,
            ['{"name": "a", "next": {"name": "b', '"', ', "next": {"name": "c"}}}'],
            [Chain("a", Chain("b")), Chain("a", Chain("b", Chain("c")))],
        ),
        (
            OldTree,
            ['{"name": "a", "size": null', ', "children": [{"name": "b"', ', "size": 1}]}'],
            [
                OLD_A,
                OldTree(name="a", children=[OldTree(name="b")]),
                OldTree(name="a", children=[OldTree(name="b", size=1)]),
            ],
        ),
    ],
    ids=["model", "dataclass", "model of version 1"],
)
def test_types_that_contain_themselves_grow(
    output_type: Any, pieces: list[str], expected: list[Any]
) -> None:
    assert expected == growth(output_type, *pieces)


class Sooner(BaseModel):
    when: datetime.date


class Later(BaseModel):
    when: str


class Cat(BaseModel):
    kind: Literal["cats"]


class Other(BaseModel):
    kind: str


UserId = NewType("UserId", int)
DAY = datetime.date(2026, 1, 2)
Unhashable = Annotated[int, {"a": "remark"}]


class Bare(BaseModel):
    items: typing.List  # type: ignore[type-arg] # noqa: UP006 - as users write it
    names: typing.Dict  # type: ignore[type-arg] # noqa: UP006 - as users write it
    more: collections.abc.Sequence = ()  # type: ignore[type-arg] # as users write it


@pytest.mark.parametrize(
    ("output_type", "pieces", "expected"),
    [
        # What is complete is of the member that it fits, whatever it looked like before.
        (
            list[Sooner | Later],
            ['[{"when": "2026', '-1"}', ', {"when": "', '2026-01-02"}, '],
            [
                [Sooner.model_construct(when=None)],
                [Sooner.model_construct(when=None)],
                [Later(when="2026-1"), Sooner.model_construct(when=None)],
                [Later(when="2026-1"), Sooner(when=DAY)],
            ],
        ),
        (
            list[Cat | Other],
            ['[{"kind": "cat', '"}, {'],
            [
                [Cat.model_construct(kind=None)],
                [Other(kind="cat"), Cat.model_construct(kind=None)],
            ],
        ),
        (
            list[datetime.date] | list[str],
            ['["2026-01-02", "so', 'on", "', "x", '"]'],
            [[DAY], ["2026-01-02", "soon", ""], ["2026-01-02", "soon", "x"]],
        ),
        (
            list[dict[str, datetime.date] | dict[str, str]],
            ['[{"a": "2026-01-02", "b": "so', 'on"}, {'],
            [[{"a": DAY}], [{"a": "2026-01-02", "b": "soon"}, {}]],
        ),
        (
            dict[str, datetime.date],
            ["{", '"a": "2026-01-02"', ', "b": "2026-', '01-02"}'],
            [{}, {"a": DAY}, {"a": DAY}, {"a": DAY, "b": DAY}],
        ),
        (
            list[list[str]],
            ['[["a"]', ', ["x", "y', 'z"], ["x"', ', "y"'],
            [
                [["a"]],
                [["a"], ["x", "y"]],
                [["a"], ["x", "yz"], ["x"]],
                [["a"], ["x", "yz"], ["x", "y"]],
            ],
        ),
        (list[UserId], ["[1, 2", ", 3"], [[1], [1, 2]]),
        (tuple[Unhashable, str], ['[1, "a', '"]'], [(1, "a")]),
        (list[Unhashable], ["[1, "], [[1]]),
        (list, ["[1, [2"], [[1, []]]),
        (Bare, ['{"items": [1, ', '2], "names": {"a": 1}'], [
            Bare.model_construct(items=[1], names=None),
            Bare(items=[1, 2], names={"a": 1}),
        ]),
        (list[Literal["ab"]], ['["a', 'b"', ', "x'], [[], ["ab"], MISSING]),
        (list[Literal["ab"]], ["[", "{"], [[], MISSING]),
        (list[list[Literal["ab"]] | list[str]], ['[["a"], ['], [[["a"], []]]),
        (dict[str, Any], ['{"a": [1, '], [{"a": [1]}]),
        (Tree | int, ['"a'], [MISSING]),
        (Tree, ["["], [MISSING]),
        (dict[str, int], ["["], [MISSING]),
        (list[int], ["{"], [MISSING]),
        (OldTree, ['{"name": null, "size": 1, '], [MISSING]),
    ],
    # Without addresses in memory, which are others in each process.
    ids=lambda value: str(value).partition("<object")[0][:40],
)  # fmt: skip
def test_what_is_made_at_each_step(
    output_type: Any, pieces: list[str], expected: list[Any]
) -> None:
    assert expected == growth(output_type, *pieces)


@dataclasses.dataclass
class Plain:
    name: str
    count: int = 5
    tags: list[str] = dataclasses.field(default_factory=lambda: ["new"])


@pydantic.dataclasses.dataclass
class Checked:
    name: str = Field(alias="NAME")
    needed: int = Field(ge=0)
    count: int = Field(5, ge=0)
    tags: list[str] = Field(default_factory=lambda: ["new"])


@pytest.mark.parametrize("output_type", [Plain, Checked])
def test_fields_that_have_not_come_are_their_defaults(output_type: Any) -> None:
    key = "name" if output_type is Plain else "NAME"
    [first, named, last] = growth(output_type, "{", f'"{key}": "a"', ', "count": 7, "tags": ["b"]}')

    assert (None, 5, ["new"]) == (first.name, first.count, first.tags)
    assert ("a", 5, ["new"]) == (named.name, named.count, named.tags)
    assert ("a", 7, ["b"]) == (last.name, last.count, last.tags)
    assert output_type is type(first)
    assert None is getattr(first, "needed", None)


class Person(BaseModel):
    name: str = Field(alias="NAME")
    age: int | None = None


class OldPerson(v1.BaseModel):
    name: str = v1.Field(alias="NAME")
    age: int | None = None


class OldBox(v1.BaseModel):
    size: v1.conint(gt=0)  # type: ignore[valid-type]
    names: list[v1.constr(max_length=3)]  # type: ignore[valid-type]


def test_constrained_types_of_old_models_are_read_as_they_are_complete() -> None:
    seen = growth(OldBox, '{"size": 7', ', "names": ["a', '", "b"]', "}")

    assert OldBox(size=7, names=["a", "b"]) == seen[-1]
    assert 7 == seen[1].size


def test_models_know_which_of_their_fields_have_come() -> None:
    seen = growth(Person, "{", '"NAME": "a"', ', "age": 7}')
    old = growth(OldPerson, "{", '"NAME": "a"', ', "age": 7}')

    assert [set(), {"name"}, {"name", "age"}] == [each.model_fields_set for each in seen]
    assert [set(), {"name"}, {"name", "age"}] == [each.__fields_set__ for each in old]


class Pair(BaseModel):
    first: Tree
    second: str


def test_what_is_complete_is_made_once() -> None:
    _, before, after = growth(Pair, '{"first": {"name": "a"}', ', "second": "b', "c")

    assert ("b", "bc") == (before.second, after.second)
    assert before.first is after.first


def test_what_has_no_type_outside_of_its_function_is_left_out() -> None:
    class Town(BaseModel):
        name: str

    @dataclasses.dataclass
    class Way:
        to: Town

    class Plan(BaseModel):
        ways: list[Way]
        first: Way | None = None
        last: Way = Way(Town(name="home"))

    oslo = '{"to": {"name": "Oslo"}}'
    [seen, last] = growth(Plan, f'{{"ways": [{oslo}, {oslo}, ', f'{oslo}], "last": {oslo}')

    assert ([], None, "home") == (seen.ways, seen.first, seen.last.to.name)
    assert ([], None, "home") == (last.ways, last.first, last.last.to.name)
