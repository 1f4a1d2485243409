"""A cancellation is never lost, whatever a library makes of it.

A driver whose connection breaks in the moment in which its caller is cancelled may end the wait with an error of its own, or
even with a result. A loop that waits errors out would then go on for ever, and whoever cancelled it would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cancellation_kept() -> Iterator[None]:
    """Leave the block by `CancelledError` if this task was cancelled inside it, and by what happened otherwise.

    Cancellations that the block itself has dealt with (`asyncio.timeout`, `asyncio.TaskGroup`) do not count.
    """
    task = _present_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    except Exception as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


async def work_until(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work`; when `event` comes first, cancel it and wait until it has stopped.

    Returns whether it came to its end; raises what it raises.
    """
    working, coming = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, coming}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        coming.cancel()
        working.cancel()
        await asyncio.wait({working})
    if working.cancelled():
        return False
    working.result()
    return True


def forget(future: asyncio.Future[Any]) -> None:
    """A callback of what nobody waits for any more: its error is no news for the event loop."""
    if not future.cancelled():
        future.exception()


def _present_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return None
