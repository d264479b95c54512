"""Formats that JSON Schema defines, checked in time proportional to the text.

Internationalized host names and templates are not checked: their rules fill tables. An unknown
format allows any text.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable

__all__ = ["FORMAT_CHECKS", "fits_format"]

_TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_URI_CHARACTERS = r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]"


def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


_is_time = _matcher(_TIME)


def _is_date_time(text: str) -> bool:
    return _is_date(text[:10]) and text[10:11] in ("T", "t", " ") and _is_time(text[11:])


def _is_address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return len(text) < 50 and "%" not in text and bool(kind(text))
        except ValueError:
            return False

    return check


_is_hostname = _matcher(rf"(?=.{{1,253}}\.?$){_LABEL}(\.{_LABEL})*\.?")

FORMAT_CHECKS: dict[str, Callable[[str], bool]] = {
    "date": _is_date,
    "time": _is_time,
    "date-time": _is_date_time,
    "duration": _matcher(
        r"P(?=.)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)"
    ),
    "email": _matcher(r"[^@\s]+@[^@\s]+"),
    "idn-email": _matcher(r"[^@\s]+@[^@\s]+"),
    "hostname": _is_hostname,
    "ipv4": _is_address(ipaddress.IPv4Address),
    "ipv6": _is_address(ipaddress.IPv6Address),
    "uuid": _matcher(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "uri": _matcher(rf"[A-Za-z][A-Za-z0-9+.-]*:{_URI_CHARACTERS}*"),
    "uri-reference": _matcher(rf"{_URI_CHARACTERS}*"),
    "iri": _matcher(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]*"),
    "iri-reference": _matcher(r"[^\s<>\"{}|\\^`]*"),
    "json-pointer": _matcher(r"(/([^~/]|~[01])*)*"),
    "relative-json-pointer": _matcher(r"(0|[1-9]\d*)(#|(/([^~/]|~[01])*)*)"),
}
"""Checks of formats by their names."""


def fits_format(name: object, text: object) -> bool:
    """Return whether a value fits a format; only texts in a known format can fail to."""
    check = FORMAT_CHECKS.get(name) if isinstance(name, str) else None
    return check is None or not isinstance(text, str) or check(text)
