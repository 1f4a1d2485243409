"""Messages that are written at once: in batches, but one that got an error the last time is written by itself.

Promises: nobody waits longer than `LONGEST_WRITE_SECONDS`; once PostgreSQL has failed twice, callers are told at once to try
again. A message that PostgreSQL takes too long for costs those beside it one answer: from its second time on it keeps nobody but
itself, and opens no breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from services.kernel.batching import Batcher
from services.kernel.clock import Clock
from services.kernel.errors import CoursegenError, DatabaseUnavailable
from services.kernel.faults import reach
from services.kernel.idempotency import Breaker
from services.kernel.logs import get_logger
from services.kernel.messages.accepting import Acceptance, Submission
from services.kernel.messages.store import MessageStore

LARGEST_BATCH: Final = 256
"""Most messages of one batch, of which Redis runs one script: a few milliseconds in which it does nothing else."""
IN_FLIGHT: Final = 2
LONGEST_WRITE_SECONDS: Final = 6.0
"""Longest wait of a message that is written at once, which may stand behind batches that PostgreSQL does not answer. It may have
its row all the same; then its repeat finds that."""

_APART_AT_ONCE: Final = 4
WRITING_AT_ONCE: Final = IN_FLIGHT + _APART_AT_ONCE
"""Most batches under way, those of one message included."""
_MOST_WARY: Final = 1_000
"""Who failed before so many others is forgotten."""
_log = get_logger(__name__)

Answers = Sequence[Acceptance | CoursegenError]


class Writing:
    """Writes messages at once."""

    def __init__(
        self, store: MessageStore, accept: Callable[[Sequence[Submission]], Awaitable[Answers]], clock: Clock
    ) -> None:
        """Write into `store`; `accept` decides of each batch which of it are to be written, and calls `write`."""
        self._store = store
        self._breaker = Breaker(clock)
        self._together: Batcher[Submission, Acceptance] = Batcher(accept, largest=LARGEST_BATCH, in_flight=IN_FLIGHT)
        self._apart: Batcher[Submission, Acceptance] = Batcher(accept, largest=1, in_flight=_APART_AT_ONCE)
        self._failed: dict[str, None] = {}

    async def submit(self, message: Submission) -> Acceptance:
        """What comes of a message.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer; those who come while it is tried again are told so at once.
        """
        if not self._breaker.allows():
            raise DatabaseUnavailable
        way = self._apart if message.envelope.id in self._failed else self._together
        try:
            async with asyncio.timeout(LONGEST_WRITE_SECONDS):
                answer = await way.submit(message)
        except TimeoutError as error:
            if way is self._together:
                self._no_write(error)
            self._note(message.envelope.id)
            raise DatabaseUnavailable from error
        except CoursegenError:
            self._note(message.envelope.id)
            raise
        self._failed.pop(message.envelope.id, None)
        return answer

    async def write(self, messages: Sequence[Submission]) -> Answers:
        """Write a batch.

        Raises:
            DatabaseUnavailable, DatabaseRefused: nothing is promised.
        """
        try:
            answers = await self._store.accept(messages, seconds=LONGEST_WRITE_SECONDS)
        except DatabaseUnavailable as error:
            if not all(each.envelope.id in self._failed for each in messages):
                self._no_write(error)
            raise
        self._breaker.succeeded()
        await reach("messages.after_insert")
        return answers

    def _note(self, message_id: str) -> None:
        self._failed[message_id] = None
        if len(self._failed) > _MOST_WARY:
            del self._failed[next(iter(self._failed))]

    def _no_write(self, error: Exception) -> None:
        if self._breaker.failed():
            _log.warning("messages cannot be written", error=str(error) or "no answer in time")
