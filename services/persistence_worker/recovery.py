"""What a dead owner had in hand, one entry at a time in the whole process, so that the one which killed it kills nothing else.

Before an entry is touched, that is noted in Redis; the note goes with its settling. An entry that was in hand when a worker
died, and then alone in hand when `CRASHES - 1` others died, is buried. A worker that waits for PostgreSQL, or with an entry that
was refused for its next try, takes its note back: one that is ended meanwhile has not died of the entry. Only the former wait is
everybody's: while one entry waits for its next try, others are handled.

An entry that is refused in a way that passes by itself may be so for days. It keeps back its conversation and nothing else:
recovery goes on past it, leaves it to `Held` at its end, and what is pending of the conversation is read again behind it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from services.kernel.errors import BrokerUnavailable, CoursegenError
from services.kernel.logs import get_logger
from services.kernel.messages.consuming import PENDING, Entry
from services.kernel.messages.envelope import LaterVersion, Undecodable
from services.kernel.messages.transport import Exit
from services.persistence_worker.figures import Figures
from services.persistence_worker.held import Held, retry_seconds_after
from services.persistence_worker.items import Item, Outcome, Refusal, read_envelope
from services.persistence_worker.lines import Tally, say_later, say_refused, say_strangers
from services.persistence_worker.persister import Persister
from services.persistence_worker.shares import Share
from services.persistence_worker.undertaker import Undertaker

CRASHES: Final = 3
"""Deaths of workers after which an entry is buried."""
_PAGE: Final = 50
_AGAIN_SECONDS: Final = 0.5
_LATER_SECONDS: Final = 10.0
"""How often an entry of a later version is looked at again."""
_ENDING_SECONDS: Final = 0.2
"""How soon a wait is over when the share is ending."""
_log = get_logger(__name__)


class _Refused(NamedTuple):
    """An entry that waits for its next try."""

    attempts: int
    due: float


@dataclass(slots=True)
class _Past:
    """What was refused of a share's past."""

    waiting: dict[str, _Refused] = field(default_factory=dict)
    """Entries that are tried again here, by id."""
    passed: dict[str, Refusal] = field(default_factory=dict)
    """Those that are tried until they get through, by conversation, of which nothing later is written here."""


