"""The supervisor: what dies comes back, what cannot start is named, and at the end nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.cli.errors import StackError
from services.cli.stack import supervised
from services.cli.stack.guard import Guard
from services.cli.stack.journal import Journal
from services.cli.stack.program import Program, always_ready
from services.cli.stack.spawn import is_running
from services.cli.stack.supervisor import Supervisor
from tests.support.waiting import eventually

_WAITS = "import time; print('up', flush=True); time.sleep(600)"
_STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


class Bench:
    """A supervisor with its guard, on a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        self.guard = Guard(self.lock)
        self.alarms: list[str] = []
        self.journal = Journal(folder, alarm=self.alarms.append)
        self.starts = 0
        self.supervisor = Supervisor(self.guard, self.journal, self._changed)
        self.hurry = asyncio.Event()

    def _changed(self) -> None:
        self.starts += 1

    def program(self, code: str, name: str = "sample", **options: object) -> Program:
        """A program that runs some Python."""
        return Program(
            name=name,
            argv=[sys.executable, "-ISc", code],
            env={"PATH": os.defpath},
            folder=self.folder,
            **options,  # type: ignore[arg-type]
        )

    def pid(self, name: str = "sample") -> int:
        """The process of a program that runs."""
        pid = self.supervisor.programs[name].pid
        assert pid is not None
        return pid

    async def up(self, name: str = "sample") -> int:
        """The pid of a program that has said its first word."""
        log = self.folder / f"{name}.log"
        await eventually(lambda: log.exists() and "up" in log.read_text())
        return self.pid(name)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.supervisor.stop(made.hurry)
    made.guard.close()
    os.close(made.lock)


async def test_a_killed_program_is_started_again(bench: Bench) -> None:
    """With a new process, an alarm, and its readiness asked anew."""
    bench.supervisor.start(bench.program(_WAITS))
    first = await bench.up()

    os.kill(first, signal.SIGKILL)
    await eventually(lambda: bench.supervisor.programs["sample"].pid not in {None, first})

    assert bench.supervisor.programs["sample"].restarts == 1
    assert "killed by SIGKILL" in bench.alarms[0]
    await bench.supervisor.ready("sample", seconds=5)


async def test_the_rest_of_its_group_dies_with_a_killed_program(bench: Bench) -> None:
    """Workers of a pool do not outlive the worker that made them."""
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-ISc', 'import time; time.sleep(600)']);"
        "print('up', child.pid, flush=True); time.sleep(600)"
    )
    bench.supervisor.start(bench.program(code))
    leader = await bench.up()
    grandchild = int(bench.journal.last_words("sample").split("up ")[1].split()[0])

    os.kill(leader, signal.SIGKILL)

    await eventually(lambda: not is_running(grandchild), within=5)


async def test_readiness_is_waited_for(bench: Bench) -> None:
    """`ready` returns when the program says so, not before."""
    answers = iter([False, False, True])
    asked = []

    async def is_ready() -> bool:
        asked.append(1)
        return next(answers)

    bench.supervisor.start(bench.program(_WAITS, is_ready=is_ready))
    await bench.supervisor.ready("sample", seconds=10)

    assert len(asked) == 3


async def test_a_program_that_cannot_start_is_named_with_its_last_words(bench: Bench) -> None:
    """Exit code 78 (settings) is hopeless at once."""

    async def never() -> bool:
        return False

    bench.supervisor.start(bench.program("print('PORT: is required'); raise SystemExit(78)", is_ready=never))

    with pytest.raises(StackError, match=r"sample does not start \(exit code 78\)[\s\S]*PORT: is required"):
        await bench.supervisor.ready("sample", seconds=20)


async def test_one_that_is_not_ready_in_time_is_named(bench: Bench) -> None:
    """The wait has an end."""

    async def never() -> bool:
        return False

    bench.supervisor.start(bench.program(_WAITS, is_ready=never))

    with pytest.raises(StackError, match="not ready in time"):
        await bench.supervisor.ready("sample", seconds=0.3)


async def test_prepare_learns_of_failed_starts(bench: Bench) -> None:
    """So that a server can put aside what it cannot read."""
    seen: list[int] = []
    bench.supervisor.start(bench.program("raise SystemExit(1)", prepare=seen.append))

    await eventually(lambda: len(seen) >= 3)

    assert seen[:3] == [0, 1, 2]


