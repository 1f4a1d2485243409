"""Into PostgreSQL: one insert for a whole batch, and the way to the one message that it is refused for.

Promises: rows come in the order of the items; nothing is written under a lease that is over; a message whose row is there is
not written again. A refusal of one message holds up none of another conversation, and those of its own stay behind it. One
that PostgreSQL crashes of is found, and given up (`suspects`).

A code that may be of one message or of all (a statement that took too long, an internal error, a missing table) is one message's
when that fails alone while another gets through: one of nobody's, which is taken back. Else it is an outage; nobody is refused.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Final

from services.kernel.database import Connection, ConnectionLost, Database, UniqueViolation
from services.kernel.errors import CoursegenError
from services.kernel.faults import reach
from services.kernel.messages.consuming import Entry, Lease
from services.kernel.messages.envelope import Envelope, encode
from services.kernel.messages.refusal import as_refusal, is_fault_of_row, may_be_of_row
from services.kernel.queries import Queries
from services.persistence_worker.doubts import Doubts
from services.persistence_worker.items import Item, Outcome, Refusal
from services.persistence_worker.suspects import Suspects

_ALONE_SECONDS: Final = 15.0
"""So long after the beginning of a batch nothing is begun alone: it waits for the next batch, for the loop must come round."""
_QUERIES = Queries.load("services.persistence_worker", "persist.sql")


class _TakenBack(Exception):
    """What was tried is not to stay."""


class Persister:
    """Writes messages for one worker."""

    def __init__(self, db: Database, node: str) -> None:
        self._db = db
        self._node = node
        self._suspects = Suspects()
        self._doubts = Doubts()
        self._until = 0.0

    async def put(self, items: Sequence[Item]) -> Outcome:
        """Write the items, as many as PostgreSQL takes.

        Raises:
            CoursegenError: PostgreSQL does not answer, or refuses everything; some may be written.
        """
        outcome = Outcome()
        self._until = time.monotonic() + _ALONE_SECONDS
        condemned = self._suspects.condemned(items)
        for item in condemned:
            (outcome.done if await self.has(item.envelope.id) else outcome.crashing).append(item)
        rest = [each for each in items if each not in condemned] if condemned else items
        together, alone = self._doubts.split(rest)
        for part in self._suspects.parts(together):
            await self._add(outcome, part)
        await self._add_alone(outcome, alone)
        return outcome

    async def has(self, message_id: str) -> bool:
        """Whether a message's row is there.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return bool(await self._db.fetchval(_QUERIES["has"], message_id))

    async def _put(self, items: Sequence[Item]) -> Outcome:
        if not items:
            return Outcome()
        try:
            return await self._insert(items)
        except CoursegenError as error:
            if may_be_of_row(error):
                return await self._put_in_doubt(items, error)
            if not is_fault_of_row(error):
                raise
            if len(items) == 1:
                self._suspects.got_through(items)
                return Outcome(refused=[Refusal(items[0], error)])
        outcome, middle = Outcome(), len(items) // 2
        await self._add(outcome, items[:middle])
        await self._add(outcome, items[middle:])
        return outcome

    async def _put_in_doubt(self, items: Sequence[Item], error: CoursegenError) -> Outcome:
        """Write what was refused together one by one, if PostgreSQL takes another message; refuse what was refused alone.

        Raises:
            CoursegenError: it takes none; nobody is to blame.
        """
        if not await self._takes_another(items[0].lease):
            raise error
        self._doubts.add(items)
        if len(items) == 1:
            self._suspects.got_through(items)
            return Outcome(refused=[Refusal(items[0], as_refusal(error))])
        outcome = Outcome(was_divided=True)
        await self._add_alone(outcome, items)
        return outcome

    async def _takes_another(self, lease: Lease) -> bool:
        """Whether PostgreSQL takes, at this moment, a message in which there is nothing; it is taken back."""
        try:
            async with self._db.transaction() as session:
                is_held = (await self._written(session, [_nothing(lease)])).done
                raise _TakenBack
        except _TakenBack:
            return bool(is_held)
        except CoursegenError as error:
            return is_fault_of_row(error)

    async def _add_alone(self, outcome: Outcome, items: Sequence[Item]) -> None:
        """Write further items one by one; those for which there is no time wait."""
        for place, item in enumerate(items):
            if time.monotonic() > self._until:
                outcome.waiting += items[place:]
                return
            await self._add(outcome, [item])

    async def _add(self, outcome: Outcome, items: Sequence[Item]) -> None:
        """Write further items, but those of conversations in which an earlier one was refused, or waits."""
        blocked = outcome.blocked
        outcome.waiting += [each for each in items if each.conversation in blocked]
        outcome.add(await self._put([each for each in items if each.conversation not in blocked]))

    async def _insert(self, items: Sequence[Item]) -> Outcome:
        is_careful, is_begun = self._suspects.is_any, False
        try:
            async with self._db.acquire() as session:
                if is_careful:
                    await session.fetchval(_QUERIES["answers"])
                is_begun = True
                outcome = await self._written(session, items)
        except ConnectionLost:
            if is_begun:
                self._suspects.broke_off(items, has_answered=is_careful)
            raise
        self._suspects.got_through(items)
        self._doubts.got_through(items)
        return outcome

    async def _written(self, session: Connection, items: Sequence[Item]) -> Outcome:
        await reach("persistence.before_insert")
        leases = list({each.lease for each in items})
        row = await session.fetchrow(
            _QUERIES["persist"],
            self._node,
            [lease.partition for lease in leases],
            [lease.epoch for lease in leases],
            [each.entry.partition for each in items],
            [int(each.entry.accepted.partition("-")[0]) for each in items],
            (b"[%b]" % b",".join([encode(each.envelope) for each in items])).decode(),
        )
        assert row is not None  # noqa: S101 - a statement without FROM returns its row
        await reach("persistence.after_insert")
        held, new = set(row["held"]), set(row["new"])
        done = [each for each in items if each.lease.partition in held]
        refused = await _refused(session, [each for each in done if each.envelope.id not in new])
        unwritten = {each.item for each in refused}
        return Outcome(
            done=[each for each in done if each not in unwritten] if unwritten else done,
            new=new,
            refused=refused,
            lost={lease for lease in leases if lease.partition not in held},
        )


async def _refused(session: Connection, passed_over: Sequence[Item]) -> list[Refusal]:
    """Those of the items that were passed over without having a row: another message has their key.

    Asked by a statement of its own, for the insert's does not see a row that came while it ran; only repeats need it.
    """
    if not passed_over:
        return []
    ids, keys = [each.envelope.id for each in passed_over], [each.envelope.key for each in passed_over]
    holders = {row["id"]: row["holder"] for row in await session.fetch(_QUERIES["unwritten"], ids, keys)}
    return [
        Refusal(each, UniqueViolation(f"The message {holders[each.envelope.id]} has its key.", sqlstate="23505"))
        for each in passed_over
        if each.envelope.id in holders
    ]


def _nothing(lease: Lease) -> Item:
    """A message of nobody's to nobody, of which there is no second."""
    name = f"none_{secrets.token_hex(16)}"
    message = Envelope(
        id=name,
        key=name,
        conversation_id=name,
        sender_id=name,
        content="Hello",
        content_type="text",
        client_message_id=name,
        digest="",
    )
    return Item(lease, Entry(lease.partition, "0-0", "0-0", b""), message)
