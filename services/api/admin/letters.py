"""Dead letters as administrators see them, and the record of what they do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from services.api.admin.audit import Audit, Author, Recorded
from services.api.admin.models import (
    DeadLetter,
    DeadLetterBody,
    DeadLetterFilter,
    DeadLetterOutcome,
    DeadLetterPage,
    DeadLetterResult,
    Outcome,
)
from services.api.cursors import decode_letter, encode_letter
from services.kernel.database import Connection
from services.kernel.dead_letters import Action, DeadLetterDesk, Filter, Letter, Page, Result
from services.kernel.errors import BrokerUnavailable

_UNREACHABLE: Final = "Redis does not answer: jobs that queues have set aside are not shown."
_DONE: Final[Mapping[Action, Outcome]] = {"replay": "replayed", "discard": "discarded"}
_WOULD: Final[Mapping[Action, Outcome]] = {"replay": "would_replay", "discard": "would_discard"}


class Letters:
    """The desk for dead letters, with a record of every action."""

    def __init__(self, desk: DeadLetterDesk, audit: Audit) -> None:
        self._desk = desk
        self._audit = audit

    async def page(self, which: DeadLetterFilter, cursor: str | None, size: int) -> DeadLetterPage:
        """A page of those that match, the latest first; it says so when none does."""
        page = await self._desk.look(_filter(which), decode_letter(cursor), size + 1)
        message = None if page.letters or cursor else nothing_matches(which)
        return DeadLetterPage(
            dead_letters=[_letter(each) for each in page.letters[:size]],
            matched={str(kind): count for kind, count in page.matched.items()},
            message=_UNREACHABLE if page.unreachable else message,
            next_cursor=_next(page.letters, size),
        )

    async def act(self, author: Author, action: Action, body: DeadLetterBody) -> DeadLetterOutcome:
        """Replay or discard those that are meant, or say what would become of them.

        Raises:
            BrokerUnavailable: Redis, where some of them may be, does not answer; nothing was done.
        """
        letters, matched, cursor = await self._meant(body)
        if body.dry_run or not letters:
            results = await self._desk.plan(action, letters) if letters else []
        else:
            results = await self._recorded(author, action, letters, body)
        shown = [_result(each, action, dry_run=body.dry_run) for each in results]
        shown += _missing(body.ids or (), letters)
        return DeadLetterOutcome(
            action=action,
            dry_run=body.dry_run,
            matched=matched,
            done=sum(each.is_done for each in results),
            refused=sum(each.outcome == "refused" for each in shown),
            results=shown,
            message=None if matched else _nothing_meant(body),
            next_cursor=cursor,
        )

    async def _meant(self, body: DeadLetterBody) -> tuple[list[Letter], int, str | None]:
        if body.ids is not None:
            letters = await self._desk.named(dict.fromkeys(body.ids))
            return letters, len(letters), None
        page: Page = await self._desk.look(
            _filter(body.filter or DeadLetterFilter()), decode_letter(body.cursor), body.limit + 1
        )
        if page.unreachable:
            raise BrokerUnavailable(
                "Redis does not answer, so nobody can say what its queues have set aside. Name a `kind` to go on without."
            )
        return page.letters[: body.limit], sum(page.matched.values()), _next(page.letters, body.limit)

    async def _recorded(
        self, author: Author, action: Action, letters: Sequence[Letter], body: DeadLetterBody
    ) -> list[Result]:
        recorded: list[Recorded] = []

        async def witness(session: Connection, results: Sequence[Result]) -> Callable[[], None] | None:
            done = [{"id": each.letter.id, "step": each.step.value} for each in results if each.is_done]
            if not done:
                return None
            asked = {"ids": len(body.ids)} if body.ids is not None else {"filter": msgspec.to_builtins(body.filter)}
            target = (body.filter.kind if body.filter else None) or ("named" if body.ids else "all")
            detail = {**asked, "letters": done}
            name = f"dead_letters.{action}"
            written = await self._audit.record_within(session, author, name, target, detail)
            recorded.append(written)
            return partial(self._audit.announce, written)

        results = await self._desk.act(action, letters, witness, author.request_id)
        failed = {each.letter.id: each.failure for each in results if each.failure is not None}
        for each in recorded:
            await self._audit.complete(each.id, {"done": sum(result.is_done for result in results), "failed": failed})
        return results


def nothing_matches(which: DeadLetterFilter) -> str:
    """A sentence that names the filter, so that a slip in it is seen."""
    named = [f"{name} = {value}" for name, value in msgspec.to_builtins(which).items() if value is not None]
    return f"No dead letter matches ({', '.join(named)})." if named else "There are no dead letters."


def _nothing_meant(body: DeadLetterBody) -> str:
    if body.ids is not None:
        return "None of these is a dead letter."
    return nothing_matches(body.filter or DeadLetterFilter())


def _filter(which: DeadLetterFilter) -> Filter:
    return Filter(
        kind=which.kind,
        queue=which.queue,
        job_type=which.job_type,
        course_id=which.course_id,
        reason=which.reason,
        before=which.before,
    )


def _next(letters: Sequence[Letter], size: int) -> str | None:
    return encode_letter(*letters[size - 1].place) if len(letters) > size else None


def _letter(letter: Letter) -> DeadLetter:
    return DeadLetter(
        id=letter.id,
        kind=letter.kind,
        queue=letter.queue,
        job_type=letter.job_type,
        course_id=letter.course_id,
        run_number=letter.run_number,
        priority=letter.priority,
        attempts=letter.attempts,
        reason=letter.reason,
        detail=letter.detail,
        dead_since=letter.dead_since,
    )


def _result(result: Result, action: Action, *, dry_run: bool) -> DeadLetterResult:
    outcome: Outcome = "refused"
    if result.is_gone:
        outcome = "not_found"
    elif result.is_done:
        outcome = (_WOULD if dry_run else _DONE)[action]
    return DeadLetterResult(id=result.letter.id, outcome=outcome, message=result.message, new_job_id=result.new_job_id)


def _missing(ids: Sequence[str], letters: Sequence[Letter]) -> list[DeadLetterResult]:
    found = {letter.id for letter in letters}
    message = "there is no such dead letter"
    return [
        DeadLetterResult(id=each, outcome="not_found", message=message, new_job_id=None)
        for each in dict.fromkeys(ids)
        if each not in found
    ]
