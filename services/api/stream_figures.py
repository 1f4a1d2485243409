"""What waits in the streams of messages, in Prometheus' text format, on every api's page of metrics.

A partition's lag is shown by its owner; when nobody persists there is none, and that is what must be told. So the api, which
is there, shows what waits and what was settled. When Redis does not say so in time nothing is shown: an old number would lie. Nor
is what another installation has there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from services.api.metrics_view import family
from services.kernel.errors import CoursegenError, RedisOccupied
from services.kernel.installation import Claim
from services.kernel.logs import get_logger
from services.kernel.messages.consuming import StreamExit

LONGEST_SECONDS: Final = 1.5
"""A page of metrics waits no longer for Redis."""

_log = get_logger(__name__)


class StreamFigures:
    """Reads how full the partitions are."""

    def __init__(self, stream: StreamExit, claim: Claim, *, partitions: int) -> None:
        """Look at `stream`, which has so many partitions unless Redis itself says so, where `claim` lets it."""
        self._stream = stream
        self._claim = claim
        self._configured = partitions

    async def page(self) -> str:
        """The figures, or nothing when Redis does not give them. Never raises."""
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await self._claim.respect()
                count = await self._stream.partitions(self._configured)
                counts = await self._stream.counts(range(count))
        except RedisOccupied:
            return ""  # `StreamWatch` tells of it, where it matters
        except (CoursegenError, TimeoutError, ValueError) as error:  # ValueError: no number, written by hand
            _log.warning("what waits in the streams is not shown", reason=str(error) or "Redis takes too long")
            return ""
        return exposition(counts)


def exposition(counts: Mapping[int, tuple[int, int]]) -> str:
    """The figures from how many entries of each partition were enqueued and settled."""
    waiting = {_labels(partition): max(0, enqueued - settled) for partition, (enqueued, settled) in counts.items()}
    done = {_labels(partition): settled for partition, (_, settled) in counts.items()}
    lines: list[str] = []
    family(lines, "stream_backlog_entries", "gauge", "Entries of the partition not settled yet, as Redis says", waiting)
    family(lines, "stream_settled_entries_total", "counter", "Entries persisted, or put among the dead letters", done)
    return "".join(f"{line}\n" for line in lines)


def _labels(partition: int) -> str:
    return f'partition="{partition}"'
