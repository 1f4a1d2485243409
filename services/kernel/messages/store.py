"""Messages in PostgreSQL: written at once, looked up, read, and receipted.

The stream's own insert, fenced by partition, belongs to the persistence-worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from services.kernel.database import Database, Row
from services.kernel.errors import Conflict, CoursegenError
from services.kernel.messages.accepting import Acceptance, Submission
from services.kernel.messages.envelope import encode
from services.kernel.messages.refusal import is_fault_of_row, is_statement_ended, may_be_of_row
from services.kernel.queries import Queries

PAGE_BYTES: Final = 4 * 1024 * 1024
"""Content after which a page of a conversation ends, however few messages that is."""
LONG_COUNTS_AS: Final = 256 * 1024
"""What a content that lies in the document store counts towards that."""

DELIVERED: Final = "delivered"
READ: Final = "read"
_IMPLIED: Final = {DELIVERED: [DELIVERED], READ: [DELIVERED, READ]}

_QUERIES = Queries.load("services.kernel.messages", "messages.sql")
_FOREIGN = (
    "A row that came another way has this message's key; nothing was written. Send it with another `clientMessageId`."
)
_SIGN = 2**31
_RANGE = 2**32


class Receipt(NamedTuple):
    """Since when a user has received or read a message, and whether that was said for the first time."""

    created_at: datetime
    is_new: bool


@dataclass(slots=True)
class _Luck:
    """How it went with the parts of a batch of which PostgreSQL has failed."""

    until: float
    """By the monotonic clock: from then on nobody waits for an answer any more."""
    is_divided: bool = False
    has_any: bool = False
    """Whether any got through, or was refused for what is in it."""
    has_failed: bool = False
    """Whether one failed alone."""

    @property
    def is_out(self) -> bool:
        """Whether another failure says that it is everybody's trouble, as far as one can see."""
        return self.has_failed and not self.has_any

    def ends_with(self, error: CoursegenError, messages: int) -> bool:
        """Whether an error of a part of so many messages, which does not speak of what is in them, is one of the whole batch."""
        if not may_be_of_row(error) or self.is_out or (messages == 1 and not self.is_divided):
            return True
        return is_statement_ended(error) and time.monotonic() > self.until


class MessageStore:
    """The tables of messages and receipts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def known(self, message_ids: Sequence[str]) -> Mapping[str, Row]:
        """Those of the messages that are persisted, by id, with `createdat` and `contentdigest`.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return {row["id"]: row for row in await self._db.fetch(_QUERIES["known_messages"], message_ids)}

    async def accept(
        self, messages: Sequence[Submission], *, seconds: float = math.inf
    ) -> list[Acceptance | CoursegenError]:
        """Write messages, in this order, and return when they are committed; an answer for each.

        One whose key has a row under another id, which came another way, is not written: a conflict, and of no other message.
        One that PostgreSQL refuses for what is in it gets that error, and those beside it are written: they are halved until
        it is alone. So is one of which PostgreSQL fails in a way that may be everybody's, as long as others get through; one that
        takes too long is not looked for after `seconds`, for each part in which it is takes as long again.

        Raises:
            DatabaseUnavailable, DatabaseRefused: nothing is promised; send them again.
        """
        return await self._accept_in_parts(messages, _Luck(time.monotonic() + seconds))

    async def _accept_in_parts(self, messages: Sequence[Submission], luck: _Luck) -> list[Acceptance | CoursegenError]:
        try:
            answers = await self._accept(messages)
        except CoursegenError as error:
            if is_fault_of_row(error):
                luck.has_any = True  # it takes what it does not refuse
            elif luck.ends_with(error, len(messages)):
                raise
            if len(messages) == 1:
                luck.has_failed = True
                return [error]
        else:
            luck.has_any = True
            return answers
        luck.is_divided, middle = True, len(messages) // 2
        first = await self._accept_in_parts(messages[:middle], luck)
        return [*first, *await self._accept_in_parts(messages[middle:], luck)]

    async def _accept(self, messages: Sequence[Submission]) -> list[Acceptance | CoursegenError]:
        locks = [_as_integer(each.conversation_hash) for each in messages]
        envelopes = b"[%b]" % b",".join([encode(each.envelope) for each in messages])
        rows = await self._db.fetch(_QUERIES["accept_messages"], locks, envelopes.decode())
        return _answers(messages, {row["id"]: row for row in rows})

    async def find(self, message_id: str) -> Row | None:
        """One message, or None."""
        return await self._db.fetchrow(_QUERIES["find_message"], message_id)

    async def page(self, conversation_id: str, after: int, most: int, viewer: str | None) -> tuple[list[Row], bool]:
        """A conversation's messages after a position, in order, and whether there are more.

        Only those that the viewer has sent or was sent, when there is one.
        """
        limits = (most, PAGE_BYTES, LONG_COUNTS_AS)
        rows = await self._db.fetch(_QUERIES["conversation_page"], conversation_id, after, *limits, viewer)
        return rows, bool(rows) and await self._goes_on(conversation_id, rows[-1]["position"], viewer)

    async def exists(self, conversation_id: str, viewer: str | None) -> bool:
        """Whether the conversation has any message; when there is a viewer, one that he has sent or was sent."""
        return await self._goes_on(conversation_id, 0, viewer)

    async def _goes_on(self, conversation_id: str, after: int, viewer: str | None) -> bool:
        return bool(await self._db.fetchval(_QUERIES["has_after"], conversation_id, after, viewer))

    async def add_receipt(self, message_id: str, user_id: str, state: str) -> Receipt:
        """Note that the user has received or read the message; who has read it has received it."""
        rows = await self._db.fetch(_QUERIES["add_receipts"], message_id, user_id, _IMPLIED[state])
        for row in rows:
            if row["state"] == state:
                return Receipt(row["createdat"], is_new=True)
        known = await self._db.fetchval(_QUERIES["find_receipt"], message_id, user_id, state)
        return Receipt(known, is_new=False)

    async def receipts(self, message_id: str, after: str, most: int) -> list[Row]:
        """Who has received and read the message, after the user `after`, in the order of their ids."""
        return await self._db.fetch(_QUERIES["receipts_page"], message_id, after, most)


def is_same(row: Row, message: Submission) -> bool:
    """Whether the message says what its row says; a row that came another way has nothing to compare."""
    return row["contentdigest"] in {None, message.envelope.digest}


def _answers(messages: Sequence[Submission], rows: Mapping[str, Row]) -> list[Acceptance | CoursegenError]:
    answers, answered = list[Acceptance | CoursegenError](), set[str]()
    for message in messages:
        row = rows.get(message.envelope.id)
        if row is None:
            answers.append(Conflict(_FOREIGN, key=message.envelope.key))
            continue
        is_new = row["is_new"] and message.envelope.id not in answered
        answered.add(message.envelope.id)
        answers.append(Acceptance(row["createdat"], is_new, is_same(row, message), "persisted"))
    return answers


def _as_integer(number: int) -> int:
    """A number of 32 bits as PostgreSQL's integer, which has a sign."""
    return number - _RANGE if number >= _SIGN else number
