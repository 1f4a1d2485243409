"""Looks at everything that runs, every few seconds: processes, depths, stores, courses."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support import usage
from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.queue.inspector import Inspector
from services.kernel.queue.keys import PIPELINE_QUEUES

if TYPE_CHECKING:
    from redis.asyncio import Redis

EVERY_SECONDS: Final = 5.0
PARTITIONS: Final = 16
STAGES: Final = tuple(each.rpartition(":")[2] for each in PIPELINE_QUEUES)
"""documents, analysis, generation."""
DEPTHS: Final = ("outbox", *STAGES, "messages_lag")
"""Columns that must come back to 0."""

Sample = dict[str, float]
"""One look: columns and numbers; megabytes, seconds, percent of a core, or counts."""

_COURSES = """
SELECT count(*) FILTER (WHERE generation_status = 'completed')::int AS finished,
       count(*) FILTER (WHERE generation_status IN ('error', 'cancelled'))::int AS failed,
       count(*) FILTER (WHERE generation_status BETWEEN 'stage_2_init' AND 'stage_5_complete')::int AS running,
       (SELECT count(*)::int FROM job_outbox WHERE processed_at IS NULL) AS outbox,
       pg_database_size(current_database())::float8 / 1048576 AS database_mb,
       (SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database()) AS connections
  FROM courses
"""
_COUNTERS = """
SELECT (SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()) AS commits,
       (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8 / 1048576 AS wal_mb,
       pg_database_size(current_database())::float8 / 1048576 AS database_mb
"""
_TABLES = """
SELECT relname AS name, pg_total_relation_size(oid)::float8 / 1048576 AS megabytes
  FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'cron'::regnamespace)
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A process, or several that are one thing."""

    name: str
    pids: tuple[int, ...]
    children: bool = False
    """Whether what they have started counts as a subject of its own, `NAME_children`."""
    is_server: bool = False
    """Whether its processes share most of their memory, so that it is divided among them."""


@dataclass(slots=True)
class Watch:
    """What was seen, and who looks."""

    db: Database
    redis: Redis
    streams: Redis
    subjects: tuple[Subject, ...]
    clients: Callable[[], Mapping[str, float]]
    """What the clients have to say: columns of each look."""
    samples: list[Sample] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Looks that failed: when, and of what."""
    started: float = field(default_factory=time.monotonic)
    _cpu: dict[str, tuple[float, float]] = field(default_factory=dict)

    def restart(self) -> None:
        """Count time from now, and forget what was seen."""
        self.started = time.monotonic()
        self.samples.clear()

    async def keep(self) -> None:
        """Look until cancelled."""
        number = 0
        while True:
            await asyncio.sleep(max(0.0, self.started + number * EVERY_SECONDS - time.monotonic()))
            number += 1
            try:
                self.samples.append(await self.look())
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look may succeed, and the report says so
                self.missed.append(f"{time.monotonic() - self.started:.0f} s: {error!r}")
                print(f"  a look failed: {self.missed[-1]}", flush=True)

    async def look(self) -> Sample:
        """One look, now."""
        sample: Sample = {"second": round(time.monotonic() - self.started, 1), **self.clients()}
        sample |= dict(await self.db.fetchrow(_COURSES) or {})
        for stage, found in zip(STAGES, await Inspector(self.redis).overview(PIPELINE_QUEUES), strict=True):
            sample |= {stage: found.depth + found.scheduled, f"{stage}_running": found.running}
        sample["messages_lag"] = await self._lag()
        sample |= await self._redis()
        for each in self.subjects:
            sample |= self._processes(each)
        sample["load_average"] = os.getloadavg()[0]
        return {name: round(float(value), 2) for name, value in sample.items()}

    def _processes(self, subject: Subject) -> Sample:
        now = time.monotonic()
        used = usage.cpu_seconds(*subject.pids)
        at, before = self._cpu.get(subject.name, (now, used))
        self._cpu[subject.name] = (now, used)
        found = {f"{subject.name}_cpu": 100 * (used - before) / (now - at) if now > at else 0.0}
        families = {pid: usage.family(pid) for pid in subject.pids}
        if subject.is_server:
            members = [each for family in families.values() for each in family]
            return found | {f"{subject.name}_mb": sum(map(_share, members))}
        found[f"{subject.name}_mb"] = sum(map(_resident, subject.pids))
        if subject.children:
            started = [each for pid, family in families.items() for each in family if each != pid]
            found[f"{subject.name}_children_mb"] = sum(map(_share, started))
        return found

    async def _lag(self) -> int:
        async with self.streams.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.hmget(names.count(partition), [names.ENQUEUED, names.SETTLED])
            pairs = await pipe.execute()
        return sum(int(enqueued or 0) - int(settled or 0) for enqueued, settled in pairs)

    async def _redis(self) -> Sample:
        info: dict[str, Any] = await self.redis.info()
        keys = sum(each["keys"] for name, each in info.items() if name.startswith("db") and isinstance(each, dict))
        aof = float(info.get("aof_current_size", 0)) / 2**20
        return {"redis_used_mb": info["used_memory"] / 2**20, "redis_keys": keys, "redis_aof_mb": aof}

    async def counters(self) -> Sample:
        """What only grows: commits, log, commands, CPU seconds of each subject."""
        row = dict(await self.db.fetchrow(_COUNTERS) or {})
        info: dict[str, Any] = await self.redis.info()
        row |= {"commands": float(info["total_commands_processed"]), "redis_used_mb": info["used_memory"] / 2**20}
        row |= {f"{each.name}_cpu": usage.cpu_seconds(*each.pids) for each in self.subjects}
        return {"at": time.monotonic(), **row}

    async def tables(self) -> dict[str, float]:
        """Megabytes of each table with its indexes, the largest first."""
        rows = await self.db.fetch(_TABLES)
        found = {str(row["name"]): float(row["megabytes"]) for row in rows}
        return dict(sorted(found.items(), key=lambda each: -each[1]))


def _resident(pid: int) -> float:
    try:
        return usage.resident_megabytes(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _share(pid: int) -> float:
    """Resident memory, shared pages divided among those that share them; 0 when it has just ended."""
    try:
        return usage.proportional_megabytes(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
