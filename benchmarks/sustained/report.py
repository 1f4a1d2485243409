"""The report: what was found and whether it is what must hold, as Markdown, with the raw numbers beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.support.machine import describe
from benchmarks.support.samples import Latencies
from benchmarks.support.tables import Table
from benchmarks.sustained.judging import (
    FLAT_MEGABYTES,
    FLAT_SHARE,
    Growth,
    broken_promises,
    drained_after,
    finished_once,
    growth,
)
from benchmarks.sustained.running import Outcome
from benchmarks.sustained.sampling import DEPTHS, EVERY_SECONDS
from benchmarks.sustained.traffic import KINDS

SAMPLES: Final = "samples.csv"
COURSES: Final = "courses.csv"
PLOTS: Final = {
    "courses": "Courses begun, finished and under way",
    "latencies": "From the request to the finished course, and to the answer",
    "depths": "What waits",
    "memory": "Memory of each process",
    "cpu": "CPU time of each process",
    "stores": "PostgreSQL and Redis",
}
"""Drawn from the two files of numbers by `benchmarks.sustained.plots`."""
API_P95_MS: Final = 500.0
MEMORY_MINUTES: Final = 10.0
"""A shorter load does not tell growth from warming up: its memory is shown and not judged."""
WATCHED: Final = {
    "api_mb": "api",
    "relay_mb": "outbox-relay",
    "worker_mb": "stage-worker",
    "worker_children_mb": "its child processes",
    "persistence_mb": "persistence-worker",
}
"""Whose memory must be flat."""
STORED: Final = {"postgres_mb": "PostgreSQL, all processes", "redis_mb": "Redis"}
"""Whose memory grows with what they keep."""


def write(outcome: Outcome, folder: Path, command: str) -> bool:
    """Write report.md and both files of numbers; whether everything held."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / SAMPLES, outcome.samples)
    _write_csv(folder / COURSES, _courses(outcome))
    tables, failures = tables_of(outcome)
    (folder / "report.md").write_text(_page(outcome, tables, failures, command), encoding="utf-8")
    return not failures


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: f"{value:g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
        )


def _courses(outcome: Outcome) -> list[dict[str, object]]:
    return [
        {
            "second": round(each.at, 1),
            "kind": each.kind,
            "answer_ms": round(each.milliseconds, 1),
            "ready_seconds": round(outcome.ready[str(each.course_id)], 2)
            if str(each.course_id) in outcome.ready
            else "",
        }
        for each in sorted(outcome.begun, key=lambda each: each.at)
    ]


def tables_of(outcome: Outcome) -> tuple[list[Table], list[str]]:
    """What was found, and what did not hold, in words."""
    failures: list[str] = []
    tables = [
        _kept(outcome, failures),
        _latencies(outcome, failures),
        _memory(outcome, failures),
        _depths(outcome, failures),
        _costs(outcome),
        _stores(outcome),
    ]
    return tables, failures


def _holds(holds: bool, what: str, failures: list[str]) -> str:
    if not holds:
        failures.append(what)
    return "met" if holds else "MISSED"


def _kept(outcome: Outcome, failures: list[str]) -> Table:
    plan, table = outcome.plan, Table("Nothing lost, nothing doubled", ("what", "found", "must be", ""))
    broken = broken_promises(outcome.evidence)
    finished = finished_once(outcome.evidence)
    lines = [
        ("courses acknowledged", len(outcome.begun), plan.courses),
        ("acknowledged and finished exactly once", finished, plan.courses),
        ("answers that were no 2xx, after which clients asked again", outcome.troubles.total(), 0),
        *(
            (f"{kind}, by the ledger", len(broken.get(kind, ())), 0)
            for kind in ("lost", "phantom", "duplicate", "stuck", "divergent")
        ),
        ("courses that ended in error", len(broken.get("failed", ())), 0),
        ("processes that ended", len(outcome.ended), 0),
    ]
    if plan.messages:
        lines += [
            ("messages accepted", outcome.conversations.accepted, plan.messages),
            ("rows of messages", outcome.message_rows, plan.messages),
            ("dead letters", outcome.dead_letters, 0),
        ]
    for what, found, wanted in lines:
        table.add(
            what, f"{found:,}", f"{wanted:,}", _holds(found == wanted, f"{what}: {found:,}, not {wanted:,}", failures)
        )
    if outcome.troubles:
        table.notes.append("; ".join(f"{what}: {times}" for what, times in outcome.troubles.most_common()))
    table.notes += [f"a look failed at {each}" for each in outcome.missed]
    table.notes.append(
        "the ledger compares what clients were told, what PostgreSQL holds, and a file that notes each effect as it happens"
    )
    return table