async def test_a_program_that_cannot_be_prepared_is_tried_again(bench: Bench) -> None:
    """An error while preparing is no end of supervision."""
    tries: list[int] = []

    def prepare(failed: int) -> None:
        tries.append(failed)
        if failed == 0:
            raise StackError("not yet")

    bench.supervisor.start(bench.program(_WAITS, prepare=prepare))
    await bench.up()

    assert tries == [0, 1]


async def test_stopping_is_polite_first(bench: Bench) -> None:
    """The stop signal, and time to obey it."""
    code = (
        "import signal, sys, time\n"
        "def leave(*_):\n    print('bye', flush=True); sys.exit(0)\n"
        "signal.signal(15, leave); print('up', flush=True); time.sleep(600)"
    )
    bench.supervisor.start(bench.program(code))
    pid = await bench.up()

    await bench.supervisor.stop(bench.hurry)

    assert not is_running(pid)
    assert bench.alarms == []


async def test_stopping_kills_the_stubborn(bench: Bench) -> None:
    """After its time is over, or at once when the caller is in a hurry."""
    bench.supervisor.start(bench.program(_STUBBORN, stop_seconds=0.2))
    bench.supervisor.start(bench.program(_STUBBORN, "other", stop_seconds=60.0))
    pids = [await bench.up(), await bench.up("other")]
    bench.hurry.set()

    await asyncio.wait_for(bench.supervisor.stop(bench.hurry), 5)

    assert [is_running(pid) for pid in pids] == [False, False]


async def test_servers_stop_after_the_services_that_use_them(bench: Bench) -> None:
    """Those named last are still there while the others drain."""
    bench.supervisor.start(bench.program(_WAITS, "server"))
    bench.supervisor.start(bench.program(_STUBBORN, "service", stop_seconds=0.5))
    server, _ = await bench.up("server"), await bench.up("service")

    stopping = asyncio.ensure_future(bench.supervisor.stop(bench.hurry, "server"))
    await asyncio.sleep(0.2)
    assert is_running(server)
    await stopping
    assert not is_running(server)


async def test_a_run_to_the_end_reports_failure_with_the_last_words(bench: Bench) -> None:
    """Exit code 0 is silence, anything else an error."""
    await bench.supervisor.run_once(bench.program("print('fine')", "good"), seconds=10)

    with pytest.raises(StackError, match=r"bad failed \(exit code 3\)[\s\S]*broken"):
        await bench.supervisor.run_once(bench.program("print('broken'); raise SystemExit(3)", "bad"), seconds=10)
    with pytest.raises(StackError, match="not done after"):
        await bench.supervisor.run_once(bench.program(_WAITS, "slow", stop_seconds=0.1), seconds=0.3)


async def test_a_dead_guardian_is_replaced(bench: Bench) -> None:
    """And the new one knows what runs."""
    bench.supervisor.start(bench.program(_WAITS))
    pid = await bench.up()
    first = bench.guard.pid

    os.kill(first, signal.SIGKILL)
    await eventually(lambda: bench.guard.pid != first)
    for keeper in bench.supervisor._keepers.values():
        keeper.cancel()
    bench.guard.close()

    await eventually(lambda: not is_running(pid), within=8)


async def test_lines_come_whole_and_in_order(bench: Bench) -> None:
    """Whatever pieces the pipe delivers, the journal has lines."""
    bench.supervisor.start(
        bench.program(
            "print('\\n'.join(f'line {n}' for n in range(20000)) + '\\nup', flush=True); import time; time.sleep(600)"
        )
    )
    await bench.up()

    lines = (bench.folder / "sample.log").read_text().splitlines()

    assert lines == [*(f"line {n}" for n in range(20000)), "up"]


def test_exits_are_described_in_words() -> None:
    """For people who do not know signal numbers."""
    assert supervised.describe_exit(3) == "exit code 3"
    assert supervised.describe_exit(-9) == "killed by SIGKILL"
    assert supervised.describe_exit(None) == "still running"


async def test_a_program_without_a_question_is_ready_at_once() -> None:
    """The default answer."""
    assert await always_ready()
