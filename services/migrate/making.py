"""What a migration makes itself, so that taking that away again is not taken for a loss.

`CREATE TABLE IF NOT EXISTS` makes nothing for certain: the table may be an old one. A temporary table hides another one of
its bare name only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from services.migrate.reading import Name, Reading, contains, outermost, parts
from services.migrate.statements import Statement
from services.migrate.tokens import Token

KINDS: Final = (
    *("table", "schema", "type", "domain", "function", "procedure", "routine", "aggregate", "view", "sequence"),
    *("database", "extension", "role", "user", "group", "server", "tablespace"),
)
"""Kinds of objects that hold something, or that somebody calls by name."""

_ROUTINES: Final = frozenset({"function", "procedure", "aggregate", "routine"})
_REPLACEABLE: Final = _ROUTINES | {"view"}
_RELATION: Final = "table"
_RELATIONS: Final = frozenset({_RELATION, "view", "sequence"})
"""GRANT and REVOKE call all of them tables."""
_VALUED: Final = (
    *(("default",), ("generated",), ("serial",), ("bigserial",), ("smallserial",)),
    *(("serial4",), ("serial8",), ("serial2",)),
)
_TEMPORARY: Final = "pg_temp"


class Making:
    """What one file makes. Tell it each statement in order, with `follow`."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        self._there: set[tuple[str, Name]] = set()
        self._valued: set[tuple[Name, str]] = set()
        self._anew: set[tuple[str, Name]] = set()
        self._named: set[tuple[str, Name]] = set()
        for statement in statements:
            self._note_creation(statement.tokens)
            self._note_values(statement.tokens)

    def follow(self, said: Sequence[Token]) -> None:
        """`said` has been executed."""
        reading = Reading(said)
        if reading.accept("create"):
            self._there |= set(_created(reading))
        elif reading.accept("drop"):
            kind, names = dropped(reading)
            if kind is not None:
                self._there -= {(kind, self._meant(kind, name)) for name in names}

    def has_made(self, kind: str, name: Name) -> bool:
        """The object is of this file's own making, and still there."""
        return (kind, self._meant(kind, name)) in self._there

    def makes_anew(self, kind: str, name: Name) -> bool:
        """Somewhere in the file a function or a view of this name is made."""
        return (kind, placed(name)) in self._anew

    def creates(self, kind: str, name: Name) -> bool:
        """Somewhere in the file there is a CREATE of it, be it one that leaves an old one as it is."""
        return (_RELATION if kind in _RELATIONS else kind, placed(name)) in self._named

    def gives_value(self, table: Name, column: str) -> bool:
        """After the file the column gets a value when nobody gives it one."""
        return (placed(table), column) in self._valued

    def _meant(self, kind: str, name: Name) -> Name:
        hidden = (_TEMPORARY, *name)
        return hidden if (kind, hidden) in self._there else placed(name)

    def _note_creation(self, said: Sequence[Token]) -> None:
        reading = Reading(said)
        if not reading.accept("create"):
            return
        reading.accept("or", "replace")
        reading.accept_any("unlogged", "foreign", "materialized", "recursive")
        kind = _kind(reading)
        reading.accept("if", "not", "exists")
        name = reading.name()
        if kind is not None and name is not None:
            self._named.add((_RELATION if kind in _RELATIONS else kind, placed(name)))
            if kind in _REPLACEABLE:
                self._anew.add((kind, placed(name)))

    def _note_values(self, said: Sequence[Token]) -> None:
        reading = Reading(said)
        table = altered_table(reading) if reading.accept("alter") else None
        for part in parts(reading.rest()) if table is not None else ():
            action, level = Reading(part), outermost(part)
            if table is None or not action.accept_any("alter", "add"):
                continue
            key = (placed(table), column_of(action))
            if contains(level, "drop", "default") or contains(level, "default", "null"):
                self._valued.discard(key)
            elif any(contains(level, *words) for words in _VALUED):
                self._valued.add(key)


def placed(name: Name) -> Name:
    """A bare name stands for one in schema public, where the files are applied."""
    return ("public", *name) if len(name) == 1 else name


def dropped(reading: Reading) -> tuple[str | None, list[Name]]:
    """What a DROP names, read behind that word: the kind, None if it is none of `KINDS`, and the names."""
    reading.accept_any("foreign", "materialized")
    kind = _kind(reading)
    reading.accept("if", "exists")
    return kind, list(reading.names()) if kind is not None else []


def altered_table(reading: Reading) -> Name | None:
    """The table of an ALTER TABLE, read behind the first word; None if something else is altered."""
    reading.accept("foreign")
    if not reading.accept("table"):
        return None
    reading.accept("if", "exists")
    reading.accept("only")
    name = reading.name()
    reading.accept("*")
    return name


def altered(reading: Reading) -> tuple[str | None, Name | None]:
    """What an ALTER of anything else than a table is about, read behind the first word: its kind, None if none of `KINDS`."""
    reading.accept("materialized")
    kind = _kind(reading)
    reading.accept("if", "exists")
    names = list(reading.names()) if kind is not None else []
    return kind, names[0] if names else None


def granted(reading: Reading) -> tuple[list[tuple[str, Name]], list[Name]]:
    """What a REVOKE is about, read behind that word, and whose rights it takes; nothing where it is about roles."""
    while not reading.is_done and not reading.accept("on"):
        reading.step()
    kind = _kind(reading) or _RELATION
    objects = [(kind, name) for name in reading.names()]
    return objects, list(reading.names()) if reading.accept("from") else []


def column_of(action: Reading) -> str:
    """The column of ALTER and ADD, read behind that word."""
    action.accept("column")
    action.accept("if", "not", "exists")
    return ".".join(action.name() or ())


def _kind(reading: Reading) -> str | None:
    kind = reading.accept_any(*KINDS)
    return "routine" if kind in _ROUTINES else kind


def _created(reading: Reading) -> Iterable[tuple[str, Name]]:
    """What a CREATE makes for certain."""
    replaces = reading.accept("or", "replace")
    reading.accept_any("global", "local")
    temporary = reading.accept_any("temp", "temporary") is not None
    reading.accept_any("unlogged", "foreign", "materialized", "recursive")
    kind = _kind(reading)
    may_be_old = reading.accept("if", "not", "exists") or replaces
    name = reading.name()
    if kind is None or name is None:
        return
    if temporary:
        yield kind, (_TEMPORARY, *name)
    elif not may_be_old:
        yield kind, placed(name)
