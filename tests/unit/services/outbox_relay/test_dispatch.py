"""A batch that Redis does not take is halved down to the row at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast
from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.queue import Batch, EnqueueInterrupted, EnqueueOutcome, EnqueueRefused, Producer
from services.outbox_relay.dispatch import Dispatched, Dispatcher, announcement
from services.outbox_relay.outbox import OutboxRow

REFUSED, BROKEN, LARGE = "refused", "broken", "large"


class FakeProducer:
    """Takes everything but rows whose body says otherwise; what it has taken it remembers."""

    def __init__(self, damaged: str | None = None) -> None:
        self.taken: list[str] = []
        self.calls = 0
        self.damaged = damaged

    async def enqueue(
        self, batches: Sequence[Batch], epoch: int | None
    ) -> list[EnqueueOutcome | EnqueueRefused | EnqueueInterrupted]:
        """One answer for each batch."""
        self.calls += 1
        return [self._answer(batch) for batch in batches]

    def _answer(self, batch: Batch) -> EnqueueOutcome | EnqueueRefused | EnqueueInterrupted:
        bodies = {row.body for row in batch.rows}
        if REFUSED in bodies or batch.queue == self.damaged:
            return EnqueueRefused("no")
        if BROKEN in bodies:
            return EnqueueInterrupted("gone")
        self.taken += [row.key for row in batch.rows]
        return EnqueueOutcome(len(batch.rows), 0, len(self.taken))

    async def fault(self, queue: str) -> str | None:
        """What is wrong with the queue itself."""
        return "damaged" if queue == self.damaged else None


def _row(number: int, body: str, queue: str = "q") -> OutboxRow:
    identifier = UUID(int=number + 1)
    stored = None if body == LARGE else body
    return OutboxRow(number, identifier, identifier, queue, "STRUCTURE_ANALYSIS", stored, 1, 10)


def _dispatch(producer: FakeProducer, rows: Sequence[OutboxRow]) -> Dispatched:
    return asyncio.run(Dispatcher(cast(Producer, producer), 5).dispatch(rows, 1))


@given(
    st.lists(st.tuples(st.sampled_from([*["fine"] * 4, REFUSED, BROKEN, LARGE]), st.sampled_from("ab")), max_size=40)
)
def test_every_row_is_delivered_or_failed_exactly_once(kinds: list[tuple[str, str]]) -> None:
    """Good rows go in whatever stands beside them; each bad one fails with its own kind of failure."""
    rows = [_row(number, kind, queue) for number, (kind, queue) in enumerate(kinds)]
    producer = FakeProducer()

    result = _dispatch(producer, rows)

    fine = {row.position for row in rows if row.job_body == "fine"}
    assert sorted(row.position for row in result.delivered) == sorted(fine)
    assert sorted(producer.taken) == sorted(str(row.outbox_id) for row in rows if row.position in fine)
    failed = {failure.row.position: failure.is_transient for failure in result.failures}
    assert failed == {row.position: row.job_body == BROKEN for row in rows if row.position not in fine}
    assert len(result.failures) == len(failed)


def test_one_bad_row_among_many_costs_few_calls() -> None:
    """Halving 500 rows takes about twice the logarithm, not 500 calls."""
    producer = FakeProducer()

    result = _dispatch(producer, [_row(number, REFUSED if number == 321 else "fine") for number in range(500)])

    assert [failure.row.position for failure in result.failures] == [321]
    assert producer.calls < 25


def test_a_damaged_queue_fails_no_row() -> None:
    """Its rows stay pending and uncharged; those of other queues go in."""
    rows = [_row(1, "fine", "damaged"), _row(2, "fine", "sound")]

    result = _dispatch(FakeProducer(damaged="damaged"), rows)

    assert result.parked == ["damaged"]
    assert result.failures == []
    assert [row.position for row in result.delivered] == [2]


def test_the_announcement_names_every_job() -> None:
    """Layer 2 gets identifier, course, type and queue of each."""
    (job,) = orjson.loads(announcement("q", [_row(1, "fine")]))

    assert job == {
        "outboxId": str(UUID(int=2)), "courseId": str(UUID(int=2)), "jobType": "STRUCTURE_ANALYSIS", "queue": "q",
    }  # fmt: skip
