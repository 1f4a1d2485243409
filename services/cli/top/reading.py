"""Everything that the screen shows, as it was at one moment; and what happened between two of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from services.cli.admin_api import AdminApi
from services.cli.top import series
from services.cli.top.series import Stage
from services.kernel.lean import lean

with lean():
    import httpx

Json = dict[str, Any]

WINDOW_SECONDS: Final = 60.0
"""How far rates look back."""

_PAGE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the api and the workers have said."""

    at: float
    """Monotonic seconds."""
    numbers: Json
    queues: Json
    outbox: Json
    leader: Json
    letters: Json
    messages: Json
    stages: dict[str, Stage] | None = None
    """None where no page of the workers' metrics is known, or it does not answer."""
    silent: list[str] = field(default_factory=list)
    """Processes that the page misses."""

    @property
    def read_at(self) -> float | None:
        """When the api read the numbers, by the clock of its database, in seconds; None where an older api does not say."""
        said = self.numbers.get("readAt")
        return None if said is None else datetime.fromisoformat(said).timestamp()


class MetricsPage:
    """The page of all workers' metrics, where there is one. It is asked without a token: it may be anybody's."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._http = httpx.AsyncClient(timeout=_PAGE_SECONDS, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def text(self) -> str | None:
        """What it says; None when it is not known, or says nothing."""
        if self._url is None:
            return None
        try:
            answer = await self._http.get(self._url)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        return answer.text if answer.is_success else None


async def read(api: AdminApi, metrics: MetricsPage) -> Reading:
    """Ask everybody at the same time.

    Raises:
        ApiUnreachable: the api does not answer.
        ApiRefused: it does not show this to who asks.
    """
    questions = asyncio.gather(
        api.numbers(),
        api.look("queues"),
        api.look("outbox"),
        api.look("leader"),
        api.look("dead-letters", limit=1),
        api.look("messages"),
    )
    (numbers, queues, outbox, leader, letters, messages), page = await asyncio.gather(questions, metrics.text())
    return Reading(
        at=time.monotonic(),
        numbers=numbers,
        queues=queues,
        outbox=outbox,
        leader=leader,
        letters=letters,
        messages=messages,
        stages=None if page is None else series.stages(page),
        silent=[] if page is None else series.silent(page),
    )


class Readings:
    """The latest reading, and the one that rates are counted from: the oldest of the last minute."""

    def __init__(self) -> None:
        self._kept: deque[Reading] = deque()

    def add(self, reading: Reading) -> None:
        """Keep one more, and forget those that are too old."""
        self._kept.append(reading)
        while len(self._kept) > 2 and self._kept[1].at <= reading.at - WINDOW_SECONDS:
            self._kept.popleft()

    @property
    def latest(self) -> Reading:
        """The last that was added."""
        return self._kept[-1]

    @property
    def seconds(self) -> float:
        """How far apart the two are; 0 when there is one only."""
        return self.latest.at - self._kept[0].at

    @property
    def counted_seconds(self) -> float:
        """How far apart their numbers were read, which an api shows for a second and longer; 0 while they are the same."""
        earlier, latest = self._kept[0].read_at, self.latest.read_at
        if earlier is None or latest is None:
            return self.seconds
        return max(0.0, latest - earlier)

    def rate(self, part: str, name: str) -> float | None:
        """How fast a counter of metrics.getAll grows, a second; None while nobody knows."""
        if not self.counted_seconds:
            return None
        grown = self.latest.numbers[part][name] - self._kept[0].numbers[part][name]
        return max(0.0, float(grown) / self.counted_seconds)

    def lately(self) -> dict[str, Stage]:
        """What the stages did since the earlier reading."""
        earlier, latest = self._kept[0].stages, self.latest.stages
        if earlier is None or latest is None or not self.seconds:
            return {}
        return {name: stage.since(earlier.get(name, Stage())) for name, stage in latest.items()}

    def slowest(self) -> tuple[str, float, bool] | None:
        """The stage with the longest mean, its seconds, and whether that is of lately or, without jobs, since the start."""
        for found, is_lately in ((self.lately(), True), (self.latest.stages or {}, False)):
            means = [(stage.mean, name) for name, stage in found.items() if stage.mean is not None]
            if means:
                mean, name = max(means)
                return name, mean, is_lately
        return None
