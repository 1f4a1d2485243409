"""What is put into a queue and what comes out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias


class QueuedRow(NamedTuple):
    """One job to put in: its key, its final saq body, its priority (10 is served first)."""

    key: str
    body: str | bytes
    priority: int


@dataclass(frozen=True, slots=True)
class EnqueueOutcome:
    """What became of one batch."""

    accepted: int
    """Jobs that are new in Redis."""
    duplicates: int
    """Jobs whose key was there already; the row may be marked all the same."""
    waiting: tuple[int, ...]
    """Jobs that wait in the queue now, by priority: the first number is that of priority 0."""

    @property
    def depth(self) -> int:
        """Jobs that wait in the queue now."""
        return sum(self.waiting)


class DeadReason(StrEnum):
    """Why a job was set aside."""

    UNDECODABLE = "undecodable"
    """Its body is not a saq job."""
    WRONG_QUEUE = "wrong_queue"
    """Its body names another queue or key."""
    UNKNOWN_FUNCTION = "unknown_function"
    """No handler has this name."""
    REFUSED = "refused"
    """Its handler raised an error that no repeat can cure."""
    EXHAUSTED = "exhausted"
    """It has failed as often as it may."""
    CRASHED = "crashed"
    """Worker after worker died while it ran."""

    @property
    def from_storage(self) -> bool:
        """Whether the body was at fault, not the job: the row in PostgreSQL may hold a sound one."""
        return self in {DeadReason.UNDECODABLE, DeadReason.WRONG_QUEUE}


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was set aside. Nothing runs it again until someone replays it."""

    queue: str
    key: str
    reason: DeadReason
    detail: str
    """One line for people."""
    at: float
    """Epoch seconds."""
    function: str | None = None
    payload: dict[str, Any] | None = None
    """None when the body cannot be read."""
    body: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class JobContext:
    """What a handler may know about the delivery it works on."""

    key: str
    """The job's key, the outbox row's identifier."""
    queue: str
    function: str
    attempt: int
    """1 at the first delivery; deliveries ended by an outage or a shutdown are not counted."""
    attempts_left: int
    """How many charged attempts remain after this one."""
    priority: int
    timeout: float
    """Seconds after which the handler is cancelled; 0 for never."""
    worker_id: str
    draining: asyncio.Event
    """Set when the worker is told to stop: long work may end early by raising `RetryableError`."""


class JobState(StrEnum):
    """Where a job is, as far as Redis knows."""

    ALIVE = "alive"
    """Waiting, scheduled or running."""
    DEAD = "dead"
    """Set aside."""
    FINISHED = "finished"
    """A worker has said that it is done, and Redis still remembers: for the job's `ttl`."""
    MISSING = "missing"
    """In no list: finished long ago, or lost."""


Handler: TypeAlias = Callable[[dict[str, Any], JobContext], Awaitable[None]]
DeadLetter: TypeAlias = Callable[[DeadJob], Awaitable[None]]