def _latencies(outcome: Outcome, failures: list[str]) -> Table:
    table = Table("Latencies", ("what", "count", "p50", "p95", "p99", "worst", "p95 must be", ""))
    for kind in KINDS:
        ready = [
            outcome.ready[str(each.course_id)]
            for each in outcome.begun
            if each.kind == kind and str(each.course_id) in outcome.ready
        ]
        if ready:
            table.add(f"initiation to ready, {kind}, s", *_spread(ready, 2), "–", "")
    answers = [each.milliseconds for each in outcome.begun]
    if answers:
        p95 = Latencies.of(answers).p95
        held = _holds(p95 < API_P95_MS, f"p95 of the initiation's answer is {p95:.0f} ms", failures)
        table.add("answer to an initiation, ms", *_spread(answers, 1), f"< {API_P95_MS:g}", held)
    if outcome.conversations.milliseconds:
        table.add("answer to a message, ms", *_spread(outcome.conversations.milliseconds, 1), "–", "")
    return table


def _spread(values: Sequence[float], digits: int) -> list[str]:
    found = Latencies.of(values)
    return [f"{found.count:,}", *(f"{each:,.{digits}f}" for each in (found.p50, found.p95, found.p99, found.worst))]


def growths(outcome: Outcome, names: Iterable[str]) -> list[Growth]:
    """How the memory of these columns went over the second half."""
    seconds = outcome.plan.seconds
    return [growth(name, _points(outcome, name), seconds) for name in names]


def _points(outcome: Outcome, name: str) -> list[tuple[float, float]]:
    return [(each["second"], each[name]) for each in outcome.samples if name in each]


def _memory(outcome: Outcome, failures: list[str]) -> Table:
    table = Table(
        "Memory, MB",
        ("process", "first look", "second half, mean", "peak", "rise in that half", "limit", "an hour", ""),
    )
    for each in growths(outcome, [*WATCHED, *STORED]):
        name = (WATCHED | STORED)[each.name]
        values = [value for _, value in _points(outcome, each.name)]
        limit, held = "–", ""
        if each.name in WATCHED and outcome.plan.minutes >= MEMORY_MINUTES:
            limit = f"{each.limit:.1f}"
            held = _holds(each.is_flat, f"the memory of {name} rose by {each.rise:.1f} MB in the second half", failures)
        table.add(
            name, f"{values[0]:.0f}", f"{each.mean:.1f}", f"{max(values):.0f}", f"{each.rise:+.2f}", limit,
            f"{each.per_hour:+.1f}", held,
        )  # fmt: skip
    table.notes.append(
        "the rise is that of the straight line through the highest look of each minute in the load's second half, a look every "
        f"{EVERY_SECONDS:g} s; it may be {FLAT_MEGABYTES:g} MB, or {FLAT_SHARE:.0%} of the mean where that is more"
    )
    table.notes.append(
        "child processes are replaced after 100 tasks, and end when idle; of them and of PostgreSQL's processes shared pages are "
        "divided among those that share them"
    )
    table.notes.append(
        "PostgreSQL fills its buffers, Redis keeps keys and finished jobs for as long as its settings say: both grow with that"
    )
    return table


def _depths(outcome: Outcome, failures: list[str]) -> Table:
    table = Table(
        "What waits", ("where", "mean", "worst", "at the end", "empty after the load, s", "must be empty", "")
    )
    seconds = outcome.plan.seconds
    for name in (*DEPTHS, "running"):
        points = _points(outcome, name)
        during = [value for at, value in points if at <= seconds]
        empty = drained_after(points, seconds)
        last = points[-1][1]
        held = _holds(last == 0, f"{last:.0f} are left of {name}", failures)
        table.add(
            _WHERE[name], f"{sum(during) / len(during):.1f}", f"{max(during):,.0f}", f"{last:,.0f}",
            "never" if empty is None else f"{empty:.0f}", "yes", held,
        )  # fmt: skip
    return table


