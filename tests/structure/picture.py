"""``docs/images/request.svg``: the path of a request, drawn from the names in the code.

``python -m tests.structure.picture`` draws it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import dropwhile, zip_longest
from typing import NamedTuple

from tests.structure.imports import PACKAGE
from tests.structure.trace import PURE, SOCKET, Call, Function, streamed_message

PICTURE = PACKAGE.parent / "docs" / "images" / "request.svg"
COMMAND = "python -m tests.structure.picture"
TITLE = "The path of a streamed message: each function at its first call"
TOP = PACKAGE.name

# How far the cards of a folder stand to the right, and where cards begin and end, in pixels.
INDENTS = {"langchain": 0, "adapters": 9, TOP: 18, "transport": 36, SOCKET: 54}
LEFT, OWN_RIGHT, PURE_LEFT, RIGHT = 36, 424, 464, 804
HEADER, LINE, PADDING, GAP, CHARACTER = 88, 18, 8, 26, 6.9

STYLE = """
    text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
    text { font-size: 13px; fill: #24292f }
    .head { font-size: 15px; font-weight: 600 }
    .module { font-weight: 600 }
    rect { fill: #ffffff; stroke: #57606a; stroke-width: 1.5 }
    .paper { fill: #f6f8fa; stroke: #d0d7de; stroke-width: 1 }
    .langchain { fill: #eaf2ff; stroke: #3b6fc4 }
    .transport { fill: #fff3e6; stroke: #b0470d }
    .pure { fill: #e9f7ed; stroke: #1a7f37 }
    .socket { fill: #e7eaee }
    .path { stroke: #24292f; stroke-width: 1.8; marker-end: url(#end) }
    .asks { stroke: #1a7f37; stroke-width: 1.8 }
    .again { stroke: #57606a; stroke-width: 3 }"""


class Step(NamedTuple):
    """A stay in one folder: functions by module, its own and the pure ones that they call."""

    folder: str
    own: dict[str, list[str]]
    pure: dict[str, list[str]]


class Card(NamedTuple):
    """A box with names of functions, and where it is."""

    kind: str
    left: float
    top: float
    right: float
    functions: dict[str, list[str]]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The lines of text, each in two parts: the module, where it begins, and functions."""
        width = int((self.right - self.left - 2 * PADDING) / CHARACTER)
        found = []
        for module, names in self.functions.items():
            text = f"{module}: {', '.join(names)}"
            first, *more = textwrap.wrap(text, width, subsequent_indent="    ")
            found += [(module, first.removeprefix(module)), *(("", line) for line in more)]
        return found

    @property
    def bottom(self) -> float:
        """Where the box ends."""
        return self.top + len(self.lines) * LINE + PADDING


def steps(calls: Iterable[Call]) -> list[Step]:
    """Return the path from folder to folder, each function at its first call."""
    path: list[Step] = []
    seen = set()
    for function, caller in dropwhile(is_before_ours, calls):
        is_pure = folder(function) in PURE
        place = caller if is_pure and caller else function
        if function.code in seen or not function.is_named:
            continue
        seen.add(function.code)
        if not path or path[-1].folder != folder(place):
            path.append(Step(folder(place), {}, {}))
        if not is_pure or not path[-1].own:
            add(path[-1].own, place)
        if is_pure:
            add(path[-1].pure, function)
    return path


def is_before_ours(call: Call) -> bool:
    """Return whether LangChain has not handed the messages over yet."""
    return call.function.name != "ChatMlxcel._stream"


def folder(function: Function) -> str:
    """Return the folder of a function."""
    is_at_top = "." not in function.module and function.module != SOCKET
    return TOP if is_at_top else function.module.partition(".")[0]


def short_name(function: Function) -> str:
    """Return the name of a function without its class; for a constructor, that of the class."""
    outer, _, name = function.name.rpartition(".")
    return outer if name == "__init__" else name


def add(functions: dict[str, list[str]], new: Function) -> None:
    """Add the name of a function to those of its module."""
    names = functions.setdefault(new.module, [])
    if short_name(new) not in names:
        names.append(short_name(new))


def cards(path: Iterable[Step]) -> list[tuple[Card, Card | None]]:
    """Return the boxes of a path from top to bottom, that of the pure functions beside its own."""
    placed: list[tuple[Card, Card | None]] = []
    top = float(HEADER)
    for step in path:
        own = Card(step.folder, LEFT + INDENTS[step.folder], top, OWN_RIGHT, step.own)
        pure = Card("pure", PURE_LEFT, top, RIGHT, step.pure) if step.pure else None
        placed.append((own, pure))
        top = max(card.bottom for card in (own, pure) if card) + GAP
    return placed


def picture(path: Iterable[Step]) -> str:
    """Return the path as an SVG image."""
    placed = cards(path)
    own = [card for card, _ in placed]
    height = max(card.bottom for pair in placed for card in pair if card) + 16
    body = [box("paper", 1, 1, 819, height - 1)]
    body += [text(LEFT, 28, TITLE, "head")]
    body += [
        text(LEFT, 56, 'your program: model.stream("Hi")'),
        text(PURE_LEFT, 56, "pure: decides, never waits"),
    ]
    body += [arrow(LEFT + 30, 62, HEADER)]
    for (card, pure), following in zip_longest(placed, own[1:]):
        if pure:
            body.append(line("asks", card.right, card.top + 14, pure.left, card.top + 14))
            body += drawn(pure)
        if following:
            x = max(card.left, following.left) + 30
            body.append(arrow(x, card.bottom, following.top))
        body += drawn(card)
    body += loop(own)
    return svg(height, body)


def loop(own: list[Card]) -> list[str]:
    """Return a mark beside the cards that are passed again for each piece of the answer."""
    kinds = [card.kind for card in own]
    first = kinds.index(SOCKET)
    last = kinds.index("langchain", first)
    top, bottom = own[first].top, own[last].bottom
    middle = (top + bottom) / 2
    label = (
        f'<text transform="rotate(-90 18 {middle:g})" text-anchor="middle" x="18" y="{middle:g}">'
    )
    return [line("again", 26, top, 26, bottom), f"{label}for each piece of the answer</text>"]


def drawn(card: Card) -> list[str]:
    """Return a card as elements of SVG."""
    elements = [box(card.kind, card.left, card.top, card.right, card.bottom)]
    for row, (module, rest) in enumerate(card.lines, 1):
        x = card.left + PADDING + (0 if module else 14)
        name = f'<tspan class="module">{module}</tspan>' if module else ""
        elements.append(text(x, card.top + row * LINE - 2, name + rest.strip()))
    return elements


def svg(height: float, body: list[str]) -> str:
    """Return an SVG document."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {height:g}" '
        f'role="img" aria-labelledby="title">\n  <title id="title">{TITLE}</title>\n'
        f"  <style>{STYLE}\n  </style>\n"
        '  <defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" '
        'markerHeight="5" orient="auto"><path d="M0 0 8 4 0 8z" fill="#24292f"/></marker></defs>\n'
    )
    return head + "".join(f"  {element}\n" for element in body) + "</svg>\n"


def box(kind: str, left: float, top: float, right: float, bottom: float) -> str:
    """Return a rectangle."""
    size = f'width="{right - left:g}" height="{bottom - top:g}"'
    return f'<rect class="{kind}" x="{left:g}" y="{top:g}" {size} rx="6"/>'


def text(x: float, y: float, content: str, kind: str = "text") -> str:
    """Return a line of text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{content}</text>'


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a straight line."""
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def arrow(x: float, top: float, bottom: float) -> str:
    """Return an arrow that points down."""
    return line("path", x, top, x, bottom)


def current_picture() -> str:
    """Return the picture that belongs to the code as it is."""
    return picture(steps(streamed_message()))


if __name__ == "__main__":
    PICTURE.write_text(current_picture())
