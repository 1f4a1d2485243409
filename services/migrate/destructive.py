"""Finds the statements of a migration that take away what somebody may still need.

Destructive is: DROP of what holds data or is called (tables, schemas, types, functions, views, sequences…), of a column, and
of anything with CASCADE; its new name or schema, since the code that runs calls it by the old one; a partition that is
detached; TRUNCATE; DELETE and UPDATE that name no row, and MERGE that deletes; a column's new type; a column that must have a
value from now on and gets none by itself, since the code that runs does not give it one; REVOKE.

Not destructive is what concerns only what the same file has made, and a function or view that the file makes anew. The rights
on what the file creates are the file's own to say, also where it was there before. What a DO block or a function does is not
seen: what stands in quotes is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.migrate.conditions import condition, holds_always
from services.migrate.making import Making, altered, altered_table, column_of, dropped, granted
from services.migrate.reading import Name, Reading, contains, outermost, parts
from services.migrate.statements import Statement, split
from services.migrate.tokens import Token

EXCERPT_LENGTH: Final = 120
_MASKS: Final = {"string": "'…'", "body": "$$…$$"}
_TABLE_CONSTRAINTS: Final = (
    *(("constraint",), ("primary", "key"), ("unique",), ("check",)),
    *(("foreign", "key"), ("exclude",)),
)
_LOSING: Final = (("rename",), ("set", "schema"), ("drop", "attribute"), ("alter", "attribute"))
_LEAVING: Final = (("rename",), ("set", "schema"), ("detach", "partition"), ("no", "inherit"))
"""What makes a table, a column or rows not be where they were."""


@dataclass(frozen=True, slots=True)
class Destructive:
    """A statement that takes something away."""

    line: int
    """Where it begins in its file."""
    statement: str
    """How it begins, on one line, without what it quotes; at most `EXCERPT_LENGTH` characters."""


def find_destructive(script: str) -> list[Destructive]:
    """The destructive statements of `script`, in order."""
    statements = split(script)
    making, found = Making(statements), []
    for statement in statements:
        if _is_destructive(statement.tokens, making):
            line = script.count("\n", 0, statement.tokens[0].start) + 1
            found.append(Destructive(line, excerpt(statement)))
        making.follow(statement.tokens)
    return found


def excerpt(statement: Statement) -> str:
    """How a statement begins, on one line; strings are left out, since one may be a password."""
    text, last = "", None
    for token in statement.tokens:
        gap = " " if last is not None and token.start > last else ""
        text, last = text + gap + _MASKS.get(token.kind, token.text), token.end
        if len(text) > EXCERPT_LENGTH:
            return text[: EXCERPT_LENGTH - 1] + "…"
    return text


def _is_destructive(said: Sequence[Token], making: Making) -> bool:
    reading = Reading(said)
    match reading.accept_any("drop", "alter", "truncate", "revoke"):
        case "drop":
            return _drops(reading, said, making)
        case "alter":
            return _alters(reading, making)
        case "truncate":
            reading.accept("table")
            reading.accept("only")
            return not all(making.has_made("table", name) for name in reading.names())
        case "revoke":
            return _revokes(reading, making)
        case _:
            return any(_changes_every_row(rows, making) for rows in _row_commands(said))


def _drops(reading: Reading, said: Sequence[Token], making: Making) -> bool:
    cascade = contains(outermost(said), "cascade")
    if reading.accept("owned"):
        return True
    kind, names = dropped(reading)
    if kind is None:
        return cascade
    return not names or any(
        not making.has_made(kind, name) and (cascade or not making.makes_anew(kind, name)) for name in names
    )


def _revokes(reading: Reading, making: Making) -> bool:
    is_making = reading.has("create", "on")  # who only uses what is there loses nothing by it
    objects, roles = granted(reading)
    if is_making and roles == [("public",)]:
        return False
    return not objects or not all(making.creates(*each) for each in objects)


def _alters(reading: Reading, making: Making) -> bool:
    table = altered_table(reading)
    if table is not None:
        is_own = making.has_made("table", table)
        return not is_own and any(_action_loses(part, table, making) for part in parts(reading.rest()))
    kind, name = altered(reading)
    if kind is None or name is None or making.has_made(kind, name):
        return False
    return any(_loses(Reading(part)) for part in parts(reading.rest()))


def _loses(action: Reading) -> bool:
    """Whether a part of an ALTER of anything takes a name or an attribute away."""
    return any(action.has(*words) for words in _LOSING)


def _action_loses(said: Sequence[Token], table: Name, making: Making) -> bool:
    action, level = Reading(said), outermost(said)
    if any(action.has(*words) for words in _LEAVING):
        return not action.has("rename", "constraint")
    match action.accept_any("drop", "alter", "add"):
        case "drop":
            return not action.has("constraint") or contains(level, "cascade")
        case "alter" if not action.has("constraint"):
            column = column_of(action)
            if action.has("type") or action.has("set", "data", "type"):
                return True
            return action.has("set", "not", "null") and not making.gives_value(table, column)
        case "add" if not any(action.has(*words) for words in _TABLE_CONSTRAINTS):
            column = column_of(action)
            return contains(level, "not", "null") and not making.gives_value(table, column)
        case _:
            return False


def _row_commands(said: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Each DELETE, UPDATE and MERGE in `said`, also in a WITH: up to the parenthesis that closes around it."""
    for place, token in enumerate(said):
        begins = place == 0 or said[place - 1].text in {"(", ")"}
        if begins and token.kind == "word" and token.text.lower() in {"delete", "update", "merge"}:
            yield _up_to_closing(said[place:])


def _up_to_closing(said: Sequence[Token]) -> Sequence[Token]:
    depth = 0
    for place, token in enumerate(said):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0:
            return said[:place]
    return said


def _changes_every_row(said: Sequence[Token], making: Making) -> bool:
    reading = Reading(said)
    merges = reading.accept("merge", "into")
    if not (merges or reading.accept("delete", "from") or reading.accept("update")):
        return False
    reading.accept("only")
    table = reading.name()
    if table is None or making.has_made("table", table):
        return False
    return contains(outermost(said), "then", "delete") if merges else holds_always(condition(said))
