"""The guardian: when the pipe ends, whatever is still listed ends too."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from services.cli.stack import guardian
from services.cli.stack.spawn import is_running
from tests.support.waiting import eventually_sync

_SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
_STUBBORN = f"import signal; [signal.signal(s, signal.SIG_IGN) for s in (2, 3, 15)]; {_SLEEPER}"


def _start(code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def _guardian() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(guardian.__file__))], stdin=subprocess.PIPE, start_new_session=True
    )


def test_groups_that_ended_are_forgotten() -> None:
    """Only what is listed and not struck off is left at the end of the pipe; noise is ignored."""
    lines = ["+ 10 15\n", "+ 11 2\n", "noise\n", "- 10\n", "- 99\n"]

    assert guardian.follow(lines) == {11: 2}


def test_the_end_of_the_pipe_stops_what_is_listed() -> None:
    """Each gets its own signal; one that was struck off lives on."""
    listed, struck_off = _start(_SLEEPER), _start(_SLEEPER)
    process = _guardian()
    process.communicate(f"+ {listed.pid} {int(signal.SIGTERM)}\n+ {struck_off.pid} 15\n- {struck_off.pid}\n".encode())

    assert listed.wait(timeout=5) == -signal.SIGTERM
    assert struck_off.poll() is None
    struck_off.kill()
    struck_off.wait()


def test_grandchildren_of_a_killed_group_go_too() -> None:
    """SIGKILL goes to the whole group."""
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-ISc', 'import time; time.sleep(600)']);"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE, start_new_session=True)
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    parent.stdout.close()

    _guardian().communicate(f"+ {parent.pid} 9\n".encode())

    parent.wait(timeout=5)
    assert eventually_sync(lambda: not is_running(grandchild), within=5)


def test_one_that_ignores_its_signal_is_killed_in_time() -> None:
    """Well below the ten seconds that a killed command may leave anything running."""
    stubborn = _start(_STUBBORN)
    started = time.monotonic()

    _guardian().communicate(f"+ {stubborn.pid} 15\n".encode())

    assert stubborn.wait(timeout=5) == -signal.SIGKILL
    assert time.monotonic() - started < 9


def test_it_ignores_the_terminal() -> None:
    """Ctrl-C and a closed terminal do not end it before its work."""
    listed = _start(_SLEEPER)
    process = _guardian()
    assert process.stdin is not None
    process.stdin.write(f"+ {listed.pid} 9\n".encode())
    process.stdin.flush()
    time.sleep(0.3)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(each)

    process.communicate()

    assert process.returncode == 0
    assert listed.wait(timeout=5) == -signal.SIGKILL
