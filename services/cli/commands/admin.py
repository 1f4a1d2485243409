"""The machine for those who run it: queues, counters, the outbox, the leader, and what was done to them."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from services.cli import output
from services.cli.admin_api import AdminApi, Json, ask
from services.cli.commands import admin_letters
from services.cli.commands.options import AsJson
from services.cli.errors import CalledWrongly
from services.cli.tables import age, table

_SCOPES = ("global", "FREE", "BASIC", "STANDARD", "TRIAL", "PREMIUM")
_DEFAULT = "default"

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="Its name, such as course-generation:documents.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept in the record.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="Most lines.")]


def group() -> typer.Typer:
    """The commands as a group of their own."""
    app = typer.Typer(
        help="See and steer the running machine, as administrator: through the api of the stack that runs here, "
        "or that API_URL and API_TOKEN name (the token needs the role admin).",
        no_args_is_help=True,
    )
    commands = (queues, jobs, pause, resume, concurrency, limits, reconcile, outbox, leader, actions, events)
    for command in commands:
        app.command()(command)
    app.command("open")(open_page)
    app.add_typer(admin_letters.group(), name="dead-letters")
    return app


def queues(*, as_json: AsJson = False) -> None:
    """Show every queue: what waits, what runs, what is dead, who serves it, whether it is paused."""
    found = ask(lambda api: api.look("queues"))
    if as_json:
        output.document(found)
        return
    if found["message"]:
        output.say(found["message"])
    headers = ("queue", "waiting", "by priority", "scheduled", "running", "dead", "workers", "")
    _say_table(headers, [_queue_row(each) for each in found["queues"]])


def jobs(
    queue: Queue,
    *,
    state: Annotated[str, typer.Option("--state", help="waiting, scheduled, running or dead.")] = "waiting",
    limit: Limit = 20,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Jobs to pass over.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List a queue's jobs in the order in which they will be served, with status and priority."""
    found = ask(lambda api: api.look("queues", queue, "jobs", state=state, limit=limit, offset=offset))
    if as_json:
        output.document(found)
        return
    headers = ("job", "type", "priority", "status", "course", "attempts", "worker", "why")
    fields = ("key", "jobType", "priority", "status", "courseId", "attempts", "worker", "detail")
    rows = [tuple(job[field] for field in fields) for job in found["jobs"]]
    _say_table(headers, rows, none=f"no job in {queue} is {state}")
    if found["nextOffset"] is not None:
        output.say(f"more: --offset {found['nextOffset']}")


def pause(queue: Queue, *, reason: Reason = None, as_json: AsJson = False) -> None:
    """Have workers take nothing more from a queue. What runs goes on, what waits stays."""
    _control(queue, "pause", reason, as_json=as_json)


def resume(queue: Queue, *, reason: Reason = None, as_json: AsJson = False) -> None:
    """Let workers take from a queue again."""
    _control(queue, "resume", reason, as_json=as_json)


def concurrency(*, as_json: AsJson = False) -> None:
    """Show how many courses run, what the counters say, how far they are off, and the limits."""
    found = ask(lambda api: api.look("concurrency"))
    if as_json:
        output.document(found)
        return
    if found["message"]:
        output.say(found["message"])
    elif not found["ready"]:
        output.say("the counters are being rebuilt; PostgreSQL counts meanwhile")
    everyone = found["global"]
    rows: list[Sequence[object]] = [
        ("everyone", None, everyone["counter"], everyone["truth"], everyone["drift"], everyone["limit"])
    ]
    rows += [
        (user["userId"], user["tier"], user["counter"], user["truth"], user["drift"], user["limit"])
        for user in found["users"]
    ]
    _say_table(("user", "tier", "counter", "running", "drift", "limit"), rows)


