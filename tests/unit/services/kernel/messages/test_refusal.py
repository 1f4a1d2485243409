"""Which errors speak of a message, and which of a database that would refuse every message."""

from __future__ import annotations

import pytest

from services.kernel.database import DatabaseRefused, UniqueViolation
from services.kernel.errors import CoursegenError, DatabaseDenied, DatabaseUnavailable, InvalidInput, SchemaMissing
from services.kernel.messages.consuming import Entry
from services.kernel.messages.envelope import encode
from services.kernel.messages.refusal import is_fault_of_row
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


def test_a_message_is_named_without_being_decoded() -> None:
    """By its id, which stands at the beginning; what is no envelope has no name."""
    message = envelope("talk", "m-1")
    entry = Entry(1, "1-1", "1-1", encode(message))

    assert _name_of(entry) == message.id
    assert [
        _name_of(entry._replace(body=body))
        for body in (None, b"{", b'{"id":5}', b'{"x":"' + b"y" * 99 + b'","id":"z"}')
    ] == [""] * 4
