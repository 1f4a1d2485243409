"""Reads the condition of a DELETE or an UPDATE: whether it chooses among the rows at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.migrate.tokens import Token

_CONSTANT: Final = frozenset({"true", "false", "null", "not", "and", "is", "in", "between", "like", "ilike"})


def condition(said: Sequence[Token]) -> Sequence[Token]:
    """What stands behind the WHERE of one command, up to its RETURNING; nothing when it has none."""
    start, depth = len(said), 0
    for place, token in enumerate(said):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        word = _word(token) if depth == 0 else ""
        if word == "where" and start == len(said):
            start = place + 1
        elif word == "returning":
            return said[start:place]
    return said[start:]


def holds_always(said: Sequence[Token]) -> bool:
    """Whether a condition is none, or is true by a part that names no column: `true`, `1 = 1`, `id = 1 OR true`.

    What such a part comes to is not worked out: `false` counts as well.
    """
    inner = _without_parentheses(said)
    choices = _choices(inner)
    if len(choices) > 1 or len(inner) < len(said):
        return any(holds_always(choice) for choice in choices)
    return not any(_names_something(inner, place) for place in range(len(inner)))


def _names_something(said: Sequence[Token], place: int) -> bool:
    token = said[place]
    if token.kind == "name":
        return True
    if token.kind != "word" or token.text[0].isdigit():
        return False
    is_type = place > 0 and said[place - 1].text == ":"  # behind a cast
    return not is_type and _word(token) not in _CONSTANT


def _choices(said: Sequence[Token]) -> list[Sequence[Token]]:
    """`said`, cut at each OR that stands in no parentheses."""
    found, depth, start = list[Sequence[Token]](), 0, 0
    for place, token in enumerate(said):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and _word(token) == "or":
            found.append(said[start:place])
            start = place + 1
    return [*found, said[start:]]


def _without_parentheses(said: Sequence[Token]) -> Sequence[Token]:
    """`said`, without a pair that stands around all of it."""
    depth = 0
    for place, token in enumerate(said):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            return said[1:-1] if place > 0 and place == len(said) - 1 else said
    return said


def _word(token: Token) -> str:
    return token.text.lower() if token.kind == "word" else ""
