"""The ingress: every message that is posted is accepted here, once (contract.md t, TRAP24).

::

    post ─▶ long content, not known yet? ─▶ document store
      │
      ├─ through the stream ─▶ PostgreSQL: a row already? ─▶ Redis: reserved already? else XADD and reserve, in one script
      └─ at once ────────────▶ Redis: reserved already? then it has its way ─▶ PostgreSQL: one insert of all others

Promises: messages that arrive together travel together, so that a message costs a share of three round trips. PostgreSQL is
asked with a short wait and, when it is away or late twice in a row, not at all for a second at a time: then the reservation alone
recognises repeats, and the row is still written once. Neither Redis nor, for what is written at once, PostgreSQL is waited for
once it has failed twice: callers are told at once to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from services.api.conversations.lengths import Lengths
from services.api.conversations.settings import MessageSettings
from services.kernel import metrics
from services.kernel.batching import Batcher
from services.kernel.cancellation import forget
from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Row
from services.kernel.errors import BrokerUnavailable, CoursegenError, DatabaseUnavailable
from services.kernel.faults import reach
from services.kernel.idempotency import Breaker
from services.kernel.logs import get_logger
from services.kernel.messages.accepting import Acceptance, Reservation, Submission, answer_from
from services.kernel.messages.envelope import Envelope
from services.kernel.messages.figures import IDEMPOTENCY_HITS
from services.kernel.messages.names import goes_through_stream, partition_hash
from services.kernel.messages.payloads import Payloads, payload_key
from services.kernel.messages.store import MessageStore, is_same
from services.kernel.messages.transport import Entrance

LARGEST_BATCH: Final = 256
"""Most messages of one batch, of which Redis runs one script: a few milliseconds in which it does nothing else."""

LONGEST_WRITE_SECONDS: Final = 6.0
"""Longest wait of a message that is written at once, which may stand behind batches that PostgreSQL does not answer. It may have
its row all the same; then its repeat finds that."""

ENQUEUED: Final = metrics.counter("stream_enqueue", "Messages put into the stream")

T = TypeVar("T")

_IN_FLIGHT = 2
_log = get_logger(__name__)


class _Patience(NamedTuple):
    """How long somebody is waited for, and whether he is asked at all."""

    seconds: float
    breaker: Breaker
    in_vain: str


class Ingress:
    """Accepts messages. Safe for concurrent use."""

    def __init__(
        self,
        entrance: Entrance,
        store: MessageStore,
        payloads: Payloads,
        settings: MessageSettings,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._entrance = entrance
        self._store = store
        self._payloads = payloads
        self._percent = settings.stream_percent
        self._lengths = Lengths(
            longest=settings.messages_payload_bytes, average=settings.messages_payload_average_bytes
        )
        clock = clock or SystemClock()
        once = partial(Breaker, clock, threshold=1)
        self._rows = _Patience(settings.messages_lookup_seconds, Breaker(clock), "PostgreSQL is not asked for repeats")
        self._reservations = _Patience(settings.messages_accept_seconds, once(), "Redis is not asked for repeats")
        self._aside = _Patience(settings.messages_accept_seconds, once(), "long contents stay in their envelopes")
        self._stream_breaker = Breaker(clock)
        self._write_breaker = Breaker(clock)
        self._streamed: Batcher[Submission, Acceptance] = Batcher(
            self._accept_by_stream, largest=LARGEST_BATCH, in_flight=_IN_FLIGHT
        )
        self._written: Batcher[Submission, Acceptance] = Batcher(
            self._accept_at_once, largest=LARGEST_BATCH, in_flight=_IN_FLIGHT
        )
        self._asking: set[asyncio.Future[Any]] = set()
        self._hits = IDEMPOTENCY_HITS.labels("ingress")

    async def accept(self, envelope: Envelope) -> Acceptance:
        """Accept a message, whose content is still in its envelope.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: whoever was to keep it does not answer; send it again.
            Conflict: a row that came another way has its key.
            InvalidInput, DatabaseRefused: PostgreSQL refuses what is in it, where messages are written at once.
        """
        message = Submission(envelope, partition_hash(envelope.conversation_id))
        if self._lengths.is_long(envelope.content or "") and not await self._is_known(message):
            message = await self._put_aside(message)
        way = self._streamed if goes_through_stream(message.conversation_hash, self._percent) else self._written
        acceptance = await (way.submit(message) if way is self._streamed else self._written_in_time(message))
        if not acceptance.is_new:
            self._hits.inc()
        return acceptance

    async def _is_known(self, message: Submission) -> bool:
        """Whether it is a repeat, whose content nobody would ever read; False when nobody says so in time."""
        reservations = await self._bounded(self._entrance.reserved([message.envelope.id]), self._reservations)
        return any(reservations or ()) or bool(await self._known([message]))

    async def _put_aside(self, message: Submission) -> Submission:
        """The message with its long content in the document store; as it is, when that does not answer."""
        envelope = message.envelope
        key = payload_key(envelope.id, envelope.digest)
        is_put = await self._bounded(self._put(key, envelope.content or ""), self._aside)
        return message._replace(envelope=envelope.put_aside(key)) if is_put else message

    async def _put(self, key: str, content: str) -> bool:
        await self._payloads.put(key, content)
        return True

    async def _accept_by_stream(self, messages: Sequence[Submission]) -> Sequence[Acceptance]:
        rows = await self._known(messages)
        unknown = [each for each in messages if each.envelope.id not in rows] if rows else messages
        answers = iter(await self._enqueue(unknown) if unknown else ())
        if not rows:
            return list(answers)
        return [
            _persisted(rows[each.envelope.id], each) if each.envelope.id in rows else next(answers) for each in messages
        ]

    async def _enqueue(self, messages: Sequence[Submission]) -> Sequence[Acceptance]:
        if not self._stream_breaker.allows():
            raise BrokerUnavailable
        try:
            answers = await self._entrance.accept(messages)
        except BrokerUnavailable as error:
            if self._stream_breaker.failed():
                _log.warning("messages cannot be accepted", error=error.message)
            raise
        await reach("messages.after_enqueue")
        self._stream_breaker.succeeded()
        ENQUEUED.inc(sum(each.is_new for each in answers))
        return answers

    async def _accept_at_once(self, messages: Sequence[Submission]) -> Sequence[Acceptance | CoursegenError]:
        """Write the messages, but those that wait in the stream: what was accepted first must become the row."""
        asking = self._entrance.reserved([each.envelope.id for each in messages])
        reservations = await self._bounded(asking, self._reservations)
        if reservations is None or not any(reservations):
            return await self._write(messages)
        pairs = list(zip(messages, reservations, strict=True))
        rows = await self._known([message for message, reservation in pairs if reservation is not None])
        unknown = [message for message, reservation in pairs if reservation is None]
        answers = iter(await self._write(unknown) if unknown else ())
        return [
            next(answers) if reservation is None else _repeat(message, reservation, rows)
            for message, reservation in pairs
        ]

    async def _written_in_time(self, message: Submission) -> Acceptance:
        """What comes of a message that is written at once.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer; those who come while it is tried again are told so at once.
        """
        if not self._write_breaker.allows():
            raise DatabaseUnavailable
        try:
            async with asyncio.timeout(LONGEST_WRITE_SECONDS):
                return await self._written.submit(message)
        except TimeoutError as error:
            self._no_write(error)
            raise DatabaseUnavailable from error

    async def _write(self, messages: Sequence[Submission]) -> Sequence[Acceptance | CoursegenError]:
        try:
            answers = await self._store.accept(messages)
        except DatabaseUnavailable as error:
            self._no_write(error)
            raise
        self._write_breaker.succeeded()
        await reach("messages.after_insert")
        return answers

    def _no_write(self, error: Exception) -> None:
        if self._write_breaker.failed():
            _log.warning("messages cannot be written", error=str(error) or "no answer in time")

    async def _known(self, messages: Sequence[Submission]) -> Mapping[str, Row]:
        """Those of the messages that have a row; none when PostgreSQL does not say so in time."""
        if not self._rows.seconds:
            return {}
        asking = self._store.known([each.envelope.id for each in messages])
        return await self._bounded(asking, self._rows) or {}

    async def _bounded(self, call: Coroutine[Any, Any, T], patience: _Patience) -> T | None:
        """What the call says, if it does so in time. One that takes longer is given up, and not waited for to notice it."""
        breaker = patience.breaker
        if not breaker.allows():
            call.close()
            return None
        asking = asyncio.ensure_future(call)
        self._asking.add(asking)
        asking.add_done_callback(self._asked)
        await asyncio.wait({asking}, timeout=patience.seconds)
        if asking.done() and not asking.cancelled() and asking.exception() is None:
            breaker.succeeded()
            return asking.result()
        if breaker.failed(is_certain=asking.done()):  # a late answer alone may be one slow moment
            _log.warning(patience.in_vain, seconds=patience.seconds, error=_why(asking))
        asking.cancel()
        return None

    def _asked(self, asking: asyncio.Future[Any]) -> None:
        self._asking.discard(asking)
        forget(asking)  # whoever asked goes on without


def _why(asking: asyncio.Future[Any]) -> str:
    failure = asking.exception() if asking.done() and not asking.cancelled() else None
    return str(failure or "no answer in time")


def _persisted(row: Row, message: Submission) -> Acceptance:
    return Acceptance(row["createdat"], is_new=False, is_same=is_same(row, message), state="persisted")


def _repeat(message: Submission, reservation: Reservation, rows: Mapping[str, Row]) -> Acceptance:
    row = rows.get(message.envelope.id)
    return answer_from(reservation, message) if row is None else _persisted(row, message)
