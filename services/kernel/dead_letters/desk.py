"""The desk for dead letters: see them, replay them, discard them.

Promises: what is written in PostgreSQL for one call is one transaction, together with the record of who asked for it; what
must happen elsewhere (a new run, Redis) happens after it and may be repeated: doing the same again does nothing twice. While
Redis does not answer, outbox rows and webhooks can be dealt with all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from uuid import UUID

from services.kernel.database import Connection, Database
from services.kernel.dead_letters import decisions
from services.kernel.dead_letters.aftermath import Aftermath
from services.kernel.dead_letters.decisions import Decision, JobFacts, Step
from services.kernel.dead_letters.letters import KINDS, Filter, Kind, Letter, Place
from services.kernel.dead_letters.results import Result
from services.kernel.dead_letters.sources import DeadJobs, DeadRows, DeadWebhooks, Source
from services.kernel.dead_letters.writing import carry_out, facts_of, lock_courses, missing_courses
from services.kernel.errors import BrokerUnavailable
from services.kernel.faults import reach
from services.kernel.queue import DeadReason, Inspector

Action: TypeAlias = Literal["replay", "discard"]

_STORAGE: Final = {reason.value for reason in DeadReason if reason.from_storage}
_MOST_UNREPORTED: Final = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Letters, the latest first."""

    letters: list[Letter]
    matched: dict[Kind, int]
    """How many there are of each kind that was looked at."""
    unreachable: tuple[Kind, ...] = ()
    """Kinds that could not be looked at."""


Witness: TypeAlias = Callable[[Connection, Sequence[Result]], Awaitable[Callable[[], None] | None]]
"""Writes down, in the transaction, what is about to be done; what it returns is called after the commit."""


class DeadLetterDesk:
    """Safe for concurrent use; of two who deal with one letter, the second finds it gone."""

    def __init__(self, db: Database, inspector: Inspector, aftermath: Aftermath) -> None:
        self._db = db
        self._inspector = inspector
        self._aftermath = aftermath
        self._sources: dict[Kind, Source] = {
            "outbox": DeadRows(db),
            "queue": DeadJobs(db, inspector),
            "webhook": DeadWebhooks(db),
        }

    async def look(self, which: Filter, after: Place | None, size: int) -> Page:
        """Up to `size` letters that match, and how many match in all; kinds that cannot be reached are named."""
        letters: list[Letter] = []
        matched: dict[Kind, int] = {}
        unreachable: list[Kind] = []
        for kind in filter(which.asks_for, KINDS):
            try:
                found, matched[kind] = await self._sources[kind].look(which, after, size)
                letters += found
            except BrokerUnavailable:
                unreachable.append(kind)
        return Page(_latest(letters, size), matched, tuple(unreachable))

    async def named(self, ids: Iterable[str]) -> list[Letter]:
        """Those letters among `ids` that there are, in no order.

        Raises:
            BrokerUnavailable: a job in a queue is named and Redis does not answer.
        """
        keys: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for each in ids:
            kind, _, key = each.partition(":")
            keys.get(kind, []).append(key)
        return [letter for kind in KINDS if keys[kind] for letter in await self._sources[kind].named(keys[kind])]

    async def plan(self, action: Action, letters: Sequence[Letter]) -> list[Result]:
        """What would become of `letters`; changes nothing."""
        settling = await self._being_settled(action, letters)
        async with self._db.acquire() as session:
            return await self._judge(session, action, letters, settling)

    async def act(
        self, action: Action, letters: Sequence[Letter], witness: Witness, request_id: str | None = None
    ) -> list[Result]:
        """Replay or discard `letters`.

        Args:
            action: which of the two.
            letters: as `look` or `named` have found them; what has changed since is seen.
            witness: is called in the transaction, when all of it is decided and written.
            request_id: follows what begins anew.

        Raises:
            DatabaseUnavailable: nothing was done, or (when the answer to the commit was lost) it may be repeated.
        """
        settling = await self._being_settled(action, letters)
        async with self._db.transaction() as session:
            await lock_courses(session, _names(letters))
            results = await self._judge(session, action, letters, settling)
            ended = await carry_out(session, results, request_id)
            announce = await witness(session, results)
            await reach("dead_letters.before_commit")
        if announce is not None:
            announce()
        await reach("dead_letters.after_commit")
        await self._aftermath.follow(results, ended, request_id)
        return results

    async def _judge(
        self, session: Connection, action: Action, letters: Sequence[Letter], settling: set[str]
    ) -> list[Result]:
        facts = await facts_of(session, _names(letters))
        gone = await missing_courses(session, [letter.course_id for letter in letters if letter.course_id])
        results = []
        for letter in letters:
            known = facts.get(letter.uuid) if letter.uuid else None
            results.append(Result(letter, _decide(action, letter, known, gone, letter.id in settling), known))
        return results

    async def _being_settled(self, action: Action, letters: Sequence[Letter]) -> set[str]:
        """Jobs that a living worker is about to write down as failed; what is done to them before would be undone."""
        if action == "discard":
            return set()
        queues = sorted({letter.queue for letter in letters if letter.kind == "queue" and letter.queue})
        found: set[str] = set()
        for overview in await self._inspector.overview(queues) if queues else []:
            if overview.workers:
                unreported = await self._inspector.unreported(overview.queue, _MOST_UNREPORTED)
                found |= {f"queue:{dead.queue}/{dead.key}" for dead in unreported}
        return found


def _decide(
    action: Action, letter: Letter, facts: JobFacts | None, gone: set[UUID], is_being_settled: bool
) -> Decision:
    if letter.kind == "webhook":
        return _decide_webhook(action, letter)
    if action == "discard":
        return decisions.discard_row(facts) if letter.kind == "outbox" else decisions.discard_job(facts)
    if letter.kind == "outbox":
        return decisions.replay_row(facts)
    return decisions.replay_job(
        facts,
        is_readable=letter.reason not in _STORAGE,
        is_course_gone=letter.course_id in gone,
        is_being_settled=is_being_settled,
    )


def _decide_webhook(action: Action, letter: Letter) -> Decision:
    if action == "discard":
        return Decision(Step.DROP)
    if letter.course_id is None:
        return Decision(Step.REFUSE, "its course was deleted; discard it")
    return Decision(Step.RESEND)


def _latest(letters: list[Letter], size: int) -> list[Letter]:
    return sorted(letters, key=lambda letter: letter.place, reverse=True)[:size]


def _names(letters: Iterable[Letter]) -> list[UUID]:
    return [letter.uuid for letter in letters if letter.kind != "webhook" and letter.uuid is not None]
