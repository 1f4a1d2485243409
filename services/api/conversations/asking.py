"""Questions whose answers are waited for briefly, and not asked at all of somebody who does not answer.

Promises: no error and no wait that is longer than the patience says; who did not answer is asked again after a second. Where that
is done beside (`is_beside`) it keeps nobody: whoever comes goes on without, until it is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from services.kernel.cancellation import forget
from services.kernel.idempotency import Breaker
from services.kernel.logs import get_logger

T = TypeVar("T")

_log = get_logger(__name__)


@dataclass(slots=True)
class Patience:
    """How long somebody is waited for, and whether he is asked at all."""

    seconds: float
    breaker: Breaker
    in_vain: str
    """What is said when he is asked no more."""
    is_beside: bool = False
    """Whether nobody waits while one who did not answer is tried again."""
    trial: asyncio.Task[None] | None = None
    """The one question that tries him again."""


class Asking:
    """Asks, and keeps hold of the questions that are under way."""

    def __init__(self) -> None:
        self._asked: set[asyncio.Future[Any]] = set()

    async def ask(self, call: Coroutine[Any, Any, T], patience: Patience) -> T | None:
        """What the call says, if it does so in time. One that takes longer is given up, and not waited for to notice it."""
        was_open = patience.breaker.is_open
        if (patience.trial is not None and not patience.trial.done()) or not patience.breaker.allows():
            call.close()
            return None
        if not (was_open and patience.is_beside):
            return await self._wait(call, patience)
        patience.trial = asyncio.create_task(self._try(call, patience), name="trying again")
        return None

    async def _try(self, call: Coroutine[Any, Any, Any], patience: Patience) -> None:
        await self._wait(call, patience)

    async def _wait(self, call: Coroutine[Any, Any, T], patience: Patience) -> T | None:
        asking = asyncio.ensure_future(call)
        self._asked.add(asking)
        asking.add_done_callback(self._forget)
        await asyncio.wait({asking}, timeout=patience.seconds)
        if asking.done() and not asking.cancelled() and asking.exception() is None:
            patience.breaker.succeeded()
            return asking.result()
        if patience.breaker.failed(is_certain=asking.done()):  # a late answer alone may be one slow moment
            _log.warning(patience.in_vain, seconds=patience.seconds, error=_why(asking))
        asking.cancel()
        return None

    def _forget(self, asking: asyncio.Future[Any]) -> None:
        self._asked.discard(asking)
        forget(asking)  # whoever asked goes on without


def _why(asking: asyncio.Future[Any]) -> str:
    failure = asking.exception() if asking.done() and not asking.cancelled() else None
    return str(failure or "no answer in time")
