"""A run with faults ends when its senders have given up, and whoever takes the place of a killed process takes its ports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from tests.support.carriage import Carriage
from tests.support.said import Senders
from tests.support.stack import Kind, Process, Stack

FOREVER = "import time; time.sleep(600)"


class Sleepers(Stack):
    """Processes that do nothing, so that no server is needed."""

    async def start(self, kind: Kind, **how: Any) -> Process:
        """Ready at once."""
        return self.spawn(kind, program=("-c", FOREVER), **how)


class Mute(Carriage):
    """Senders whose apis refuse everything."""

    def senders(self, *, pause: float = 0.0, beat: float = 0.0, repeats: float = 0.05) -> Senders:
        """They give up soon."""
        refusing = httpx.MockTransport(lambda _: httpx.Response(503))
        return Senders(["http://api"], self.said, self.chance, patience=0.1, transport=refusing)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Of sleepers."""
    stack = Sleepers(tmp_path, database_url="postgresql:///none", redis_url="redis://none/0")
    yield stack
    stack.close()


def _nothing() -> Any:
    return cast("Any", None)


async def test_a_block_whose_senders_have_given_up_is_broken_off(stack: Stack) -> None:
    """With what they gave up for, and not after a wait for a count that stands still."""
    carriage = Mute(stack, _nothing(), _nothing(), _nothing(), _nothing())
    is_over = False
    with pytest.raises(ExceptionGroup) as failure:
        async with carriage.talking(3):
            await asyncio.sleep(10)
            is_over = True

    assert not is_over
    assert failure.group_contains(AssertionError, match=r"was not accepted within 0\.1 s; .* 0 messages acknowledged")


async def test_a_killed_api_is_followed_by_one_with_its_ports(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away both are free, and nobody else claims one; and what it has left behind has ended with it."""
    carriage = Carriage(stack, _nothing(), _nothing(), _nothing(), _nothing(), chance=random.Random(1))
    victim = await stack.start("api")
    ended: list[int] = []
    monkeypatch.setattr("tests.support.stack.spawn.kill_group", ended.append)
    monkeypatch.setattr("tests.support.stack.claim", lambda: pytest.fail("a port was claimed"))
    await carriage.kill("api")
    heir = stack.running("api")[0]

    assert (heir.port, heir.metrics_port) == (victim.port, victim.metrics_port)
    assert (victim.exit_code, ended) == (-9, [victim.pid])
    assert carriage.fired == {"api killed": 1}
