"""Dead letters of every kind: see them, replay them, discard them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from services.cli import output
from services.cli.admin_api import AdminApi, Json, ask
from services.cli.commands.options import AsJson
from services.cli.errors import CalledWrongly

_MOST_SHOWN = 20
_PAGE = 100

Kind = Annotated[str | None, typer.Option("--kind", help="outbox, queue or webhook.")]
Queue = Annotated[str | None, typer.Option("--queue", help="Of this queue.")]
JobType = Annotated[str | None, typer.Option("--job-type", help="Of this job type, or event type of a webhook.")]
Course = Annotated[str | None, typer.Option("--course", metavar="UUID", help="Of this course.")]
Why = Annotated[str | None, typer.Option("--reason", help="With this in the reason, in any case.")]
Before = Annotated[
    str | None, typer.Option("--before", metavar="TIME", help="Dead before then, such as 2026-01-31T12:00:00Z.")
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Names, as `list` shows them.")]
Everything = Annotated[bool, typer.Option("--all", help="All of them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]


def group() -> typer.Typer:
    """The commands as a group of their own."""
    app = typer.Typer(
        help="What nothing tries again by itself: outbox rows without tries left, jobs set aside, webhooks given up.",
        no_args_is_help=True,
    )
    app.command("list")(list_letters)
    app.command()(replay)
    app.command()(discard)
    return app


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters, in the api's words."""

    ids: list[str]
    which: Json

    @classmethod
    def of(cls, ids: list[str] | None, which: Json, *, everything: bool) -> Choice:
        """What the caller has named.

        Raises:
            CalledWrongly: nothing, or two things at once.
        """
        given = {name: value for name, value in which.items() if value is not None}
        if sum((bool(ids), bool(given), everything)) != 1:
            raise CalledWrongly(
                "Name dead letters (coursegen admin dead-letters list shows them), or describe them with options such as "
                "--kind and --reason, or write --all."
            )
        return cls(ids or [], given)

    def body(self, *, dry_run: bool, cursor: str | None) -> Json:
        """The api's question."""
        if self.ids:
            return {"ids": self.ids, "dryRun": dry_run}
        return {"filter": self.which, "dryRun": dry_run, **({"cursor": cursor} if cursor else {})}


def list_letters(
    *,
    kind: Kind = None,
    queue: Queue = None,
    job_type: JobType = None,
    course: Course = None,
    reason: Why = None,
    before: Before = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most dead letters.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show dead letters with their reason, the latest first."""
    which = _which(kind, queue, job_type, course, reason, before)
    found = ask(lambda api: _collect(api, which, limit))
    if as_json:
        output.document(found)
        return
    for letter in found["deadLetters"]:
        _say_letter(letter)
    if found["message"]:
        output.say(found["message"])
    total = sum(found["matched"].values())
    if total:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found["matched"].items() if count)
        output.say(f"{total} dead letters ({kinds})")


def replay(
    ids: Ids = None,
    *,
    kind: Kind = None,
    queue: Queue = None,
    job_type: JobType = None,
    course: Course = None,
    reason: Why = None,
    before: Before = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have the work of dead letters done again, exactly once. Exit code 1 when one of them could not be."""
    which = _which(kind, queue, job_type, course, reason, before)
    _act("replay", Choice.of(ids, which, everything=everything), dry_run=dry_run, as_json=as_json)


def discard(
    ids: Ids = None,
    *,
    kind: Kind = None,
    queue: Queue = None,
    job_type: JobType = None,
    course: Course = None,
    reason: Why = None,
    before: Before = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Give dead letters up for good; a run that waits for one is cancelled. Exit code 1 when one of them could not be."""
    which = _which(kind, queue, job_type, course, reason, before)
    _act("discard", Choice.of(ids, which, everything=everything), dry_run=dry_run, as_json=as_json)


def _which(
    kind: str | None,
    queue: str | None,
    job_type: str | None,
    course: str | None,
    reason: str | None,
    before: str | None,
) -> Json:
    return {"kind": kind, "queue": queue, "jobType": job_type, "courseId": course, "reason": reason, "before": before}


async def _collect(api: AdminApi, which: Json, limit: int) -> Json:
    """As many pages as it takes."""
    page = await api.look("dead-letters", limit=min(limit, _PAGE), **which)
    found = page
    while page["nextCursor"] and len(found["deadLetters"]) < limit:
        size = min(limit - len(found["deadLetters"]), _PAGE)
        page = await api.look("dead-letters", limit=size, cursor=page["nextCursor"], **which)
        found = found | {
            "deadLetters": found["deadLetters"] + page["deadLetters"],
            "nextCursor": page["nextCursor"],
        }
    return found


async def _all_pages(api: AdminApi, action: str, choice: Choice, *, dry_run: bool) -> Json:
    """One outcome of as many calls as it takes; what was matched first is what was meant."""
    outcome = await api.change("POST", "dead-letters", action, body=choice.body(dry_run=dry_run, cursor=None))
    cursor = outcome["nextCursor"]
    while cursor:
        page = await api.change("POST", "dead-letters", action, body=choice.body(dry_run=dry_run, cursor=cursor))
        cursor = page["nextCursor"]
        outcome = outcome | {
            "done": outcome["done"] + page["done"],
            "refused": outcome["refused"] + page["refused"],
            "results": outcome["results"] + page["results"],
            "nextCursor": cursor,
        }
    return outcome


def _act(action: str, choice: Choice, *, dry_run: bool, as_json: bool) -> None:
    outcome = ask(lambda api: _all_pages(api, action, choice, dry_run=dry_run))
    left = [each for each in outcome["results"] if each["outcome"] in {"refused", "not_found"}]
    if as_json:
        output.document(outcome)
    else:
        _say_outcome(outcome, left, action)
    if left:
        raise typer.Exit(1)


def _say_outcome(outcome: Json, left: list[Json], action: str) -> None:
    if outcome["message"]:
        output.say(outcome["message"])
    done = [each for each in outcome["results"] if each not in left]
    for each in done[:_MOST_SHOWN]:
        _say_result(each)
    if len(done) > _MOST_SHOWN:
        output.say(f"... and {len(done) - _MOST_SHOWN} more")
    for each in left:
        _say_result(each)
    verb = {"replay": "replayed", "discard": "discarded"}[action]
    output.say(f"{outcome['done']} {'would be ' if outcome['dryRun'] else ''}{verb}, {len(left)} not")


def _say_result(result: Json) -> None:
    new = f" (job {result['newJobId']})" if result["newJobId"] else ""
    message = f": {result['message']}" if result["message"] else ""
    output.say(f"{result['outcome'].replace('_', ' '):13}  {result['id']}{message}{new}")


def _say_letter(letter: dict[str, Any]) -> None:
    facts = (
        letter["jobType"],
        None if letter["courseId"] is None else f"course {letter['courseId']}",
        None if letter["priority"] is None else f"priority {letter['priority']}",
        letter["deadSince"],
    )
    output.say(f"{letter['id']}  " + "  ".join(fact for fact in facts if fact))
    output.say(f"    {letter['reason']}" + (f": {letter['detail']}" if letter["detail"] else ""))
