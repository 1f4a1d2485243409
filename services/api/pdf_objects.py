"""One dictionary of a PDF, read with the standard library alone: enough to ask whether a file is locked.

Reads names, numbers, strings in both notations, references, arrays and dictionaries within one dictionary (ISO 32000-2, 7.3).
Never follows a reference, never unpacks a stream, and gives up on whatever is nested deeper than such a dictionary is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

Value = object
"""bytes for strings, str for names, int, float, bool, None, `Reference`, list, dict."""

_DEEPEST = 8
# Blanks and comments are possessive (`*+`): given back, they would be tried in every division, and text inside a comment
# could be taken for a token.
_TOKEN: Final = re.compile(
    rb"(?:[\x00\t\n\x0c\r ]++|%[^\r\n]*+)*+"
    rb"(<<|>>|\[|\]|\(|<[0-9A-Fa-f\x00\t\n\x0c\r ]*>|/[^\x00\t\n\x0c\r ()<>\[\]{}/%]*|[^\x00\t\n\x0c\r ()<>\[\]{}/%]+)"
)
_REFERENCE = re.compile(rb"[\x00\t\n\x0c\r ]+(\d{1,10})[\x00\t\n\x0c\r ]+R\b")
_BLANKS = re.compile(rb"[\x00\t\n\x0c\r ]+")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|\r\n|[\s\S])")
_ESCAPED: Final = {
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"b": b"\b",
    b"f": b"\f",
    b"\n": b"",
    b"\r": b"",
    b"\r\n": b"",
}


class Unreadable(ValueError):
    """This is no dictionary, or none that is read here."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The number and generation of another object."""

    number: int
    generation: int


def read_dictionary(text: bytes, start: int = 0) -> dict[str, Value]:
    """The dictionary that begins at the next `<<` from `start` on.

    Raises:
        Unreadable: there is none, or it does not end.
    """
    at = text.find(b"<<", start)
    if at < 0:
        raise Unreadable("there is no dictionary")
    value, _ = _value(text, at, 0)
    if not isinstance(value, dict):
        raise Unreadable("this is no dictionary")
    return value


def read_string(text: bytes, start: int) -> bytes:
    """The string that stands at `start`.

    Raises:
        Unreadable: there is none.
    """
    value, _ = _value(text, start, 0)
    if not isinstance(value, bytes):
        raise Unreadable("this is no string")
    return value


def _value(text: bytes, at: int, depth: int) -> tuple[Value, int]:
    """The value at a place, and the place behind it."""
    found = _TOKEN.match(text, at)
    if found is None or depth > _DEEPEST:
        raise Unreadable("it is cut off or nested too deeply")
    token, end = found[1], found.end()
    if token == b"<<":
        return _dictionary(text, end, depth)
    if token == b"[":
        return _until(text, end, b"]", depth)
    if token == b"(":
        return _literal(text, end)
    if token.startswith(b"<"):
        digits = _BLANKS.sub(b"", token[1:-1])
        return bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode("ascii")), end
    if token.startswith(b"/"):
        return token[1:].decode("latin-1"), end
    return _plain(text, token, end)


def _dictionary(text: bytes, at: int, depth: int) -> tuple[dict[str, Value], int]:
    items, end = _until(text, at, b">>", depth)
    pairs = zip(items[::2], items[1::2], strict=False)
    return {key: value for key, value in pairs if isinstance(key, str)}, end


def _until(text: bytes, at: int, close: bytes, depth: int) -> tuple[list[Value], int]:
    items: list[Value] = []
    while True:
        found = _TOKEN.match(text, at)
        if found is not None and found[1] == close:
            return items, found.end()
        value, at = _value(text, at, depth + 1)
        items.append(value)


def _literal(text: bytes, start: int) -> tuple[bytes, int]:
    """A string in parentheses, which may hold others in pairs."""
    depth, at = 1, start
    while depth:
        if at >= len(text):
            raise Unreadable("a string does not end")
        character = text[at : at + 1]
        at += 2 if character == b"\\" else 1
        depth += {b"(": 1, b")": -1}.get(character, 0)
    return _ESCAPE.sub(_unescaped, text[start : at - 1]), at


def _unescaped(found: re.Match[bytes]) -> bytes:
    escaped = found[1]
    if escaped.isdigit() and escaped[:1] < b"8":
        return bytes([int(escaped, 8) & 0xFF])
    return _ESCAPED.get(escaped, escaped)


def _plain(text: bytes, token: bytes, end: int) -> tuple[Value, int]:
    words = {b"true": True, b"false": False, b"null": None}
    if token in words:
        return words[token], end
    try:
        number = float(token) if b"." in token else int(token)
    except ValueError as error:
        raise Unreadable(f"{token[:20]!r} is no value") from error
    referred = _REFERENCE.match(text, end) if isinstance(number, int) else None
    if referred is not None:
        return Reference(int(number), int(referred[1])), referred.end()
    return number, end
