"""A client that writes down everything: each request before it is sent, each answer after it has come.

The record, not the memory of the code under test, says what was promised to whom (reliability.md section 3).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import msgspec

from tests.support import tokens
from tests.support.ledger import SUCCESS, Answer, Attempt


@dataclass(slots=True)
class Journal:
    """What was asked and answered, in memory and, line by line, in a file."""

    path: Path | None = None
    attempts: list[Attempt] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    """Attempts whose connection broke or whose answer did not come in time."""
    seconds: dict[int, float] = field(default_factory=dict)
    """How long each answer took."""

    def ask(self, request: str, course_id: UUID) -> Attempt:
        """Write an attempt down; to be called before it is sent."""
        attempt = Attempt(len(self.attempts), request, str(course_id))
        self.attempts.append(attempt)
        self._write({"attempt": attempt.number, "request": request, "course": str(course_id)})
        return attempt

    def hear(self, attempt: Attempt, status: int, job_id: str | None, seconds: float) -> Answer:
        """Write an answer down."""
        answer = Answer(attempt.number, status, job_id)
        self.answers.append(answer)
        self.seconds[attempt.number] = seconds
        self._write({"answer": attempt.number, "status": status, "job": job_id})
        return answer

    def miss(self, attempt: Attempt, error: Exception) -> None:
        """Write down that no answer came."""
        self.broken.append(attempt.number)
        self._write({"broken": attempt.number, "error": repr(error)})

    @property
    def acked(self) -> list[Answer]:
        """The answers that are promises."""
        return [answer for answer in self.answers if answer.status in SUCCESS]

    @property
    def failures(self) -> list[str]:
        """Requests that got no 2xx: what a client would have seen as an error."""
        refused = [f"attempt {each.attempt}: {each.status}" for each in self.answers if each.status not in SUCCESS]
        return [*refused, *(f"attempt {number}: no answer" for number in self.broken)]

    def _write(self, line: dict[str, Any]) -> None:
        if self.path is not None:
            with self.path.open("ab", buffering=0) as file:
                file.write(msgspec.json.encode(line) + b"\n")


@dataclass(frozen=True, slots=True)
class Order:
    """One course to ask for; sent again, it is the same request."""

    course_id: UUID
    key: str | None = None
    title: str | None = "Основы учёта"
    has_files: bool | None = None
    style: str | None = None

    @property
    def name(self) -> str:
        """What makes two attempts the same request."""
        return f"{self.course_id}/{self.key or 'derived'}"

    def body(self) -> dict[str, Any]:
        """The JSON to send."""
        fields = {
            "courseId": str(self.course_id),
            "title": self.title,
            "hasFiles": self.has_files,
            "style": self.style,
        }
        return {name: value for name, value in fields.items() if value is not None}


class Driver:
    """Asks an api for courses."""

    def __init__(
        self,
        api_url: str,
        journal: Journal,
        *,
        timeout_seconds: float = 15.0,
        connections: int = 100,
        keep: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Point a client at an api.

        Args:
            api_url: where to.
            journal: what the client writes down; several clients may share one.
            timeout_seconds: longest wait for an answer.
            connections: most connections at a time.
            keep: use a connection for more than one request.
            transport: stands in for the network.
        """
        self.journal = journal
        self._client = httpx.AsyncClient(
            base_url=api_url,
            headers=tokens.bearer(),
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections if keep else 0),
            transport=transport,
        )
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        """Open the driver's connections."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._client.aclose()

    @property
    def client(self) -> httpx.AsyncClient:
        """For requests that are no orders; they are not written down."""
        return self._client

    def order(self, *, keyed: bool = True, title: str = "Основы учёта") -> Order:
        """A course that nobody has asked for yet; it is made from its title."""
        return Order(uuid4(), key=f"order-{next(self._numbers)}-{uuid4().hex[:8]}" if keyed else None, title=title)

    def orders(self, *, until: asyncio.Event) -> Iterator[Order]:
        """New courses without end, or until the event is set."""
        while not until.is_set():
            yield self.order()

    async def send(self, order: Order) -> Answer | None:
        """Ask once; None when no answer came."""
        attempt = self.journal.ask(order.name, order.course_id)
        headers = {"Idempotency-Key": order.key} if order.key else {}
        started = time.monotonic()
        try:
            answer = await self._client.post("/api/trpc/generation.initiate", json=order.body(), headers=headers)
        except httpx.HTTPError as error:
            self.journal.miss(attempt, error)
            return None
        return self.journal.hear(attempt, answer.status_code, _job_id(answer), time.monotonic() - started)

    async def insist(self, order: Order, *, within: float = 30.0, pause: float = 0.1) -> Answer:
        """Ask until the answer is a 2xx, as a client with a key is expected to.

        Raises:
            AssertionError: no 2xx in time.
        """
        deadline = time.monotonic() + within
        while True:
            answer = await self.send(order)
            if answer is not None and answer.status in SUCCESS:
                return answer
            assert time.monotonic() < deadline, f"no 2xx for {order.name} within {within:g} s; last: {answer}"
            await asyncio.sleep(pause)

    async def load(self, orders: Iterable[Order], *, per_second: float, insist: bool = True) -> list[Order]:
        """Send orders at a steady rate, whatever becomes of the earlier ones; returns when all are answered.

        Args:
            orders: what to ask for; taken one by one, so that an endless supply may be ended from outside.
            per_second: the rate at which new ones are begun.
            insist: repeat each until it is acknowledged, rather than asking once.
        """
        sent: list[Order] = []
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, order in enumerate(orders):
                await asyncio.sleep(max(0.0, started + number / per_second - time.monotonic()))
                sent.append(order)
                group.create_task(self._deliver(order, insist=insist))
        return sent

    async def _deliver(self, order: Order, *, insist: bool) -> None:
        if insist:
            await self.insist(order, within=60)
        else:
            await self.send(order)


def _job_id(answer: httpx.Response) -> str | None:
    if answer.status_code not in SUCCESS:
        return None
    body = answer.json()
    return str(body["jobId"]) if body.get("jobId") else None
