"""The screen as lines of text, each calm, worth a look, or alarming."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from services.cli.tables import age, table
from services.cli.top.reading import Readings

CALM: Final = ""
NOTABLE: Final = "yellow"
ALARMING: Final = "bold red"
HEADING: Final = "bold"

Line = tuple[str, str]
"""Text and style."""

_USUAL_DEPTH = 100
_DEEPEST = 1000
"""Of rows in the outbox, and of messages that wait."""


def lines(readings: Readings, place: str, trouble: str | None = None) -> Iterator[Line]:
    """Everything, from what is read first.

    Args:
        readings: what was read.
        place: whose machine it is.
        trouble: why there is nothing newer.
    """
    healthy = readings.latest.numbers["healthCheck"]["healthy"]
    clock = datetime.now(UTC).strftime("%H:%M:%S UTC")
    yield (
        f"coursegen top  {place}  {clock}  {'healthy' if healthy else 'NOT HEALTHY'}",
        HEADING if healthy else ALARMING,
    )
    if trouble:
        yield f"not read anew: {trouble}", ALARMING
    yield "", CALM
    yield from _summary(readings)
    yield "", CALM
    yield from _queues(readings)
    yield "", CALM
    yield from _stages(readings)


def _summary(readings: Readings) -> Iterator[Line]:
    latest = readings.latest
    yield _depth(readings)
    yield _rates(readings), CALM
    yield _leader(readings)
    owners = sum(each["alive"] for each in latest.messages["workers"])
    workers = sum(each["workers"] or 0 for each in latest.queues["queues"])
    gone = f"; no answer from {', '.join(latest.silent)}" if latest.silent else ""
    lag = latest.messages["lag"] or 0
    is_in_vain = lag > 0 and not owners
    style = ALARMING if gone or not workers or is_in_vain else CALM
    yield f"workers    {workers} at the queues, {owners} for messages{gone}", style
    yield f"messages   {_shown(latest.messages['lag'])} wait", ALARMING if is_in_vain else _how_deep(lag)
    yield _slowest(readings), CALM
    yield _dead(readings)


def _depth(readings: Readings) -> Line:
    outbox = readings.latest.outbox
    depth = outbox["depth"]
    oldest = f", the oldest for {age(outbox['oldestSeconds'])}" if outbox["waiting"] else ""
    return f"depth      {depth} rows in the outbox{oldest}", _how_deep(depth)


def _how_deep(depth: int) -> str:
    return ALARMING if depth > _DEEPEST else NOTABLE if depth >= _USUAL_DEPTH else CALM


def _rates(readings: Readings) -> str:
    initiations, jobs = readings.rate("fsm", "total"), readings.rate("outbox", "jobsCreated")
    if initiations is None or jobs is None:
        numbers = readings.latest.numbers
        return f"rates      so far {numbers['fsm']['total']:g} initiations, {numbers['outbox']['jobsCreated']:g} jobs"
    done = sum(stage.jobs for stage in readings.lately().values()) / readings.seconds
    known = f", {done:.1f} done" if readings.latest.stages is not None else ""
    seconds = readings.counted_seconds
    return f"rates      {initiations:.1f} initiations/s, {jobs:.1f} jobs/s queued{known}, over {seconds:.0f} s"


def _leader(readings: Readings) -> Line:
    found = readings.latest.leader
    standbys = sum(node["alive"] and node["role"] == "standby" for node in found["nodes"])
    if found["holder"] is None:
        return f"leader     nobody relays; {standbys} stand by", ALARMING
    state = "" if found["alive"] else "SILENT, "
    heard = age(found["heartbeatAgeSeconds"])
    text = f"leader     {found['holder']}, epoch {found['epoch']}, {state}heard of {heard} ago; {standbys} stand by"
    return text, CALM if found["alive"] else ALARMING


def _slowest(readings: Readings) -> str:
    if readings.latest.stages is None:
        return "slowest    not known: METRICS_URL names no page of all workers' metrics that answers (docs/VERIFICATION.md)"
    found = readings.slowest()
    if found is None:
        return "slowest    no stage has done a job yet"
    name, mean, is_lately = found
    return f"slowest    {name}, {_duration(mean)} a job{'' if is_lately else ' since the start'}"


def _dead(readings: Readings) -> Line:
    counts = {**readings.latest.letters["matched"], "messages": readings.latest.messages["deadLetters"]}
    dead = {kind: count for kind, count in counts.items() if count}
    if not dead:
        return "dead       no letters", CALM
    listed = ", ".join(f"{count} {kind}" for kind, count in dead.items())
    commands = ["coursegen admin dead-letters list"] if set(dead) != {"messages"} else []
    commands += ["coursegen messages dead-letters"] if "messages" in dead else []
    return f"dead       {listed}; next: {', '.join(commands)}", NOTABLE


def _queues(readings: Readings) -> Iterator[Line]:
    found = readings.latest.queues
    if found["message"]:
        yield found["message"], ALARMING
    fields = ("queue", "waitingTotal", "scheduled", "running", "dead", "workers")
    rows = [(*(each[name] for name in fields), "PAUSED" if each["paused"] else "") for each in found["queues"]]
    heading, *texts = table(("queue", "waiting", "scheduled", "running", "dead", "workers", ""), rows)
    yield heading, HEADING
    for each, text in zip(found["queues"], texts, strict=True):
        yield text, ALARMING if each["workers"] == 0 else NOTABLE if each["paused"] or each["dead"] else CALM


def _stages(readings: Readings) -> Iterator[Line]:
    if not readings.latest.stages:
        return
    lately = readings.lately()
    rows = []
    for name, stage in sorted(readings.latest.stages.items()):
        now = lately.get(name)
        rate = f"{now.jobs / readings.seconds:.1f}" if now is not None else None
        mean = (now.mean if now is not None else None) or stage.mean
        rows.append((name, rate, _duration(mean), int(stage.running), int(stage.jobs), int(stage.failed)))
    heading, *texts = table(("stage", "jobs/s", "mean", "running", "done", "failed"), rows)
    yield heading, HEADING
    yield from ((text, NOTABLE if row[-1] else CALM) for row, text in zip(rows, texts, strict=True))


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
