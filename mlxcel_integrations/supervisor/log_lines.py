"""Lines of a server's log: level, text, progress and failures, read from text alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "ESCAPE_SEQUENCE",
    "PROBE_ERROR",
    "TEMPLATE_SIGN",
    "Progress",
    "is_loading",
    "is_model_missing",
    "load_failure",
    "read_progress",
    "split_line",
    "template_failure",
]

_TEXT_CHARACTERS = 120
_SEARCHED_CHARACTERS = 8 * 1024
"""Characters at the end of a log that are searched for the last line with any text."""

_SEARCHED_LINE_CHARACTERS = 1000
_REASON_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a server that starts.

    Attributes:
        text: Its last line, without time, level and control characters.
        fraction: The part that is done, 0 to 1; None if the line does not say.
        downloading: Whether it is downloading the model.
        size: Size of what it reads or downloads in bytes, None if the line does not say.
    """

    text: str
    fraction: float | None
    downloading: bool
    size: float | None = None


ESCAPE_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"
)
"""A colour, a title of the window, or another command to a terminal."""
_PREFIX = re.compile(
    r"""
    (?: \[? \d{4}-\d\d-\d\d [T ] \d\d:\d\d:\d\d (?:[.,]\d+)? (?:Z|[+-]\d\d:?\d\d)? \]? \s+ )?
    (?: \d+\.\d\d\.\d{3}\.\d{3} \s+ )?                      # llama.cpp: time since the start
    (?: \[? (?P<level>TRACE|DEBUG|INFO|WARN(?:ING)?|ERROR) \]? \s+
        (?: [a-z_]\w* \{ [^{}]* \} : \s* )*                  # what it was doing: prefill{...}:
        (?: [a-z_]\w* (?:::\w+)* : \s+ )?                   # the module that says it
      | (?P<letter>[DIWE]) \s+
    )?
    """,
    re.VERBOSE,
)
_FIELD = re.compile(r"[a-z_]\w*=\S+")
"""A field of a structured log, at the end of a line."""
PROBE_ERROR = re.compile(r"trace::on_failure: response failed .*\b503\b")
"""The error that mlxcel logs for each answer of 503, as to a probe while it is loading."""
TEMPLATE_SIGN = "Chat template render failed, using fallback: "
"""What mlxcel up to v0.4.2 logs instead of refusing a chat, before the reason."""
_ROUTE_LIST = re.compile(r"(?:GET|POST|PUT|DELETE) +/|Endpoints:$")
"""The list of routes that ends the log of a start."""
_MODEL_FILE = r"\.(?:safetensors|gguf|json|jinja|txt|model)\b"
_PROGRESS_SIGN = re.compile(rf"load|fetch|progress|\||{_MODEL_FILE}", re.IGNORECASE)
_PERCENT = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d+)?) ?%(?! of\b)")
_SIZES = re.compile(
    r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)? ?/ ?(\d+(?:\.\d+)?) ?([KMGT])(?:i?B)?\b", re.I
)
_UNITS = {unit: 1024.0**power for power, unit in enumerate("KMGT", 1)}
_DOWNLOAD_SIGN = re.compile(
    rf"\bdownload(?:ing|ed)?\b|\bfetching\b|^\[\d+/\d+\] (?:cached|done):|{_MODEL_FILE}.*\d ?[%/]",
    re.IGNORECASE,
)
_NOT_A_DOWNLOAD = re.compile(
    r"\bload(?:ing|ed)?\b|\bcompleted?\b|\bfinished\b|\bskipping\b|\bfailed\b", re.IGNORECASE
)


def read_progress(tail: str) -> Progress | None:
    """Read the progress of a server from the end of its output; None if that says nothing."""
    # Carriage returns end lines here, too: the latest state of a redrawn bar comes last.
    for line in reversed(tail[-_SEARCHED_CHARACTERS:].splitlines()):
        text = _without_fields(split_line(line)[1])[:_TEXT_CHARACTERS]
        says_something = any(map(str.isalpha, text)) or _PERCENT.search(text)
        if says_something and not _ROUTE_LIST.match(text):
            downloading = _DOWNLOAD_SIGN.search(text) and not _NOT_A_DOWNLOAD.search(text)
            fraction = _fraction(text)
            size = _total_size(text) if fraction is not None else None
            return Progress(text, fraction, bool(downloading), size)
    return None


