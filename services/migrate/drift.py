"""Compares a schema with what it should be: both are digests by the names of objects, `table public.courses` and the like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Final, Literal

from services.kernel.texts import shortened

SUMMARY_BYTES: Final = 600
_NAMED: Final = 5
_LONGEST: Final = 110
_HASH_LENGTH: Final = 16
_TRAITS: Final = (
    {"r": "an ordinary table", "p": "partitioned", "f": "a foreign table"},
    {"p": "logged", "u": "unlogged"},
    {"t": "row security on", "f": "row security off"},
    {"t": "row security forced", "f": "row security not forced"},
)
"""What a table is apart from its parts, which are objects of their own: letters of drift.sql, in its order, and their words."""
_TABLES: Final = {
    hashlib.md5(" ".join(letters).encode(), usedforsecurity=False).hexdigest(): letters for letters in product(*_TRAITS)
}
"""The letters that a table's digest is made of. They are few enough to be found again: what was noted need say no more."""

Objects = Mapping[str, str]
State = Literal["InSync", "Drifted"]


@dataclass(frozen=True, slots=True)
class Drift:
    """How a schema compares with what it should be."""

    state: State
    fingerprint: str
    """Sixteen digits that stand for the schema as it is."""
    summary: str
    """A sentence for people that names a few objects; at most `SUMMARY_BYTES` bytes."""


def compare(expected: Objects, actual: Objects, ignore: Sequence[str] = ()) -> Drift:
    """How `actual` differs from `expected`, apart from objects that a pattern of `ignore` names."""
    expected, actual = _heeded(expected, ignore), _heeded(actual, ignore)
    differences = [
        *(f"{name} added" for name in _whole(actual.keys() - expected.keys())),
        *(f"{name} removed" for name in _whole(expected.keys() - actual.keys())),
        *(
            f"{name} changed{_traits(expected[name], actual[name])}"
            for name in sorted(expected.keys() & actual.keys())
            if expected[name] != actual[name]
        ),
    ]
    state: State = "Drifted" if differences else "InSync"
    return Drift(state, fingerprint(actual), _summary(differences, len(actual)))


def fingerprint(objects: Objects) -> str:
    """Sixteen digits that stand for a schema."""
    lines = "\n".join(f"{name} {objects[name]}" for name in sorted(objects))
    return hashlib.sha256(lines.encode()).hexdigest()[:_HASH_LENGTH]


def carried(expected: Objects, before: Objects, after: Objects) -> Objects:
    """What the schema should be after a run that turned `before` into `after`.

    What the run did not touch stays as it was expected, so that no run hides what somebody has changed by hand.
    """
    touched = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    kept = {name: digest for name, digest in expected.items() if name not in touched}
    return kept | {name: after[name] for name in touched & after.keys()}


def _heeded(objects: Objects, ignore: Sequence[str]) -> Objects:
    return {name: digest for name, digest in objects.items() if not any(_matches(name, each) for each in ignore)}


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.partition(" ")[2], pattern)


def _whole(names: Iterable[str]) -> list[str]:
    """`names` without what belongs to a table that is among them."""
    present = set(names)
    tables = tuple(f"{name.partition(' ')[2]}." for name in present if name.startswith("table "))
    return sorted(name for name in present if not name.partition(" ")[2].startswith(tables))


def _traits(was: str, now: str) -> str:
    """What a table has become, in brackets; nothing of other objects, whose digests tell nothing."""
    if was not in _TABLES or now not in _TABLES:
        return ""
    pairs = zip(_TRAITS, _TABLES[was], _TABLES[now], strict=True)
    return f" ({', '.join(words[after] for words, before, after in pairs if before != after)})"


def _summary(differences: Sequence[str], count: int) -> str:
    if not differences:
        return f"{count} objects are as the migrations made them"
    listed = "; ".join(shortened(each, _LONGEST) for each in differences[:_NAMED])
    more = f"; and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
    return shortened(f"{len(differences)} differences: {listed}{more}", SUMMARY_BYTES)
