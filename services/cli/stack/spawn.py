"""Start a program in a process group of its own, tied to the life of this process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from services.cli.stack.accounts import Account

_LAUNCHER = Path(__file__).with_name("launch.py")


def command_line(argv: Sequence[str | Path], *, account: Account | None, death_signal: signal.Signals) -> list[str]:
    """What to execute so that `argv` runs as `account` and receives `death_signal` when this process dies."""
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER)]
    return [
        *launcher,
        str(int(death_signal)),
        str(os.getpid()),
        str(uid),
        str(gid),
        *(str(each) for each in argv),
    ]


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    folder: Path,
    output: int | IO[Any],
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `argv` in `folder` as the leader of its own session.

    Args:
        argv: the program and its arguments.
        env: its whole environment.
        folder: its working directory.
        output: where both its streams go: an open file or `subprocess.PIPE`.
        account: drop root for this one.
        death_signal: what it receives when the thread that called this dies; call from the main thread.
    """
    return subprocess.Popen(
        command_line(argv, account=account, death_signal=death_signal),
        env=dict(env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def kill_group(leader: int, signal_number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to every process of the group that `leader` opened, if any is left."""
    try:
        os.killpg(leader, signal_number)
    except (ProcessLookupError, PermissionError):  # gone, or (macOS) all of it are zombies
        return


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie that nobody has buried yet."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    return is_taken(pid)


def is_taken(pid: int) -> bool:
    """Whether a process has this number, be it a zombie or a stranger's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
