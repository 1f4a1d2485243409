"""Who relays: one leader at a time, under an epoch that PostgreSQL counts.

::

    standby ──lock is free──▶ leader(epoch = last + 1) ──stop──▶ gone (heartbeat cleared, lock given back)
       ▲                          │
       └──lock or epoch lost──────┘

The database is authoritative. The lock (or, on Kubernetes, the Lease) only says who may *try*; each write of a leader that moves
a job names its epoch, and one that is not the highest changes nothing. What else it writes, pauses and slots, is what PostgreSQL
says, and the next look puts it right. So two processes that both believe they lead do no harm.

A killed leader's session ends at once and its lock is free; a standby asks for it every `TRY_SECONDS`. A leader that hangs
keeps its session: a standby ends that session when the heartbeat is older than the setting says. A host that vanishes is
noticed by TCP keep-alives within about 10 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

from services.kernel.cancellation import work_until
from services.kernel.database import Connection, Database, DatabaseRefused, translated
from services.kernel.errors import CoursegenError, DatabaseUnavailable, StaleLeader
from services.kernel.logs import get_logger
from services.kernel.pauses import pause
from services.kernel.queries import Queries

_QUERIES = Queries.load("services.outbox_relay", "leadership.sql")
_log = get_logger(__name__)

LOCK_KEY: Final = 7_163_384_699_739_271
"""The advisory lock of the leader's session; any number that nobody else uses."""
TRY_SECONDS: Final = 0.5
"""How often a standby asks for the lock: a killed leader is succeeded within a second or two."""
RETRY_SECONDS: Final = 1.0
"""Pause after the database could not be reached."""


class Term:
    """One period of leadership."""

    def __init__(self, db: Database, epoch: int, lost: asyncio.Event | None = None) -> None:
        self._db = db
        self.epoch = epoch
        self.lost = lost or asyncio.Event()
        """Set when this process must not act as leader any more."""

    async def beat(self, progress_age_seconds: float, poll_interval_ms: int) -> None:
        """Say that the leader lives (contract.md f; TRAP36).

        Raises:
            StaleLeader: another one has taken over.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        alive = await self._db.fetchval(_QUERIES["beat"], self.epoch, progress_age_seconds, poll_interval_ms)
        if alive is None:
            raise StaleLeader(f"epoch {self.epoch} has been succeeded")

    async def overtake(self, seen: int) -> None:
        """Raise the epoch above `seen`, which Redis remembers from an earlier life of this database.

        Raises:
            StaleLeader: PostgreSQL knows a newer leader: the number in Redis is its.
        """
        epoch = await self._db.fetchval(_QUERIES["overtake"], self.epoch, seen)
        if epoch is None:
            raise StaleLeader(f"epoch {self.epoch} has been succeeded")
        _log.warning("epoch raised above the one Redis knows", was=self.epoch, seen=seen, epoch=epoch)
        self.epoch = epoch


class Elector(Protocol):
    """A way to find the one leader."""

    def term(self, stopping: asyncio.Event) -> AbstractAsyncContextManager[Term | None]:
        """Wait to become the leader; the block is the term. None when `stopping` came first.

        Leaving the block ends the term, so that a standby may begin its own.
        """


class SoleElector:
    """For a relay that is the only one by deployment: leads at once. A second one would take the epoch from it."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._name = name

    @asynccontextmanager
    async def term(self, stopping: asyncio.Event) -> AsyncIterator[Term | None]:
        """Lead as soon as the database answers."""
        term = None
        while term is None and not stopping.is_set():
            try:
                term = Term(self._db, await begin_term(self._db, self._name))
            except DatabaseUnavailable as error:
                _log.warning("cannot lead yet", reason=error.message)
                await pause(stopping, RETRY_SECONDS)
        yield term
        if term is not None:
            await end_term(self._db, term)


class AdvisoryLockElector:
    """Leads while its own session holds an advisory lock."""

    def __init__(self, db: Database, name: str, stale_seconds: float) -> None:
        self._db = db
        self._name = name
        self._stale_seconds = stale_seconds

    @asynccontextmanager
    async def term(self, stopping: asyncio.Event) -> AsyncIterator[Term | None]:
        """Wait for the lock, then lead until the session or the epoch is lost."""
        session = await self._lock(stopping)
        if session is None:
            yield None
            return
        try:
            term = Term(self._db, await begin_term(self._db, self._name))
            session.add_termination_listener(lambda _: term.lost.set())
            if session.is_closed():
                term.lost.set()
            yield term
            await end_term(self._db, term)
        finally:
            await _close(session)

    async def _lock(self, stopping: asyncio.Event) -> Connection | None:
        session: Connection | None = None
        while not stopping.is_set():
            try:
                if session is None or session.is_closed():
                    session = await self._db.connect(application="coursegen relay leader lock")
                    with translated():
                        await session.execute(_QUERIES["keep_alive"])
                with translated():
                    if await session.fetchval(_QUERIES["try_lock"], LOCK_KEY):
                        return session
                    await self._unseat(session)
                await pause(stopping, TRY_SECONDS)
            except DatabaseUnavailable as error:
                _log.warning("cannot ask for the leader's lock", reason=error.message)
                await pause(stopping, RETRY_SECONDS)
        if session is not None:
            await _close(session)
        return None

    async def _unseat(self, session: Connection) -> None:
        try:
            with translated():
                if await session.fetchval(_QUERIES["unseat"], LOCK_KEY, self._stale_seconds):
                    _log.warning("leader unseated, it has not been heard of", seconds=self._stale_seconds)
        except DatabaseRefused as error:
            _log.warning("a silent leader cannot be unseated", reason=error.message)


class Fence:
    """Counts the terms in PostgreSQL, for an elector that finds its leader elsewhere: a `TermCounter`."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._name = name

    async def begin(self, lost: asyncio.Event) -> Term:
        """Take the next epoch, from which on every older one changes nothing; `lost` will say that the term is over.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return Term(self._db, await begin_term(self._db, self._name), lost)

    async def end(self, term: Term) -> None:
        """Write down that nobody leads, unless somebody does already."""
        await end_term(self._db, term)


async def work_until_lost(term: Term, work: Coroutine[Any, Any, None]) -> None:
    """Do `work` during the term; when the term is lost, cancel it and wait until it has stopped.

    Raises:
        StaleLeader: the term is lost; and whatever `work` raises.
    """
    if not await work_until(term.lost, work):
        raise StaleLeader(f"the leadership under epoch {term.epoch} is lost")


async def begin_term(db: Database, name: str) -> int:
    """Take the next epoch for `name`, after every transaction of the outgoing leader is through."""
    async with db.transaction() as session:
        await session.fetchval(_QUERIES["commit_durably"])
        await session.fetchval(_QUERIES["lock_term"])
        return int(await session.fetchval(_QUERIES["begin_term"], name))


async def end_term(db: Database, term: Term) -> None:
    """Clear the heartbeat, if the term is still the present one; a database that is away is left alone."""
    try:
        await db.execute(_QUERIES["end_term"], term.epoch)
    except CoursegenError as error:
        _log.warning("the end of the term is not written down", reason=error.message)


async def show_node(db: Database, name: str, role: str) -> None:
    """Write down that this relay runs."""
    await db.execute(_QUERIES["show_node"], name, role)


async def drop_node(db: Database, name: str) -> None:
    """Write down that this relay has stopped."""
    await db.execute(_QUERIES["drop_node"], name)


async def _close(session: Connection) -> None:
    try:
        with translated():
            await session.close(timeout=2.0)
    except CoursegenError:
        session.terminate()
