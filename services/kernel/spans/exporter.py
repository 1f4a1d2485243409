"""Keeps finished spans for a moment and sends them in batches; full or unheard, it drops and counts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final

from services.kernel import metrics
from services.kernel.collectors import Collector, NotTaken
from services.kernel.logs import get_logger
from services.kernel.reminders import Reminder
from services.kernel.spans.span import Attribute, Span
from services.kernel.spans.wire import export_request

EVERY_SECONDS: Final = 1.0
"""Longest time that a span waits for others."""
LONGEST_PAUSE_SECONDS: Final = 30.0
"""Longest time between two attempts at a collector that does not answer."""
BATCH: Final = 512
MOST_WAITING: Final = 4096
"""Spans kept at most, some 4 MB."""
LAST_SECONDS: Final = 1.0
"""What is left of a process's closing time for its last spans."""

_SPANS = metrics.counter("trace_spans", "Spans recorded, by what became of them", ["result"])
_log = get_logger(__name__)


class Exporter:
    """Safe within one event loop."""

    def __init__(self, collector: Collector, resource: Mapping[str, Attribute]) -> None:
        self._collector = collector
        self._resource = resource
        self._waiting: deque[Span] = deque()
        self._reminder = Reminder()
        self._pause = EVERY_SECONDS
        for result in ("exported", "dropped"):
            _SPANS.labels(result)

    def add(self, span: Span) -> None:
        """Keep it until it is sent; when too many wait already it is dropped, never the work it tells of."""
        if len(self._waiting) >= MOST_WAITING:
            _SPANS.labels("dropped").inc()
            return
        self._waiting.append(span)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await asyncio.sleep(self._pause)
            while self._waiting and await self._send():
                pass

    async def finish(self) -> None:
        """Send what is left, if that is quickly done."""
        try:
            async with asyncio.timeout(LAST_SECONDS):
                while self._waiting and await self._send():
                    pass
        except TimeoutError:
            pass
        _SPANS.labels("dropped").inc(len(self._waiting))
        self._waiting.clear()

    async def _send(self) -> bool:
        """Whether the next batch is off this process's hands and was taken."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        try:
            await self._collector.take(export_request(batch, self._resource, "coursegen"))
        except NotTaken as error:
            self._not_taken(batch, error)
            return False
        except BaseException:
            self._waiting.extendleft(reversed(batch))
            raise
        _SPANS.labels("exported").inc(len(batch))
        self._pause = EVERY_SECONDS
        self._reminder.forget()
        return True

    def _not_taken(self, batch: list[Span], error: NotTaken) -> None:
        self._pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2)
        if error.is_passing:
            self._waiting.extendleft(reversed(batch))
        else:
            _SPANS.labels("dropped").inc(len(batch))
        if self._reminder.is_due(str(error)):
            _log.warning("the collector takes no spans", reason=str(error), waiting=len(self._waiting))
