"""Waiting for events, with the deadline in the sentence."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast, overload

T = TypeVar("T")

_PAUSE_SECONDS = 0.02


@overload
async def eventually(check: Callable[[], Awaitable[T]], *, within: float = 10, every: float = _PAUSE_SECONDS) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, within: float = 10, every: float = _PAUSE_SECONDS) -> T: ...


async def eventually(check: Callable[[], Awaitable[T] | T], *, within: float = 10, every: float = _PAUSE_SECONDS) -> T:
    """Repeat `check` until what it returns is true, and return that.

    `check` may be a plain or an async function; an `AssertionError` in it counts as "not yet".

    Raises:
        AssertionError: not true `within` that many seconds; shows the last value or failed assertion.
    """
    deadline = time.monotonic() + within
    while True:
        last = await _attempt(check)
        if last and not isinstance(last, AssertionError):
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s; last seen: {last!r}")
        await asyncio.sleep(every)


async def _attempt(check: Callable[[], Awaitable[T] | T]) -> T | AssertionError:
    try:
        value = check()
        if inspect.isawaitable(value):
            return cast("T", await value)
    except AssertionError as failure:
        return failure
    else:
        return value


def eventually_sync(check: Callable[[], T], *, within: float = 10, every: float = _PAUSE_SECONDS) -> T:
    """The same for tests without an event loop."""
    deadline = time.monotonic() + within
    while True:
        try:
            last: T | AssertionError = check()
        except AssertionError as failure:
            last = failure
        if last and not isinstance(last, AssertionError):
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s; last seen: {last!r}")
        time.sleep(every)
