"""How a command that has started processes ends on a signal: cleanly the first time, at once the second.

SIGINT, SIGTERM and SIGHUP cancel the command, which then stops what it started; a further one sets `hurry`, which skips
the waiting. Under make the command also ends when make is killed (COURSEGEN_PARENT names its process).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PARENT_VARIABLE = "COURSEGEN_PARENT"
_PARENT_POLL_SECONDS = 0.5


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, int]], environ: Mapping[str, str]) -> int:
    """Run `main(hurry)`; returns its exit code, or 128 + the signal that ended it."""
    return asyncio.run(_watched(main, environ))


async def _watched(main: Callable[[asyncio.Event], Coroutine[Any, Any, int]], environ: Mapping[str, str]) -> int:
    hurry = asyncio.Event()
    received: list[signal.Signals] = []
    task = asyncio.ensure_future(main(hurry))

    def interrupt(signal_number: signal.Signals) -> None:
        received.append(signal_number)
        if len(received) == 1:
            task.cancel()
        else:
            hurry.set()

    loop = asyncio.get_running_loop()
    for each in _SIGNALS:
        loop.add_signal_handler(each, interrupt, each)
    watch = asyncio.ensure_future(_watch_parent(environ, lambda: interrupt(signal.SIGTERM)))
    try:
        return await task
    except asyncio.CancelledError:
        return 128 + (received[0] if received else signal.SIGTERM)
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


async def _watch_parent(environ: Mapping[str, str], gone: Callable[[], None]) -> None:
    parent = environ.get(_PARENT_VARIABLE, "")
    while parent.isdigit():
        if os.getppid() != int(parent):
            gone()
            return
        await asyncio.sleep(_PARENT_POLL_SECONDS)