def split_line(line: str) -> tuple[str | None, str]:
    """Split a line of a log into the first letter of its level, None without one, and its text.

    The text can be shown: it has no time, module, escape sequences or control characters.
    """
    plain = ESCAPE_SEQUENCE.sub("", line)
    if not plain.isprintable():
        plain = "".join(c if c.isprintable() else " " for c in plain)
    plain = " ".join(plain.split())
    prefix = _PREFIX.match(plain)
    assert prefix is not None  # each part of it is optional
    level = prefix["level"] or prefix["letter"]
    return level and level[0], plain[prefix.end() :]


def _total_size(text: str) -> float | None:
    """Return the whole size, of which a part is done, in bytes."""
    sizes = _SIZES.search(text)
    return float(sizes[3]) * _UNITS[sizes[4].upper()] if sizes else None


def _fraction(text: str) -> float | None:
    """Return the part that is done; a count of files says nothing about their sizes."""
    if not _PROGRESS_SIGN.search(text):
        return None
    fraction = None
    if percent := _PERCENT.search(text):
        fraction = float(percent[1]) / 100
    elif sizes := _SIZES.search(text):
        done = float(sizes[1]) * _UNITS[(sizes[2] or sizes[4]).upper()]
        total = float(sizes[3]) * _UNITS[sizes[4].upper()]
        fraction = done / total if total else None
    return fraction if fraction is not None and fraction <= 1 else None


_FAILURE = re.compile(
    r"""
    \b (?:fail(?:ed|ure)?|error|unable|cannot|can't|could\ not|couldn't) \b
    .{0,20}? \b load(?:ing)? \b .{0,30}? \b (?:model|weights?|checkpoint|tensors?|safetensors) \b
    | \b (?:model|weights?) \b .{0,10} \b load(?:ing)? \s (?:failed|error) \b
    | \b load(?:ing)? \b .{0,20} \b (?:model|weights?) \b .{0,60} \b failed \s* (?: : | $ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LOADING = re.compile(r"\bloading\b.{0,10}?\b(?:model|weights?|checkpoint)\b", re.IGNORECASE)
_LOADED = re.compile(r"\bmodel\b.*\bloaded\b", re.IGNORECASE)
_SIDE_MODEL = re.compile(
    r"warmup|draft|speculative|adapter|lora|embed|rerank|template|tokenizer|cache|mmproj|vision",
    re.IGNORECASE,
)
_NOT_FATAL = re.compile(r"non-?fatal|ignor|skipp|fall(?:ing|s)? back|retry|default", re.IGNORECASE)


def _without_fields(text: str) -> str:
    words = text.split(" ")
    while len(words) > 1 and _FIELD.fullmatch(words[-1]):
        words.pop()
    return " ".join(words)


def is_loading(log: str) -> bool:
    """Return whether the last line about loading says that it has begun, not that it is done."""
    for line in reversed(log.splitlines()):
        if "load" in line.lower():
            text = split_line(line[:_SEARCHED_LINE_CHARACTERS])[1]
            if _LOADED.search(text) or _FAILURE.search(text):
                return False
            if _LOADING.search(text):
                return True
    return False


def is_model_missing(log: str, model: str) -> bool:
    """Return whether a log has an error about the name of a model, which mlxcel quotes."""
    # mlxcel puts the default owner before a name without one.
    names = (f"'{model}'", f"/{model}'")
    return any(
        line.startswith("Error: ") and any(name in line for name in names)
        for line in log.splitlines()
    )


def template_failure(log: str) -> str | None:
    """Return why the chat template failed the last time, None if a log does not say."""
    line = log.rpartition(TEMPLATE_SIGN)[2] if TEMPLATE_SIGN in log else ""
    return split_line(line.partition("\n")[0])[1][:_REASON_CHARACTERS] or None


def load_failure(log: str) -> str | None:
    """Return the first line that reports that the model cannot be loaded, None without one."""
    return next((text for line in log.splitlines() if (text := _load_error(line))), None)


def _load_error(line: str) -> str | None:
    if "load" not in line.lower():
        return None
    level, text = split_line(line[:_SEARCHED_LINE_CHARACTERS])
    found = _FAILURE.search(text)
    if found is None or level not in (None, "E"):
        return None
    # Only up to the reason, in which there may be a path with any name in it.
    end = text.find(": ", found.end() - 1)
    if _NOT_FATAL.search(text, 0, end if end != -1 else len(text)):
        return None
    # Side models fail in the same words. After the match may come a path with any name in it.
    return None if _SIDE_MODEL.search(text[: found.end()]) else text
