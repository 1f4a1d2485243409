"""What a persistence-worker counts, under the contract's names (contract.md t)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from services.kernel import metrics
from services.kernel.messages.figures import IDEMPOTENCY_HITS


class _Instruments:
    """What Prometheus sees of this process."""

    def __init__(self) -> None:
        self.processed = metrics.counter(
            "stream_consumer_processed", "Entries handled, by how it went; an error is one try", ["status"]
        )
        for status in ("success", "duplicate", "error", "dead_letter"):
            self.processed.labels(status)
        self.lag = metrics.gauge("stream_partition_lag", "Entries of the partition not settled yet", ["partition"])
        self.dead = metrics.counter("stream_dead_letter", "Entries put among the dead letters")
        self.duration = metrics.histogram(
            "stream_processing_duration_seconds", "From reading an entry to its being settled"
        )
        self.partitions = metrics.gauge("stream_partitions_held", "Partitions that this worker persists")
        self.paused = metrics.gauge(
            "stream_partitions_paused", "Partitions that an entry stops which a later release has written"
        )
        self.trimmed = metrics.counter("stream_trimmed_entries", "Persisted entries cut off the streams")
        self.repeats: Any = IDEMPOTENCY_HITS.labels("persist")


@cache
def _instruments() -> _Instruments:
    """Made once, when first needed: a process has one registry."""
    return _Instruments()


class Figures:
    """The numbers of one worker."""

    def __init__(self) -> None:
        self._show = _instruments()
        self._lags: set[int] = set()

    def persisted(self, new: int, repeats: int) -> None:
        """So many entries have got their row, and so many had it already."""
        if new:
            self._show.processed.labels("success").inc(new)
        if repeats:
            self._show.processed.labels("duplicate").inc(repeats)
            self._show.repeats.inc(repeats)

    def settled(self, seconds: Iterable[float]) -> None:
        """Entries were settled, each so long after it was read."""
        for each in seconds:
            self._show.duration.observe(each)

    def refused(self) -> None:
        """PostgreSQL has refused one entry once."""
        self._show.processed.labels("error").inc()

    def buried(self) -> None:
        """An entry is a dead letter."""
        self._show.processed.labels("dead_letter").inc()
        self._show.dead.inc()

    def holding(self, partitions: int) -> None:
        """This worker persists so many partitions."""
        self._show.partitions.set(partitions)

    def paused(self, partitions: int) -> None:
        """An entry of a later version stops so many partitions."""
        self._show.paused.set(partitions)

    def lags(self, lags: Mapping[int, int]) -> None:
        """How far behind the partitions are; those that are not named are shown by others."""
        for partition in self._lags - lags.keys():
            self._show.lag.remove(str(partition))
        for partition, lag in lags.items():
            self._show.lag.labels(str(partition)).set(lag)
        self._lags = set(lags)

    def trimmed(self, entries: int) -> None:
        """So many entries were cut off."""
        self._show.trimmed.inc(entries)