def limits(
    scope: Annotated[str | None, typer.Argument(metavar="[SCOPE]", help=f"One of {', '.join(_SCOPES)}.")] = None,
    slots: Annotated[
        str | None, typer.Argument(metavar="[SLOTS]", help="Courses at once, 1 to 10000, or `default`.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the limits, or change one while everything runs: `limits global 10`, `limits FREE default`."""
    if slots is None:
        found = ask(lambda api: api.look("concurrency"))["limits"]
        shown = [limit for limit in found if scope is None or limit["scope"].upper() == scope.upper()]
        if not shown:
            raise CalledWrongly(f"There is no limit {scope!r}; there are {', '.join(_SCOPES)}.")
    else:
        body = {"slots": _slots(slots)}
        named = next((each for each in _SCOPES if each.upper() == (scope or "").upper()), scope or "")
        shown = [ask(lambda api: api.change("PUT", "limits", named, body=body))]
    if as_json:
        output.document({"limits": shown})
        return
    headers = ("scope", "courses at once", "configured", "changed by", "changed at")
    _say_table(
        headers, [tuple(each[key] for key in ("scope", "slots", "default", "changedBy", "changedAt")) for each in shown]
    )


def reconcile(*, as_json: AsJson = False) -> None:
    """Count courses at once anew from PostgreSQL, now. It happens by itself every five minutes."""
    found = ask(lambda api: api.change("POST", "concurrency", "reconcile"))
    if as_json:
        output.document(found)
        return
    wrong = f"{found['corrected']} counters, {found['added']} missing and {found['removed']} stale slots"
    output.say(f"{found['slots']} courses run; put right: {wrong}")


def outbox(*, as_json: AsJson = False) -> None:
    """Show what lies in the outbox: how much, for how long, what of it is dead."""
    found = ask(lambda api: api.look("outbox"))
    if as_json:
        output.document(found)
        return
    oldest = f", the oldest for {age(found['oldestSeconds'])}" if found["waiting"] else ""
    output.say(f"{found['waiting']} rows wait{oldest}; {found['dead']} are dead")
    rows = [
        (each["queue"], each["waiting"], each["delayed"], each["dead"], age(each["oldestSeconds"]))
        for each in found["queues"]
    ]
    if rows:
        _say_table(("queue", "waiting", "of them delayed", "dead", "oldest"), rows)


def leader(*, as_json: AsJson = False) -> None:
    """Show who relays, under which epoch, and who stands by."""
    found = ask(lambda api: api.look("leader"))
    if as_json:
        output.document(found)
        return
    if found["holder"] is None:
        output.say(f"nobody relays (the last epoch was {found['epoch']}). Start an outbox-relay.")
    else:
        state = "alive" if found["alive"] else "SILENT"
        heard = age(found["heartbeatAgeSeconds"])
        output.say(f"{found['holder']} leads under epoch {found['epoch']}: {state}, last heard of {heard} ago")
    rows = [
        (node["nodeId"], node["role"], "alive" if node["alive"] else "silent", age(node["heartbeatAgeSeconds"]))
        for node in found["nodes"]
    ]
    if rows:
        _say_table(("relay", "role", "", "heard of"), rows)


def actions(
    *,
    action: Annotated[str | None, typer.Option("--action", help="Only of this kind, such as queue.pause.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="UUID", help="Only of this administrator.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List what administrators changed, the latest first."""
    found = ask(lambda api: api.look("actions", action=action, userId=user, limit=limit))
    if as_json:
        output.document(found)
        return
    rows = [
        (_moment(each["at"]), each["userId"], each["action"], each["target"], _short(each["detail"]))
        for each in found["actions"]
    ]
    _say_table(("at", "who", "what", "on", "detail"), rows, none=found["message"])


def events(
    *,
    event_type: Annotated[
        str | None, typer.Option("--type", help="job_rollback, orphaned_job_recovery or concurrency_limit_hit.")
    ] = None,
    severity: Annotated[str | None, typer.Option("--severity", help="info, warning, error or critical.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List critical events, the latest first."""
    found = ask(lambda api: api.look("events", type=event_type, severity=severity, limit=limit))
    if as_json:
        output.document(found)
        return
    fields = ("severity", "eventType", "userId", "courseId")
    rows = [
        (_moment(each["createdAt"]), *(each[field] for field in fields), _short(each["metadata"]))
        for each in found["events"]
    ]
    _say_table(("at", "severity", "event", "user", "course", "detail"), rows, none=found["message"])


def open_page(
    *,
    only_print: Annotated[bool, typer.Option("--print", help="Only print the address.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open the admin page in the browser, signed in: the address is good for one minute and one use."""
    found = ask(lambda api: api.ticket())
    if as_json:
        output.document(found)
        return
    output.say(found["url"])
    if not only_print and not webbrowser.open(found["url"]):
        output.note("No browser could be started: open the address yourself within a minute.")


def _control(queue: str, verb: str, reason: str | None, *, as_json: bool) -> None:
    async def question(api: AdminApi) -> Json:
        done = await api.change("POST", "queues", queue, verb, body={"reason": reason})
        figures = (await api.look("queues"))["queues"]
        return done | {"running": next((each["running"] for each in figures if each["queue"] == queue), 0)}

    found = ask(question)
    if as_json:
        output.document(found)
        return
    state = "is paused" if found["paused"] else "goes on"
    output.say(f"{queue} {state}" + ("" if found["changed"] else " (it was so before)"))
    if found["paused"] and found["running"]:
        output.say(f"{found['running']} running jobs go on")


def _queue_row(queue: dict[str, Any]) -> tuple[object, ...]:
    by_priority = " ".join(f"{each['priority']}:{each['jobs']}" for each in queue["waiting"]) or "-"
    paused = ""
    if queue["paused"]:
        paused = "PAUSED" + (f": {queue['pauseReason']}" if queue["pauseReason"] else "")
    counts = (queue["scheduled"], queue["running"], queue["dead"], queue["workers"])
    return (queue["queue"], queue["waitingTotal"], by_priority, *counts, paused)


def _slots(text: str) -> int | None:
    if text.lower() == _DEFAULT:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10_000):
        raise CalledWrongly(
            f"{text!r} is no limit. Write a number from 1 to 10000, or `default` for what is configured."
        )
    return int(text)


def _moment(text: str) -> str:
    return f"{text[:19]}Z"


def _short(detail: dict[str, Any]) -> str:
    text = ", ".join(f"{key}={value}" for key, value in detail.items() if value is not None)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _say_table(headers: Sequence[str], rows: Sequence[Sequence[object]], none: str | None = None) -> None:
    if not rows and none:
        output.say(none)
        return
    for line in table(headers, rows):
        output.say(line)