class Recovery:
    """Goes through what is pending of a partition that was somebody else's."""

    def __init__(
        self,
        stream: Exit,
        persister: Persister,
        held: Held,
        undertaker: Undertaker,
        figures: Figures,
        tally: Tally,
        *,
        max_retries: int,
        retry_seconds: float,
    ) -> None:
        self._stream = stream
        self._persister = persister
        self._held = held
        self._undertaker = undertaker
        self._figures = figures
        self._tally = tally
        self._max_retries = max_retries
        self._retry_seconds = retry_seconds
        self._alone = asyncio.Lock()
        self._past: dict[Share, _Past] = {}

    async def run(self, share: Share) -> None:
        """Return when nothing of the past is pending, or the share is ending; outages are waited out.

        Still pending is what waits in `Held` by then, and what comes after that in its conversation.
        """
        self._past[share] = _Past()
        try:
            await self._go_through(share)
        finally:
            past = self._past.pop(share)
        if not share.is_ending:
            self._held.learn(Outcome(refused=list(past.passed.values())))  # no try of theirs is the last

    async def _go_through(self, share: Share) -> None:
        after = PENDING
        while not share.is_ending:
            try:
                after = await self._page(share, after)
            except LaterVersion:
                share.is_paused = True
                await self._rest(share, _LATER_SECONDS)
            except CoursegenError as error:
                await self._wait_out(share, error)
            else:
                share.is_paused = False
                if not after:
                    return

    async def _page(self, share: Share, after: str) -> str:
        """Handle the next entries after one; the last of them, or nothing when there were none."""
        (delivery,) = await self._stream.read([(share.lease, after)], _PAGE, looks_round=True)
        if delivery.succeeded_by:
            share.is_gone = True
        if delivery.has_strangers:
            return await self._take_back(share)
        if delivery.waits:
            await asyncio.sleep(_AGAIN_SECONDS)
            return after
        if not delivery.entries:
            return ""
        for entry in delivery.entries:
            is_handled = await self._handle(share, entry, delivery.read_at)
            if is_handled is None:
                return after
            if not is_handled:
                return ""
            after = entry.entry_id
        return after

    async def _take_back(self, share: Share) -> str:
        """Have again what a stranger has claimed meanwhile; where to read on. Else it would be read by batches afterwards."""
        say_strangers(share.partition)
        await self._rest(share, _AGAIN_SECONDS)  # he may go on and on
        found = await self._stream.take_over(share.lease)
        share.is_gone |= bool(found.succeeded_by)
        self._undertaker.note_missing(share.partition, found.missing)
        return PENDING

    async def _handle(self, share: Share, entry: Entry, read_at: float) -> bool | None:
        """Handle one entry, with no other under a note; None: again, after an outage or a refusal.

        False: the share is ending, or the partition is somebody else's by now.
        """
        refused = self._past[share].waiting.get(entry.entry_id)
        if refused is not None and not await self._rest(share, refused.due - time.monotonic()):
            return False
        async with self._alone:
            if share.is_ending:
                return False
            try:
                return await self._touch(share, entry, read_at)
            except LaterVersion:
                raise
            except CoursegenError as error:
                # An outage is everybody's. Nobody begins meanwhile, so a worker that is killed now has nothing in hand.
                await self._wait_out(share, error)
                return None

    async def _wait_out(self, share: Share, error: CoursegenError) -> None:
        _log.warning("recovery waits", partition=share.partition, reason=error.message)
        await self._rest(share, _AGAIN_SECONDS)

    async def _touch(self, share: Share, entry: Entry, read_at: float) -> bool | None:
        # Asked first: a worker that is killed while PostgreSQL is away has not died of the entry.
        await self._persister.has(_name_of(entry))
        times = await self._stream.touch(share.lease, entry.entry_id)
        if times is None:
            return False
        if times >= CRASHES:
            return await self._bury(share, entry)
        try:
            return await self._persist(share, Item(share.lease, entry, read_envelope(entry), read_at))
        except Undecodable as error:
            return await self._undertaker.bury_unreadable(share.lease, entry, error.message)
        except BrokerUnavailable:
            raise
        except CoursegenError as error:  # PostgreSQL is away, or this release is too old
            if isinstance(error, LaterVersion):
                say_later(entry, error.message)
            await self._stream.survive(share.lease, entry.entry_id)
            raise

    async def _bury(self, share: Share, entry: Entry) -> bool:
        """Bury what has killed so many, unless they died after its row was committed."""
        message_id = _name_of(entry)
        if await self._persister.has(message_id):
            return not await self._stream.settle({share.lease: [entry.entry_id]}, [message_id])
        return await self._undertaker.bury_crashing(share.lease, entry, message_id, CRASHES)

    async def _persist(self, share: Share, item: Item) -> bool | None:
        past = self._past[share]
        if item.conversation in past.passed:
            await self._stream.survive(share.lease, item.entry.entry_id)
            return True
        outcome = await self._persister.put([item])
        if outcome.refused:
            return await self._refuse(share, past, outcome.refused[0])
        past.waiting.pop(item.entry.entry_id, None)
        if outcome.lost:
            share.is_gone = True
            return False
        if outcome.crashing:
            return await self._undertaker.bury_server_crashing(item)
        if not outcome.done:  # there was no time for it
            await self._stream.survive(share.lease, item.entry.entry_id)
            return None
        self._figures.persisted(len(outcome.new), 1 - len(outcome.new))
        self._tally.add(outcome)
        lost = await self._stream.settle({share.lease: [item.entry.entry_id]}, [item.envelope.id])
        self._figures.settled([time.monotonic() - item.read_at])
        return not lost

    async def _refuse(self, share: Share, past: _Past, refusal: Refusal) -> bool | None:
        """Bury what was refused too often, go past what may be refused for ever; None: it is to be tried again, after a while."""
        entry_id, most = refusal.item.entry.entry_id, refusal.tries(self._max_retries)
        before = past.waiting.pop(entry_id, None)
        attempts = 1 if before is None else before.attempts + 1
        self._figures.refused()
        say_refused(refusal)
        if most is None:
            past.passed[refusal.item.conversation] = refusal
        elif attempts >= most:
            return await self._undertaker.bury_refused(refusal._replace(attempts=attempts))
        else:
            wait = retry_seconds_after(self._retry_seconds, attempts)
            past.waiting[entry_id] = _Refused(attempts, time.monotonic() + wait)
        await self._stream.survive(share.lease, entry_id)
        return True if most is None else None

    async def _rest(self, share: Share, seconds: float) -> bool:
        """Wait before the next try; False when the share is ending, and there is none."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while not share.is_ending and (left := until - clock()) > 0:  # noqa: ASYNC110 - a share ends in many ways
            await asyncio.sleep(min(left, _ENDING_SECONDS))
        return not share.is_ending


def _name_of(entry: Entry) -> str:
    """The message's id, looked for without decoding what has killed others."""
    head, found, rest = (entry.body or b"").partition(b'"id":"')
    return rest.partition(b'"')[0].decode("ascii", "ignore") if found and len(head) < _PAGE else ""
