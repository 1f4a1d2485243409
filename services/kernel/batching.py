"""Micro-batching: calls that arrive together travel together.

Promises: an item alone never waits for company (an idle batcher sends at once); while a batch is under way, newcomers
gather and leave with the next one; every caller gets the answer to its own item, or its own error. A batch that takes
longer than usual does not hold up the next for longer than `patience_seconds`, as long as there is a place. A caller that
goes away does not take its batch with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Turns concurrent `submit` calls into few calls of one function."""

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | BaseException]]],
        *,
        largest: int,
        in_flight: int = 1,
        patience_seconds: float = 0.0,
    ) -> None:
        """Prepare an idle batcher.

        Args:
            send: gets the items, returns one answer (or error) for each, in their order; what it raises goes to all.
            largest: most items of one batch.
            in_flight: most batches under way at the same time.
            patience_seconds: how long newcomers wait for the batch under way before they leave with one of their own. A
                little more than a batch usually takes makes few, full batches, which cost the least.
        """
        self._send = send
        self._largest = largest
        self._free = in_flight
        self._patience_seconds = patience_seconds
        self._left_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Answer:
        """The answer to `item`, however it travelled.

        Raises:
            Whatever the batch's function raised, or returned for this item.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._depart()
        return await future

    async def drain(self) -> None:
        """Return when nothing is waiting or under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _depart(self) -> None:
        while self._free and self._waiting and self._may_leave():
            self._free -= 1
            self._left_at = asyncio.get_running_loop().time()
            task = asyncio.ensure_future(self._travel())
            self._tasks.add(task)
            task.add_done_callback(self._arrived)

    def _may_leave(self) -> bool:
        """Whether a batch may leave now; if only a little later, this is looked at again then."""
        if not self._tasks:
            return True
        loop = asyncio.get_running_loop()
        wait_seconds = self._left_at + self._patience_seconds - loop.time()
        if wait_seconds > 0 and self._timer is None:
            self._timer = loop.call_later(wait_seconds, self._look_again)
        return wait_seconds <= 0

    def _look_again(self) -> None:
        self._timer = None
        self._depart()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free += 1
        self._depart()

    async def _travel(self) -> None:
        # The task starts one turn of the loop after `submit`: whoever submitted in that turn is aboard already.
        count = min(self._largest, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        batch = [pair for pair in batch if not pair[1].done()]
        if not batch:
            return
        try:
            answers = await self._send([item for item, _ in batch])
        except asyncio.CancelledError:
            _settle_all(batch, asyncio.CancelledError())
            raise
        except Exception as error:  # noqa: BLE001 - it is handed to the callers
            _settle_all(batch, error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            _settle(future, answer)


def _settle_all(batch: Sequence[tuple[object, asyncio.Future[Answer]]], error: BaseException) -> None:
    for _, future in batch:
        _settle(future, error)


def _settle(future: asyncio.Future[Answer], answer: Answer | BaseException) -> None:
    if future.done():
        return
    if isinstance(answer, asyncio.CancelledError):
        future.cancel()
    elif isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
