"""Messages between processes: strict about what they are, lenient about what may be missing."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.envelopes import (
    Announcement,
    DocumentJob,
    Job,
    JobData,
    MalformedMessage,
    UnsupportedVersion,
    decode_announcements,
    decode_job,
    encode_job_data,
    salvage_job,
)
from services.kernel.errors import PermanentError

OUTBOX, COURSE = str(uuid4()), str(uuid4())
LEAST = {"outboxId": OUTBOX, "courseId": COURSE, "jobType": "X"}


def test_three_keys_are_enough() -> None:
    """A row written by hand has no more."""
    job = decode_job(LEAST, Job)

    assert (job.outbox_id, job.course_id, job.job_type) == (UUID(OUTBOX), UUID(COURSE), "X")
    assert (job.run_number, job.version, job.priority) == (None, 1, 1)


def test_unknown_keys_are_ignored() -> None:
    """A newer writer of the same version may add some."""
    assert decode_job({**LEAST, "tomorrow": [1], "documentId": None}, DocumentJob).document_id is None


@pytest.mark.parametrize("version", [0, 2, 1.5, "1", None, True, [1]])
def test_an_unknown_version_is_refused(version: object) -> None:
    """By a type of its own, before anything else is looked at."""
    with pytest.raises(UnsupportedVersion):
        decode_job({"version": version}, Job)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        7,
        [],
        {},
        {**LEAST, "courseId": "x"},
        {**LEAST, "outboxId": 3},
        {**LEAST, "runNumber": "1"},
        {**LEAST, "documentId": "no"},
        {"courseId": COURSE, "jobType": "X"},
    ],
)
def test_what_is_no_job_is_refused(payload: object) -> None:
    """A missing key or a wrong type, named in the message."""
    with pytest.raises(MalformedMessage):
        decode_job(payload, DocumentJob)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_payload_raises_anything_else(payload: Any) -> None:
    """Whatever comes in: a job, or one of the two typed errors."""
    try:
        decode_job(payload, DocumentJob)
    except (MalformedMessage, UnsupportedVersion):
        return


def test_what_is_written_is_read() -> None:
    """The data of an order, with what the outbox adds, decodes to the order."""
    order = JobData(course_id=UUID(COURSE), job_type="X", style="concise", language="ru")
    job = decode_job({**encode_job_data(order), "outboxId": OUTBOX}, Job)

    assert (job.course_id, job.style, job.language, job.title) == (order.course_id, "concise", "ru", None)
    assert "title" not in encode_job_data(order)


def test_messages_are_frozen() -> None:
    """Nobody changes one on its way."""
    with pytest.raises(AttributeError):
        decode_job(LEAST, Job).job_type = "Y"  # type: ignore[misc]


def test_salvage_takes_what_is_needed_to_settle() -> None:
    """The identifiers of a message of another version, and the run if it is one."""
    error = PermanentError()
    job = salvage_job({**LEAST, "version": 9, "runNumber": 4, "style": 3}, "Y", error)

    assert (job.outbox_id, job.job_type, job.run_number) == (UUID(OUTBOX), "Y", 4)
    assert salvage_job({**LEAST, "runNumber": "x"}, "Y", error).run_number is None
    for hopeless in (None, {}, {"courseId": COURSE}, {"courseId": 1, "outboxId": OUTBOX}):
        with pytest.raises(PermanentError) as raised:
            salvage_job(hopeless, "Y", error)
        assert raised.value is error


def test_announcements() -> None:
    """A list of jobs; a type may be missing."""
    text = msgspec.json.encode([Announcement(outbox_id=UUID(OUTBOX), course_id=UUID(COURSE))])

    assert decode_announcements(text)[0].job_type is None
    for rubbish in (b"", b"{}", b"[{}]", b"\xff"):
        with pytest.raises(MalformedMessage):
            decode_announcements(rubbish)
