"""The ingress: every message that is posted is accepted here, once (contract.md t, TRAP24).

::

    post ─▶ long content? ─▶ Redis, PostgreSQL: known already? else document store
      │
      ├─ through the stream ─▶ PostgreSQL: a row already? ─▶ Redis: reserved already? else XADD and reserve, in one script
      │                        reserved, and nothing waits there any more? ─▶ PostgreSQL: a row by now? else XADD and reserve
      └─ at once ────────────▶ Redis: reserved already? then it has its way ─▶ PostgreSQL: one insert of all others

Promises: messages that arrive together travel together, so that a message costs a share of three round trips. PostgreSQL is
asked with a short wait and, when it is away or late twice in a row, not at all for a second at a time: then the reservation alone
recognises repeats, and the row is still written once. A reservation that stands for nothing, since PostgreSQL says that there is
no row (it was brought back as it was before), answers no repeat. Neither Redis nor, for what is written at once, PostgreSQL is
waited for once it has failed twice: callers are told at once to try again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal

from services.api.conversations.asking import Asking, Patience
from services.api.conversations.lengths import Lengths
from services.api.conversations.settings import MessageSettings
from services.api.conversations.writing import IN_FLIGHT, LARGEST_BATCH, WRITING_AT_ONCE, Writing
from services.kernel import metrics
from services.kernel.batching import Batcher
from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Row
from services.kernel.errors import BrokerUnavailable, CoursegenError
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

LONG_AT_ONCE: Final = 16
"""Most long contents of one batch, of a mebibyte each: PostgreSQL takes them in one statement."""
ASKING_AT_ONCE: Final = IN_FLIGHT + WRITING_AT_ONCE + IN_FLIGHT + 1
"""Most commands to Redis at the same time, however many messages come: of batches for the stream, of those that are written at
once, of those with long contents, and one that tries Redis again beside them."""

ENQUEUED: Final = metrics.counter("stream_enqueue", "Messages put into the stream")
UNASKED: Final = metrics.counter(
    "idempotency_lookup_skipped",
    "Messages accepted as new without an answer of this server, which may have known them: a repeat may be among them",
    ["server"],
)
for _server in ("postgresql", "redis"):
    UNASKED.labels(_server)

_Standing = Literal["new", "same", "other"]
_log = get_logger(__name__)


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
        longest = settings.messages_accept_seconds
        self._rows = Patience(settings.messages_lookup_seconds, Breaker(clock), "PostgreSQL is not asked for repeats")
        self._reservations = Patience(longest, once(), "Redis is not asked for repeats", is_beside=True)
        self._aside = Patience(longest, once(), "long contents stay in their envelopes")
        self._stream_breaker = Breaker(clock)
        self._streamed: Batcher[Submission, Acceptance] = Batcher(
            self._accept_by_stream, largest=LARGEST_BATCH, in_flight=IN_FLIGHT
        )
        self._long: Batcher[Submission, Submission] = Batcher(
            self._put_aside, largest=LONG_AT_ONCE, in_flight=IN_FLIGHT
        )
        self._writing = Writing(store, self._accept_at_once, clock)
        self._asking = Asking()
        self._hits = IDEMPOTENCY_HITS.labels("ingress")

    async def accept(self, envelope: Envelope) -> Acceptance:
        """Accept a message, whose content is still in its envelope.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: whoever was to keep it does not answer; send it again.
            Conflict: a row that came another way has its key.
            InvalidInput, DatabaseRefused: PostgreSQL refuses what is in it, where messages are written at once.
        """
        message = Submission(envelope, partition_hash(envelope.conversation_id))
        if self._lengths.is_long(envelope.content or ""):
            message = await self._long.submit(message)
        way = self._streamed if goes_through_stream(message.conversation_hash, self._percent) else self._writing
        acceptance = await way.submit(message)
        if not acceptance.is_new:
            self._hits.inc()
        return acceptance

    async def _put_aside(self, messages: Sequence[Submission]) -> Sequence[Submission]:
        """The messages with their long contents in the document store.

        One is as it was when that does not answer, and when it is a repeat that says something else: nobody would ever read that.
        """
        standings = await self._standings_of(messages)
        asides = [
            (message, standing, payload_key(message.envelope.id, message.envelope.digest))
            for message, standing in zip(messages, standings, strict=True)
        ]
        same = [key for _, standing, key in asides if standing == "same"]
        stored = await self._asking.ask(self._payloads.present(same), self._aside) if same else set()
        if stored is None:
            return messages
        contents = {
            key: message.envelope.content or ""
            for message, standing, key in asides
            if standing != "other" and key not in stored
        }
        is_put = await self._asking.ask(self._put(contents), self._aside) if contents else None
        if is_put:
            stored.update(contents)
        return [
            message._replace(envelope=message.envelope.put_aside(key)) if key in stored else message
            for message, _, key in asides
        ]

    async def _standings_of(self, messages: Sequence[Submission]) -> list[_Standing]:
        """Whether each is a repeat, and of the same long content; new when nobody says so in time."""
        reservations = await self._reserved(messages) or [None] * len(messages)
        pairs = list(zip(messages, reservations, strict=True))
        unreserved = [message for message, reservation in pairs if reservation is None]
        rows = (await self._known(unreserved) if unreserved else None) or {}
        return [_standing_of(message, reservation, rows) for message, reservation in pairs]

    async def _put(self, contents: Mapping[str, str]) -> bool:
        await self._payloads.put(contents)
        return True

    async def _accept_by_stream(self, messages: Sequence[Submission]) -> Sequence[Acceptance]:
        rows = await self._known(messages)
        unknown = [each for each in messages if each.envelope.id not in rows] if rows else messages
        answers = await self._repeats_mended(unknown, await self._enqueue(unknown)) if unknown else ()
        if rows is None and self._rows.seconds:
            UNASKED.labels("postgresql").inc(sum(each.is_new for each in answers))
        if not rows:
            return answers
        others = iter(answers)
        return [
            _persisted(rows[each.envelope.id], each) if each.envelope.id in rows else next(others) for each in messages
        ]

    async def _repeats_mended(
        self, messages: Sequence[Submission], answers: Sequence[Acceptance]
    ) -> Sequence[Acceptance]:
        """The answers; a repeat whose reservation stands for nothing has its row by now, or is accepted anew.

        PostgreSQL is asked once more: what was settled since it was asked first has its row.
        """
        idle = [number for number, each in enumerate(answers) if each.idle]
        rows = await self._known([messages[each] for each in idle]) if idle else None
        if rows is None:
            return answers
        mended = list(answers)
        for number in idle:
            if row := rows.get(messages[number].envelope.id):
                mended[number] = _persisted(row, messages[number])
        lost = [each for each in idle if messages[each].envelope.id not in rows]
        again = [messages[each]._replace(over=answers[each].idle) for each in lost]
        for number, answer in zip(lost, await self._enqueue(again) if again else (), strict=True):
            mended[number] = answer
        return mended

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
        reservations = await self._reserved(messages)
        if reservations is None or not any(reservations):
            answers = await self._writing.write(messages)
            if reservations is None:
                UNASKED.labels("redis").inc(sum(isinstance(each, Acceptance) and each.is_new for each in answers))
            return answers
        pairs = list(zip(messages, reservations, strict=True))
        rows, idle = await self._standing([message for message, reservation in pairs if reservation is not None])
        pairs = [(message, None if message.envelope.id in idle else reservation) for message, reservation in pairs]
        unknown = [message for message, reservation in pairs if reservation is None]
        written = iter(await self._writing.write(unknown) if unknown else ())
        return [
            next(written) if reservation is None else _repeat(message, reservation, rows)
            for message, reservation in pairs
        ]

    async def _standing(self, reserved: Sequence[Submission]) -> tuple[Mapping[str, Row], set[str]]:
        """The rows of those that have one, and who of the others has none and will get none from the stream."""
        rows = await self._known(reserved)
        rowless = [each.envelope.id for each in reserved if rows is not None and each.envelope.id not in rows]
        idle = await self._asking.ask(self._entrance.idle(rowless), self._reservations) if rowless else None
        return rows or {}, idle or set()

    async def _reserved(self, messages: Sequence[Submission]) -> Sequence[Reservation | None] | None:
        """The reservations of the messages; None when Redis does not say so in time."""
        asking = self._entrance.reserved([each.envelope.id for each in messages])
        return await self._asking.ask(asking, self._reservations)

    async def _known(self, messages: Sequence[Submission]) -> Mapping[str, Row] | None:
        """Those of the messages that have a row; None when PostgreSQL does not say so in time."""
        if not self._rows.seconds:
            return None
        return await self._asking.ask(self._store.known([each.envelope.id for each in messages]), self._rows)


def _standing_of(message: Submission, reservation: Reservation | None, rows: Mapping[str, Row]) -> _Standing:
    """The content of the same may be gone all the same: the document store was brought back as it was before."""
    envelope = message.envelope
    if reservation is not None:
        return "same" if reservation.digest == envelope.digest else "other"
    row = rows.get(envelope.id)
    if row is None:
        return "new"
    return "same" if row["payloadkey"] == payload_key(envelope.id, envelope.digest) else "other"


def _persisted(row: Row, message: Submission) -> Acceptance:
    return Acceptance(row["createdat"], is_new=False, is_same=is_same(row, message), state="persisted")


def _repeat(message: Submission, reservation: Reservation, rows: Mapping[str, Row]) -> Acceptance:
    row = rows.get(message.envelope.id)
    return answer_from(reservation, message) if row is None else _persisted(row, message)
