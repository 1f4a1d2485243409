"""The worker's lines (contract.md q): one a second that sums up, one a message at level debug, and each failure.

A line names a message and never shows what is in it; what PostgreSQL says of a refused row would.
"""

from __future__ import annotations

from services.kernel import logs
from services.kernel.messages.consuming import Entry
from services.persistence_worker.items import Outcome, Refusal

_log = logs.get_logger(__name__)


class Tally:
    """What was persisted since the last line."""

    def __init__(self) -> None:
        self._new = 0
        self._repeats = 0
        self._partitions: set[int] = set()

    def add(self, outcome: Outcome) -> None:
        """Take in what came of a batch."""
        self._new += len(outcome.new)
        self._repeats += len(outcome.done) - len(outcome.new)
        self._partitions.update(item.lease.partition for item in outcome.done)
        if logs.shows_debug():
            _say_each(outcome)

    def say(self) -> None:
        """Write the lines, if there is anything to say."""
        partitions = sorted(self._partitions)
        if self._new:
            _log.info("Persisted messages", messages=self._new, partitions=partitions)
        if self._repeats:
            _log.info(
                "Idempotent repeats, whose rows were there already", messages=self._repeats, partitions=partitions
            )
        self._new = self._repeats = 0
        self._partitions.clear()


def _say_each(outcome: Outcome) -> None:
    new = set(outcome.new)
    for item in outcome.done:
        event = "Persisted message" if item.envelope.id in new else "Idempotent repeat"
        new.discard(item.envelope.id)
        with logs.bind_context(requestId=item.envelope.correlation_id):
            _log.debug(event, messageId=item.envelope.id, partition=item.lease.partition, entry=item.entry.entry_id)


def say_refused(refusal: Refusal) -> None:
    """PostgreSQL has refused a message."""
    item = refusal.item
    with logs.bind_context(requestId=item.envelope.correlation_id):
        _log.warning(
            "Failed to persist a message",
            messageId=item.envelope.id,
            partition=item.lease.partition,
            error=type(refusal.error).__name__,
            sqlstate=refusal.sqlstate or None,
        )


def say_strangers(partition: int) -> None:
    """Somebody else has entries of a partition."""
    _log.warning(
        "Somebody who is no worker has read or claimed entries of a partition; they are taken back, in their order",
        partition=partition,
    )


def say_later(entry: Entry, reason: str) -> None:
    """An entry of a later version stops its partition."""
    _log.error(
        "A partition stands still: a later release has written an entry; deploy the persistence-workers before the api",
        partition=entry.partition,
        entry=entry.entry_id,
        reason=reason,
    )


def say_buried(entry: Entry, reason: str, message_id: str) -> None:
    """An entry is a dead letter."""
    _log.error(
        "Failed for good: the message is a dead letter in msg:dlq",
        partition=entry.partition,
        entry=entry.entry_id,
        reason=reason,
        messageId=message_id or None,
    )
