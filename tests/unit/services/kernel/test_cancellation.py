"""A cancelled task ends, even when the library it waits for says something else."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from services.kernel.cancellation import cancellation_kept
from services.kernel.database import translated as database_translated
from services.kernel.errors import BrokerUnavailable, DatabaseUnavailable
from services.kernel.redis_connection import translated as redis_translated


async def broken_by_cancellation() -> None:
    """A library that answers a cancellation with an error of its own."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise OSError("the connection is gone") from None


async def deaf_to_cancellation() -> None:
    """A library that answers a cancellation with a result."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


@pytest.mark.parametrize("library", [broken_by_cancellation, deaf_to_cancellation])
@pytest.mark.parametrize("door", [cancellation_kept, database_translated, redis_translated])
async def test_a_cancellation_leaves_the_block(door: object, library: object) -> None:
    """A loop that waits out what the drivers say still ends when it is told to."""

    async def for_ever() -> None:
        while True:
            with contextlib.suppress(DatabaseUnavailable, BrokerUnavailable, OSError), door():  # type: ignore[operator]
                await library()  # type: ignore[operator]

    task = asyncio.create_task(for_ever())
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)

    assert done == {task}
    assert task.cancelled()


async def test_an_error_without_a_cancellation_stays_what_it_is() -> None:
    """Nothing is added and nothing is hidden."""
    with pytest.raises(KeyError), cancellation_kept():
        raise KeyError("x")
    with pytest.raises(DatabaseUnavailable), database_translated():
        raise OSError


async def test_a_timeout_inside_the_block_is_no_cancellation() -> None:
    """`asyncio.timeout` cancels its own task and takes that back."""
    with pytest.raises(DatabaseUnavailable), database_translated():
        async with asyncio.timeout(0):
            await asyncio.sleep(60)


async def test_a_timeout_around_the_block_is_one() -> None:
    """A deadline outside ends the block, and then says that it was a deadline."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            with database_translated():
                await broken_by_cancellation()


async def test_a_task_cancelled_earlier_may_go_on() -> None:
    """Cleaning up after a cancellation is not cancelled once more."""

    async def clean_up() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            with database_translated():
                await asyncio.sleep(0)
            return "clean"
        return "never"

    task = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    task.cancel()

    assert await task == "clean"


def test_without_an_event_loop() -> None:
    """Plain code may use the doors too."""
    with cancellation_kept():
        pass
