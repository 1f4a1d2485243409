"""Counters and durations that outlive a process and add up over all of them (contract.md i, TRAP19).

A process adds in memory; a background task writes the sums to table `metric_values` every 200 ms in one statement, so no
request waits for a counter and no two transactions queue up on its row. A killed process loses at most what it counted since
the last write: these are measurements, never the truth about a course.

Durations are kept as a histogram with buckets that grow by 10 %: sums of such histograms are histograms, so percentiles
are right across processes within 5 % (the idea of DDSketch: Masson, Rim and Lee, VLDB 2019).
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, ItemsView, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from services.kernel.database import Database
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

FLUSH_SECONDS = 0.2
"""How long an addition may wait before it is written."""

_GROWTH = 1.1
_SMALLEST_MS = 0.01
_COUNT_BUCKET = 0
_SUM_BUCKET = -1
_QUERIES = Queries.load("services.kernel", "counters.sql")
_log = get_logger(__name__)

Key = tuple[str, str, int]
"""Name, label, bucket; bucket 0 is the plain count, -1 the sum in ms, 1 and above the histogram."""


def bucket_of(milliseconds: float) -> int:
    """The histogram bucket a duration falls into, from 1."""
    return max(1, 1 + math.ceil(math.log(max(milliseconds, _SMALLEST_MS) / _SMALLEST_MS, _GROWTH)))


def middle_of(bucket: int) -> float:
    """The duration in ms that stands for a bucket: within 5 % of everything in it."""
    upper = _SMALLEST_MS * _GROWTH ** (bucket - 1)
    return float(2 * upper / (1 + _GROWTH)) if bucket > 1 else _SMALLEST_MS


@dataclass(frozen=True, slots=True)
class Durations:
    """A distribution of durations, in milliseconds; all zero when nothing was measured."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many durations there were, and how long; for Prometheus, which makes its own percentiles of any stretch of time."""

    seconds: float
    """All of them together."""
    buckets: tuple[tuple[int, int], ...]
    """(bucket, how many), in order."""

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(many for _, many in self.buckets)

    def within(self, seconds: float) -> int:
        """How many took no longer than `seconds`, within the 5 % that a bucket leaves open."""
        return sum(many for bucket, many in self.buckets if middle_of(bucket) <= seconds * 1000)


class Snapshot:
    """What all processes had counted at one moment."""

    def __init__(self, values: Mapping[Key, float], read_at: datetime | None = None) -> None:
        """Keep the values.

        Args:
            values: by their keys.
            read_at: when PostgreSQL was asked for them, by its clock.
        """
        self._values = values
        self.read_at = read_at

    def count(self, name: str, label: str = "") -> int:
        """The value of one counter; 0 if nothing was counted."""
        return int(self._values.get((name, label, _COUNT_BUCKET), 0))

    def durations(self, name: str, label: str = "") -> Durations:
        """The distribution of one duration."""
        buckets = sorted((key[2], n) for key, n in self._values.items() if key[:2] == (name, label) and key[2] > 0)
        total = sum(n for _, n in buckets)
        if not total:
            return Durations()
        mean = self._values.get((name, label, _SUM_BUCKET), 0.0) / total
        p50, p95, p99 = (_quantile(buckets, total, each) for each in (0.50, 0.95, 0.99))
        return Durations(int(total), mean, p50, p95, p99)

    def items(self) -> ItemsView[Key, float]:
        """Everything, for whoever keeps it."""
        return self._values.items()

    def has_all_of(self, earlier: Snapshot) -> bool:
        """Whether nothing is less than it was: else the counters were emptied, or restored to what they had been before."""
        return all(self._values.get(key, 0) >= value for key, value in earlier._values.items())

    def since(self, earlier: Snapshot) -> Snapshot:
        """What was counted after `earlier`. Somebody may have emptied the counters: less than before is nothing."""
        changes = ((key, value - earlier._values.get(key, 0)) for key, value in self._values.items())
        return Snapshot({key: change for key, change in changes if change > 0})

    def distribution(self, name: str, label: str = "") -> Distribution:
        """The same, not condensed."""
        buckets = sorted((key[2], int(n)) for key, n in self._values.items() if key[:2] == (name, label) and key[2] > 0)
        return Distribution(self._values.get((name, label, _SUM_BUCKET), 0.0) / 1000, tuple(buckets))


def _quantile(buckets: list[tuple[int, float]], total: float, quantile: float) -> float:
    seen = 0.0
    for bucket, n in buckets:
        seen += n
        if seen >= quantile * total:
            return middle_of(bucket)
    return middle_of(buckets[-1][0])


class Counters:
    """Adds in memory, writes in the background. Safe within one event loop."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pending: defaultdict[Key, float] = defaultdict(float)
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()

    def add(self, name: str, label: str = "", amount: float = 1) -> None:
        """Add to a counter."""
        self._pending[name, label, _COUNT_BUCKET] += amount
        self._wake.set()

    def observe(self, name: str, seconds: float, label: str = "") -> None:
        """Record one duration, in seconds."""
        milliseconds = seconds * 1000
        self._pending[name, label, bucket_of(milliseconds)] += 1
        self._pending[name, label, _SUM_BUCKET] += milliseconds
        self._wake.set()

    async def flush(self) -> None:
        """Write what is pending; on failure it stays pending.

        Raises:
            DatabaseUnavailable: when PostgreSQL does not answer.
        """
        async with self._writing:
            if not self._pending:
                return
            batch, self._pending = self._pending, defaultdict(float)
            keys = sorted(batch)  # one order in every process: no deadlocks between writers
            try:
                await self._db.execute(
                    _QUERIES["add_values"],
                    [key[0] for key in keys],
                    [key[1] for key in keys],
                    [key[2] for key in keys],
                    [batch[key] for key in keys],
                )
            except BaseException:
                for key, amount in batch.items():
                    self._pending[key] += amount
                raise

    async def read(self) -> Snapshot:
        """What all processes have counted, with this one's latest additions written first."""
        await self.flush()
        rows = await self._db.fetch(_QUERIES["read_values"])
        counted = {(row["name"], row["label"], row["bucket"]): row["value"] for row in rows if row["name"] is not None}
        return Snapshot(counted, rows[0]["read_at"])

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Counters]:
        """Write in the background while the block runs, and once more at its end."""
        task = asyncio.create_task(self._write_for_ever(), name="counters")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._try_flush()

    async def _write_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(FLUSH_SECONDS)
            await self._try_flush()

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except CoursegenError as error:
            _log.warning("counters not written, kept for later", error=error.message)
