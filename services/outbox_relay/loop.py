"""The leader's loop: drain while there are rows, pause while a server is away, otherwise wait to be woken.

An idle leader looks in three ways: at once when notified; every second with a cheap probe of the pending index; and fully
after the adaptive interval. While Redis is away nothing is claimed and nothing charged.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.kernel.clock import Clock
from services.kernel.errors import BrokerUnavailable, DatabaseUnavailable
from services.kernel.health import Heartbeat
from services.kernel.logs import get_logger
from services.kernel.queue import Producer
from services.kernel.reminders import Reminder
from services.outbox_relay.figures import Figures
from services.outbox_relay.leadership import Term
from services.outbox_relay.outbox import Outbox
from services.outbox_relay.pipeline import Pipeline
from services.outbox_relay.waking import Listener, Pacer

_log = get_logger(__name__)

PROBE_SECONDS: Final = 1.0
"""How often an idle leader probes, whatever the polling interval."""
ROOM_SECONDS: Final = 0.1
"""How often full queues are looked at."""
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Reconnection: 0.1 s doubling to 2 s; a server that is back is used within 2 s."""


class RelayLoop:
    """Runs the pipeline for one term at a time."""

    def __init__(
        self,
        pipeline: Pipeline,
        outbox: Outbox,
        producer: Producer,
        listener: Listener,
        figures: Figures,
        heartbeat: Heartbeat,
        clock: Clock,
    ) -> None:
        self.listener = listener
        self.figures = figures
        self._pipeline = pipeline
        self._outbox = outbox
        self._producer = producer
        self._heartbeat = heartbeat
        self._clock = clock
        self._pacer = Pacer()
        self._came_round_at = clock.monotonic()
        self._outage_pause = FIRST_PAUSE_SECONDS

    @property
    def idle_seconds(self) -> float:
        """How long ago the loop came round."""
        return self._clock.monotonic() - self._came_round_at

    @property
    def poll_interval_ms(self) -> int:
        """What `health.pollInterval` reports."""
        return self._pacer.milliseconds

    async def run(self, term: Term, stopping: asyncio.Event) -> None:
        """Relay until told to stop or until the term is lost; what is in Redis by then is marked.

        Raises:
            StaleLeader: another leader is at work.
        """
        self._pipeline.reset()
        ended = _Either(stopping, term.lost)
        while not ended.is_set():
            try:
                await self._turn(term, ended)
                self._outage_pause = FIRST_PAUSE_SECONDS
            except BrokerUnavailable as error:
                await self._wait_for_redis(error, ended)
            except DatabaseUnavailable as error:
                _log.warning("PostgreSQL is unreachable, relaying pauses", reason=error.message)
                await self._wait_out(ended)
        if not term.lost.is_set():
            await self._finish(term)

    async def greet(self) -> None:
        """Say that the queue can be used, as soon as it can."""
        reminder = Reminder(self._clock)
        while True:
            try:
                await self._producer.prepare()
            except BrokerUnavailable as error:
                if reminder.is_due(error.message):
                    _log.warning("the queue cannot be used yet", reason=error.message)
                await asyncio.sleep(LONGEST_PAUSE_SECONDS)
            else:
                _log.info("saq queue initialized")
                self.figures.broker(is_up=True)
                return

    async def beat_for_ever(self) -> None:
        """Show a standby's probe that it waits, and does not hang."""
        while True:
            self._heartbeat.beat()
            await asyncio.sleep(PROBE_SECONDS)

    async def measure(self) -> None:
        """Publish how much waits."""
        self.figures.backlog(await self._outbox.backlog())

    async def _turn(self, term: Term, ended: _Either) -> None:
        if await self._drain(term, ended):
            self._pacer.found_rows()
        elif self._pipeline.is_blocked:
            await self._wait(ended, ROOM_SECONDS)
        else:
            await self._idle(ended)

    async def _drain(self, term: Term, ended: _Either) -> bool:
        """Move rows until there are none; whether there were any."""
        any_rows, claim = False, True
        while not ended.is_set():
            self._come_round()
            if claim:
                self.listener.woken.clear()
            await self._pipeline.step(term, claim=claim)
            if self._pipeline.is_empty:
                break
            any_rows = True
            claim = self._pipeline.has_more or self.listener.woken.is_set()
        return any_rows

    async def _idle(self, ended: _Either) -> None:
        deadline = self._clock.monotonic() + self._pacer.seconds
        while (left := deadline - self._clock.monotonic()) > 0:
            if await self._wait(ended, min(left, PROBE_SECONDS)) or await self._outbox.has_due_rows():
                return
            self._come_round()
        self._pacer.found_nothing()

    async def _wait(self, ended: _Either, seconds: float) -> bool:
        """Whether the wait was cut short by a wake-up or by the end."""
        return await ended.wait(seconds, self.listener.woken)

    async def _wait_for_redis(self, error: BrokerUnavailable, ended: _Either) -> None:
        _log.warning("Redis is unreachable, relaying pauses; no row is charged", reason=error.message)
        self.figures.broker(is_up=False)
        self._pipeline.reset()
        while not ended.is_set():
            await self._wait_out(ended)
            try:
                await self._producer.ping()
            except BrokerUnavailable:
                continue
            self.figures.broker(is_up=True)
            _log.info("Redis answers, relaying goes on")
            return

    async def _wait_out(self, ended: _Either) -> None:
        self._pipeline.reset()
        self._come_round()
        await ended.wait(self._outage_pause)
        self._outage_pause = min(self._outage_pause * 2, LONGEST_PAUSE_SECONDS)

    async def _finish(self, term: Term) -> None:
        try:
            await self._pipeline.finish(term)
        except (BrokerUnavailable, DatabaseUnavailable) as error:
            _log.warning("rows in hand are left to the next leader", reason=error.message)

    def _come_round(self) -> None:
        self._came_round_at = self._clock.monotonic()
        self._heartbeat.beat()
        self.figures.progress()


class _Either:
    """Two events as one: set when either is."""

    def __init__(self, first: asyncio.Event, second: asyncio.Event) -> None:
        self._events = (first, second)

    def is_set(self) -> bool:
        """Whether either has happened."""
        return any(event.is_set() for event in self._events)

    async def wait(self, seconds: float, *others: asyncio.Event) -> bool:
        """Wait for either event, or one of `others`, at most `seconds`; whether one happened."""
        events = (*self._events, *others)
        if any(event.is_set() for event in events):
            return True
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return bool(done)
        finally:
            for each in waits:
                each.cancel()
