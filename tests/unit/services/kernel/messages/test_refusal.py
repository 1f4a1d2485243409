"""Which errors speak of a message, and which of a database that would refuse every message."""

from __future__ import annotations

import pytest
from asyncpg import PostgresError

from services.kernel.database import DatabaseRefused, UniqueViolation, translate
from services.kernel.errors import CoursegenError, DatabaseDenied, DatabaseUnavailable, InvalidInput, SchemaMissing
from services.kernel.messages.consuming import Entry
from services.kernel.messages.envelope import encode
from services.kernel.messages.refusal import (
    as_refusal,
    is_fault_of_row,
    may_be_of_row,
    sqlstate_of,
    tries_before_given_up,
)
from services.persistence_worker.recovery import _name_of
from tests.support.streamed import envelope


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("a NUL", sqlstate="22021"),
        DatabaseRefused("a check", sqlstate="23514"),
        UniqueViolation("there already", sqlstate="23505"),
        DatabaseRefused("a trigger", sqlstate="P0001"),
        DatabaseRefused("too large for an index", sqlstate="54000"),
    ],
    ids=lambda error: error.message,
)
def test_of_the_message(error: CoursegenError) -> None:
    """It is tried again, and then buried."""
    assert is_fault_of_row(error)


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("away"),
        SchemaMissing("no table"),
        DatabaseDenied("no login"),
        DatabaseRefused("no privilege", sqlstate="42501"),
        DatabaseRefused("nobody knows"),
    ],
    ids=lambda error: error.message,
)
def test_of_the_database(error: CoursegenError) -> None:
    """It is waited out."""
    assert not is_fault_of_row(error)


def _said(sqlstate: str) -> CoursegenError:
    """What comes of an error of PostgreSQL's."""
    cause = PostgresError("it says")
    cause.sqlstate = sqlstate
    error = translate(cause)
    assert error is not None
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("sqlstate", ["57014", "XX000", "42P01", "42501", "38000", "55P03", "40P01", "53100", "XX001"])
def test_of_one_or_of_all(sqlstate: str) -> None:
    """Only another message beside it can tell."""
    error = _said(sqlstate)

    assert may_be_of_row(error)
    assert not is_fault_of_row(error)
    assert (as_refusal(error).message, sqlstate_of(as_refusal(error))) == ("it says", sqlstate)


@pytest.mark.parametrize("sqlstate", ["57P01", "57P03", "08006", "25006", "28000", "3D000", "53300"])
def test_of_the_server(sqlstate: str) -> None:
    """It is waited out; so is one that has not answered at all."""
    assert not may_be_of_row(_said(sqlstate))
    assert not may_be_of_row(DatabaseUnavailable("no answer in time"))


@pytest.mark.parametrize(
    ("sqlstate", "tries"),
    [
        ("23514", 1),
        ("P0001", 1),
        ("57014", 3),
        ("42P01", 3),
        ("XX000", 3),
        ("40P01", None),
        ("53100", None),
        ("58030", None),
        ("XX001", None),
        ("XX002", None),
    ],
)
def test_how_often_it_is_tried(sqlstate: str, tries: int | None) -> None:
    """As the setting says where it is the message's fault; three times at least where that is not sure; else until it passes."""
    error = as_refusal(_said(sqlstate))

    assert tries_before_given_up(error, 1) == tries
    assert tries_before_given_up(error, 20) == (tries and 20)


def test_a_message_is_named_without_being_decoded() -> None:
    """By its id, which stands at the beginning; what is no envelope has no name."""
    message = envelope("talk", "m-1")
    entry = Entry(1, "1-1", "1-1", encode(message))

    assert _name_of(entry) == message.id
    assert [
        _name_of(entry._replace(body=body))
        for body in (None, b"{", b'{"id":5}', b'{"x":"' + b"y" * 99 + b'","id":"z"}')
    ] == [""] * 4
