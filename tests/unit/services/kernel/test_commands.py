"""A command is checked before it reaches the database."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from services.kernel.commands import InitializeFSMCommand, InitializeFSMResult
from services.kernel.errors import InvalidInput

FIELDS: dict[str, Any] = {
    "entity_id": uuid4(),
    "user_id": uuid4(),
    "organization_id": uuid4(),
    "idempotency_key": "key",
    "initiated_by": "TEST",
    "initial_state": "stage_4_init",
}


def test_a_whole_command_is_read() -> None:
    """Texts become identifiers; jobs and metadata may be left out."""
    command = InitializeFSMCommand.parse({**FIELDS, "entity_id": str(FIELDS["entity_id"])})

    assert command.entity_id == FIELDS["entity_id"]
    assert command.job_data == []
    assert command.metadata == {}


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named(name: str) -> None:
    """Test 16 of contract.md l.4, at the door."""
    with pytest.raises(InvalidInput, match=name):
        InitializeFSMCommand.parse({key: value for key, value in FIELDS.items() if key != name})


@pytest.mark.parametrize(
    "changes",
    [
        {"idempotency_key": ""},
        {"idempotency_key": "k" * 256},
        {"initiated_by": ""},
        {"job_data": "none"},
        {"surprise": 1},
        {"entity_id": "x"},
    ],
)
def test_a_wrong_field_is_refused(changes: dict[str, Any]) -> None:
    """Nothing doubtful gets through."""
    with pytest.raises(InvalidInput):
        InitializeFSMCommand.parse({**FIELDS, **changes})


def test_the_first_entry_is_the_job() -> None:
    """`jobId` is the outbox id of the first entry; without jobs there is none."""
    identifier = uuid4()
    entries = [{"outbox_id": str(identifier)}, {"outbox_id": str(uuid4())}]

    assert InitializeFSMResult(fsm_state={}, outbox_entries=entries).job_id == UUID(str(identifier))
    assert InitializeFSMResult(fsm_state={}, outbox_entries=[]).job_id is None
