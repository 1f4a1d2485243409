"""JSON from outside, read strictly: what this lets through, every later layer can hold.

Refused with a sentence that says what to change: text that is not UTF-8 or not JSON, NaN and infinities, lone surrogates,
NUL characters, nesting deeper than 32 levels, integers beyond 64 bits and numbers beyond 2^63 (reliability.md M10).
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
import orjson

from services.kernel.errors import InvalidInput

DEEPEST: Final = 32
"""Most levels of nesting."""

_LARGEST_NUMBER = 2**63
_PATTERNS_IN_WORDS: Final = {
    "title": "it needs a visible character, and no line breaks or control characters",
    "language": "send a code of two or three small letters, such as `ru` or `en`",
    **dict.fromkeys(
        ("conversationId", "senderId", "clientMessageId", "userId", "recipientIds"),
        "send an id without line breaks or control characters",
    ),
    "contentType": "send a word of small letters and digits, such as `text` or `text/markdown`",
    "webhookUrl": "send an address that begins with `https://` (`http://` only where the operator allows it), or null for none",
}
"""What a regular expression asks of a field, for people."""

T = TypeVar("T")


def decode(body: bytes, model: type[T]) -> T:
    """The message of type `model` in `body`. Names nobody knows are ignored.

    Raises:
        InvalidInput: naming the place that is wrong, as `details["field"]` when it is a field.
    """
    if not body:
        raise InvalidInput("The request has no body; send a JSON object.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error.msg}.", position=error.pos) from error
    _check(document, 1)
    try:
        return msgspec.convert(document, model)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from error


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        if "\x00" in value:
            raise InvalidInput("The body contains a NUL character (\\u0000); remove it.")
    elif kind is dict:
        _check_depth(depth)
        for name, each in value.items():
            _check(name, depth + 1)
            _check(each, depth + 1)
    elif kind is list:
        _check_depth(depth)
        for each in value:
            _check(each, depth + 1)
    elif kind in {int, float} and not -_LARGEST_NUMBER < value < _LARGEST_NUMBER:
        raise InvalidInput("The body contains a number beyond 64 bits.")


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise InvalidInput(f"The body is nested deeper than {DEEPEST} levels.")


def _explained(text: str) -> InvalidInput:
    sentence, _, place = text.partition(" - at `")
    field = place.rstrip("`").removeprefix("$.").removeprefix("$")
    if sentence.startswith("Object missing required field"):
        field = sentence.rpartition(" ")[2].strip("`")
        return InvalidInput(f"The field `{field}` is required.", field=field)
    if "matching regex" in sentence:
        sentence = _PATTERNS_IN_WORDS.get(field.partition("[")[0], sentence)
    if not field:
        return InvalidInput(f"The body is not valid: {sentence}.")
    return InvalidInput(f"The field `{field}` is not valid: {sentence}.", field=field)
