"""Many changes of leader against a real API server, one after the other: how long nobody relays (R3, R4).

Left out of `make test`; `make prove-leaders` makes a hundred, `PROVE_LEADERS=N` as many as it says.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.cluster.conftest import BUSY_SECONDS, KILLED_SECONDS, STOPPED_SECONDS, Pair, everything, led
from tests.integration.outbox_relay.conftest import add_rows, processed
from tests.support.stack import Process
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from services.kernel.database import Database

CHANGES = int(os.environ.get("PROVE_LEADERS", "").strip() or 0)
LIMITS = {"kill -9": KILLED_SECONDS, "SIGTERM": STOPPED_SECONDS, "SIGSTOP": KILLED_SECONDS}
WAKING_SECONDS = 6.0
"""A leader that wakes has five seconds to stop in."""

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.no_second_try,
    pytest.mark.timeout(0),
    pytest.mark.skipif(CHANGES == 0, reason="a proof that runs by hand: make prove-leaders"),
]


async def test_every_change_of_leader_is_in_time_and_counted_once(
    db: Database, redis: Redis, course: UUID, pair: Pair
) -> None:
    """By kill -9, SIGTERM, SIGSTOP in turn: the other one relays in time, under the next epoch; a woken one changes nothing."""
    relays = {name: await pair.start(name) for name in ("relay-0", "relay-1")}
    gaps: dict[str, list[float]] = {kind: [] for kind in LIMITS}
    await eventually(lambda: _is_succeeded(db, ""), within=30)
    for number in range(CHANGES):
        kind = list(LIMITS)[number % len(LIMITS)]
        epoch, name = await led(db)
        assert name is not None
        leaving, (successor,) = relays.pop(name), relays
        gaps[kind].append(await _gap(db, course, leaving, name, kind))
        assert await led(db) == (epoch + 1, successor)
        await _take_away(db, redis, leaving, kind)
        assert await led(db) == (epoch + 1, successor)
        relays[f"relay-{number + 2}"] = await pair.start(f"relay-{number + 2}")
    for kind, seconds in gaps.items():
        print(f"{kind}: {len(seconds)} changes, p95 {_p95(seconds):.1f} s, max {max(seconds, default=0):.1f} s")

    assert not {kind: max(seconds) for kind, seconds in gaps.items() if seconds and max(seconds) > LIMITS[kind]}
    assert pair.lease().spec.leaseTransitions == CHANGES


async def _gap(db: Database, course: UUID, leaving: Process, name: str, kind: str) -> float:
    """Seconds from the leader's end until another one leads and has relayed a row."""
    start = time.monotonic()
    if kind == "SIGSTOP":
        leaving.pause()
    elif kind == "SIGTERM":
        leaving.terminate()
    else:
        leaving.kill()
    await eventually(lambda: _is_succeeded(db, name), within=KILLED_SECONDS + BUSY_SECONDS)
    row = await add_rows(db, course)
    await eventually(lambda: processed(db, row), within=KILLED_SECONDS)
    return time.monotonic() - start


async def _is_succeeded(db: Database, name: str) -> bool:
    """Whether somebody leads, and somebody else than `name`."""
    return (await led(db))[1] not in {None, name}


async def _take_away(db: Database, redis: Redis, leaving: Process, kind: str) -> None:
    """End what is left of the leader; a paused one is woken first, and moves nothing, and stands by or ends."""
    if kind == "SIGTERM":
        assert await leaving.ended() == 0
    if kind == "SIGSTOP":
        before = await everything(db, redis)
        leaving.resume()
        await asyncio.sleep(WAKING_SECONDS)
        assert await everything(db, redis) == before
        assert "lease lost" in leaving.tail(200)
        leaving.kill()


def _p95(seconds: list[float]) -> float:
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1] if seconds else 0.0