_WHERE: Final = {
    "outbox": "rows of the outbox",
    "documents": "jobs: documents",
    "analysis": "jobs: analysis",
    "generation": "jobs: generation",
    "messages_lag": "messages",
    "running": "courses under way",
}


def _costs(outcome: Outcome) -> Table:
    """What a course takes, idle work taken off."""
    table = Table("What one course takes", ("of", "all of the run", "without load, a second", "a course"))
    seconds, courses = outcome.used["at"], max(1, len(outcome.begun))
    for name, (what, digits, scale) in _COSTS.items():
        idle = max(0.0, outcome.idle[name]) * scale
        total = outcome.used[name] * scale
        table.add(what, f"{total:,.{digits}f}", f"{idle:,.3f}", f"{(total - idle * seconds) / courses:,.{digits}f}")
    table.notes.append(
        f"over {seconds:.0f} s and {courses:,} courses; what the same processes take while nobody asks is taken off; "
        f"messages ({outcome.plan.messages:,}) and the looks of this benchmark are in it"
    )
    return table


_COSTS: Final[dict[str, tuple[str, int, float]]] = {
    "api_cpu": ("CPU of the api, ms", 1, 1000),
    "relay_cpu": ("CPU of the relay, ms", 1, 1000),
    "worker_cpu": ("CPU of stage-workers and their children, ms", 0, 1000),
    "persistence_cpu": ("CPU of the persistence-worker, ms", 1, 1000),
    "postgres_cpu": ("CPU of PostgreSQL, ms", 0, 1000),
    "redis_cpu": ("CPU of Redis, ms", 1, 1000),
    "commits": ("transactions of PostgreSQL", 1, 1),
    "wal_mb": ("write-ahead log, kB", 0, 1024),
    "database_mb": ("size of the database, kB", 1, 1024),
    "commands": ("commands of Redis", 0, 1),
    "redis_used_mb": ("memory of Redis, kB", 1, 1024),
}


def _stores(outcome: Outcome) -> Table:
    table = Table("Where PostgreSQL keeps it", ("table with its indexes", "MB", "kB a course"))
    courses = max(1, len(outcome.begun))
    for name, megabytes in list(outcome.tables.items())[:12]:
        table.add(f"`{name}`", f"{megabytes:.1f}", f"{megabytes * 1024 / courses:.1f}")
    table.notes.append(
        "from the first row on, so that small tables look dearer than they are; freed by retention (docs/RETENTION.md)"
    )
    return table


def _page(outcome: Outcome, tables: Sequence[Table], failures: Sequence[str], command: str) -> str:
    plan = outcome.plan
    workers = f"{plan.workers} stage-worker{'s' * (plan.workers > 1)} with {plan.concurrency} jobs of a queue in hand"
    what = "from titles" if plan.titles_only else "four of ten from documents"
    held = (
        "**Everything held.**"
        if not failures
        else "**Not everything held**:\n\n" + "\n".join(f"- {each}" for each in failures)
    )
    parts = [
        "# Sustained load",
        f"`{command}`: {plan.minutes:g} minutes, {plan.per_minute:g} courses a minute, {what}, "
        f"{plan.messages_per_second:g} messages a second; {workers}, one api, one relay, one persistence-worker, "
        f"PostgreSQL with fsync, Redis with `appendfsync {plan.appendfsync}` and the clients on one machine.",
        describe(),
        f"Load average before {outcome.loads[0]}, after {outcome.loads[1]} (1, 5 and 15 minutes; the run itself is part of it).",
        held,
        *(each.render() for each in tables),
        *(f"### {title}\n\n![{title}]({name}.svg)" for name, title in PLOTS.items()),
        f"Numbers: [{SAMPLES}]({SAMPLES}), a look every {EVERY_SECONDS:g} s; [{COURSES}]({COURSES}), a line a course. Drawn by "
        "`python -m benchmarks.sustained.plots FOLDER`.",
    ]
    return "\n\n".join(parts) + "\n"
