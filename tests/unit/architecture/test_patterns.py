"""Regular expressions of the api: none can take exponential time, whatever is sent.

`re` holds the interpreter while it searches: one upload of 200 bytes that is tried in every division stops every request
of the process. Such an expression repeats without bound what is itself repeated without bound, and gives back.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import re._constants as codes
import re._parser as parser
from collections.abc import Iterator
from typing import Any

import pytest

import services.api

LIMITLESS = codes.MAXREPEAT
HARMLESS: dict[str, str] = {}
"""Patterns whose inner repetition is delimited, so that there is one way only to divide a text; each with the reason."""


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every compiled expression that stands in a module of the api."""
    for found in pkgutil.walk_packages(services.api.__path__, "services.api."):
        if found.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(found.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{found.name}.{name}", value


def repeats_repetitions(tree: Any, *, inside: bool = False) -> bool:
    """Whether an unbounded repetition that gives back lies within another one."""
    for code, argument in tree:
        if code in {codes.MAX_REPEAT, codes.MIN_REPEAT} and argument[1] == LIMITLESS:
            if inside or repeats_repetitions(argument[2], inside=True):
                return True
        elif code is codes.POSSESSIVE_REPEAT or code is codes.ATOMIC_GROUP:
            inner = argument[2] if code is codes.POSSESSIVE_REPEAT else argument
            if repeats_repetitions(inner, inside=False):
                return True
        elif any(repeats_repetitions(part, inside=inside) for part in _parts(code, argument)):
            return True
    return False


def _parts(code: Any, argument: Any) -> list[Any]:
    match code:
        case codes.SUBPATTERN:
            return [argument[3]]
        case codes.BRANCH:
            return list(argument[1])
        case codes.MAX_REPEAT | codes.MIN_REPEAT:
            return [argument[2]]
        case codes.ASSERT | codes.ASSERT_NOT:
            return [argument[1]]
        case _:
            return []


@pytest.mark.parametrize("text", [r"(a+)+b", r"(?:\s|%[^\n]*)*x", r"\s*(<!--.*?-->\s*)*x"])
def test_the_check_finds_what_it_looks_for(text: str) -> None:
    """Expressions of the kind that once froze the api."""
    assert repeats_repetitions(parser.parse(text))


@pytest.mark.parametrize("text", [r"(a+b?)x", r"(?:\s++|%[^\n]*+)*+x", r"(?:-[0-9]+){3}", r"a*b*c*"])
def test_the_check_lets_the_others_pass(text: str) -> None:
    """Bounded, possessive, or one after the other."""
    assert not repeats_repetitions(parser.parse(text))


def test_no_expression_of_the_api_repeats_repetitions() -> None:
    """Each is linear or nearly so; write `*+` or `++` where a repetition never has to give back."""
    risky = [
        name
        for name, pattern in patterns()
        if name not in HARMLESS and repeats_repetitions(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
    ]
    assert risky == []
    assert len(list(patterns())) > 10
