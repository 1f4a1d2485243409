"""The watchdog ends a process whose work outlives its lease."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from services.kernel.clock import SystemClock
from services.kernel.lease.watchdog import Watchdog
from tests.support.clocks import StandingClock


def test_it_bites_when_the_deadline_has_passed() -> None:
    """With the exit code of a failure; a renewal moves the deadline."""
    bitten: list[int] = []
    done = threading.Event()
    clock = StandingClock()
    dog = Watchdog(clock, 5.0, lambda code: (bitten.append(code), done.set()))
    dog.arm(10.0)
    clock.pass_by(4.0)
    dog.arm(14.0)
    clock.pass_by(4.0)
    time.sleep(0.6)
    clock.pass_by(4.0)
    assert not done.wait(0.6)
    clock.pass_by(3.0)

    assert done.wait(5)
    assert bitten == [1]


def test_a_disarmed_one_bites_nobody() -> None:
    """The work has stopped."""
    bitten: list[int] = []
    clock = StandingClock()
    dog = Watchdog(clock, 5.0, bitten.append)
    dog.arm(1.0)
    dog.disarm()
    clock.pass_by(4.0)
    time.sleep(0.6)

    assert bitten == []


def test_a_process_that_was_paused_as_a_whole_gets_time_to_stop() -> None:
    """After SIGSTOP and SIGCONT its event loop has had no chance yet."""
    bitten: list[int] = []
    clock = StandingClock()
    dog = Watchdog(clock, 5.0, bitten.append)
    dog.arm(1.0)
    time.sleep(0.4)
    clock.pass_by(40.0)
    time.sleep(0.6)
    dog.disarm()

    assert bitten == []


def test_an_event_loop_that_is_stuck_cannot_save_its_process() -> None:
    """The thread ends it: exit code 1."""
    program = (
        "import asyncio, time\n"
        "from services.kernel.clock import SystemClock\n"
        "from services.kernel.lease.watchdog import Watchdog\n"
        "async def main():\n"
        "    clock = SystemClock()\n"
        "    Watchdog(clock, 5.0).arm(clock.monotonic() + 0.5)\n"
        "    time.sleep(30)\n"
        "asyncio.run(main())\n"
    )
    start = SystemClock().monotonic()
    ended = subprocess.run([sys.executable, "-c", program], timeout=25, check=False)

    assert ended.returncode == 1
    assert SystemClock().monotonic() - start < 25
