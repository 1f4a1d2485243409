"""Edited code is in force within seconds: real child processes, on a package of their own in a temporary folder."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.cli.stack import spawn
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

_SERVICE = """
import os, signal, subprocess, sys, threading, time
from pathlib import Path
from sample import words

stopping = threading.Event()

def stop(number, frame):
    print("told", signal.Signals(number).name, flush=True)
    stopping.set()

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
statement = Path(__file__).with_name("statement.sql").read_text().strip()
print("serving", words.WORD, statement, "drain", os.environ["DRAIN_SECONDS"], *sys.argv[1:], flush=True)
if "orphan" in sys.argv:  # its parent, the shell, ends at once
    subprocess.run(["sh", "-c", "sleep 0.3 &"], check=True)
begun, fail = time.monotonic(), Path(__file__).with_name("fail")
while not stopping.wait(0.05):
    if fail.exists() and time.monotonic() - begun > float(fail.read_text()):
        fail.unlink()
        raise SystemExit(5)
if "stubborn" in sys.argv:
    threading.Event().wait()
raise SystemExit(3 if "three" in sys.argv else 0)
"""


class _Reloader:
    """A reloader on the package `sample`, and what it and its service have written."""

    def __init__(self, folder: Path, *arguments: str, python: tuple[str, ...]) -> None:
        self.package = folder / "sample"
        self._log = (folder / "log").open("wb")
        self.popen = subprocess.Popen(
            [*python, "-m", "services.kernel.reloading", "--drain", "1", "sample", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": f"{folder}:{REPOSITORY}:{sysconfig.get_path('purelib')}",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            cwd="/",
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        """All that was written so far."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def says(self, words: str, times: int = 1, *, within: float = 10) -> None:
        """Return when `words` were written so often."""

        def said() -> bool:
            assert self.text.count(words) >= times, self.text
            return True

        eventually_sync(said, within=within)

    def edit(self, name: str, text: str) -> None:
        """Write a file the way editors and tar do: a new one in the place of the old."""
        new = self.package / f".{name}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(self.package / name)

    def close(self) -> None:
        """End it and what it has started."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(20)
            finally:
                spawn.kill_group(self.popen.pid)
        self.popen.wait()
        self._log.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with the package `sample` that every account can read."""
    path = Path(tempfile.mkdtemp(prefix="coursegen-reloading-"))
    package = path / "sample"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(_SERVICE, encoding="utf-8")
    (package / "words.py").write_text("WORD = 'one'\n", encoding="utf-8")
    (package / "statement.sql").write_text("first\n", encoding="utf-8")
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def _reloading(folder: Path, *arguments: str, python: tuple[str, ...] = (sys.executable,)) -> Iterator[_Reloader]:
    reloader = _Reloader(folder, *arguments, python=python)
    try:
        reloader.says("serving one first")
        yield reloader
    finally:
        reloader.close()


def test_an_edit_is_in_force_within_ten_seconds(folder: Path) -> None:
    """Python and SQL alike; the old process is told to stop first, with the short drain, and keeps its arguments."""
    with _reloading(folder, "--queue", "a") as reloader:
        reloader.says("drain 1 --queue a")
        reloader.edit("words.py", "WORD = 'two'\n")
        reloader.says("serving two first drain 1 --queue a", within=10)
        reloader.edit("statement.sql", "second\n")
        reloader.says("serving two second", within=10)

        assert reloader.text.count("told SIGTERM") == 2
        assert reloader.text.count("serving") == 3


def test_files_that_are_no_code_change_nothing(folder: Path) -> None:
    """A note or a compiled file does not restart the service; the edit after it does, once."""
    with _reloading(folder) as reloader:
        reloader.edit("notes.txt", "nothing")
        reloader.edit("words.pyc", "nothing")
        reloader.edit("words.py", "WORD = 'two'\n")
        reloader.says("serving two")

        assert reloader.text.count("serving") == 2
        assert "notes" not in reloader.text


def test_a_syntax_error_is_survived(folder: Path) -> None:
    """It is said with its place, what runs goes on, and the next edit that can be read is in force."""
    with _reloading(folder) as reloader:
        reloader.edit("words.py", "WORD = \n")
        reloader.says("words.py, line 1: invalid syntax; what runs goes on")
        reloader.edit("statement.sql", "second\n")  # another file does not make it whole
        reloader.says("words.py, line 1: invalid syntax; what runs goes on", 2)
        assert "told" not in reloader.text

        reloader.edit("words.py", "WORD = 'two'\n")
        reloader.says("serving two second")


def test_code_that_fails_at_its_start_waits_for_the_next_edit(folder: Path) -> None:
    """It is said once, nothing is tried again and again, and the edit that mends it is in force."""
    with _reloading(folder) as reloader:
        reloader.edit("words.py", "raise RuntimeError('broken')\n")
        reloader.says("the service ended with 1; waiting for the next edit")
        reloader.edit("words.py", "WORD = 'two'\n")
        reloader.says("serving two")

        assert reloader.text.count("RuntimeError: broken") == 1
        assert reloader.text.count("waiting for the next edit") == 1


def test_a_service_that_had_worked_after_an_edit_is_started_again(folder: Path) -> None:
    """A new container would bring back the code of before the edit."""
    with _reloading(folder) as reloader:
        reloader.edit("fail", "5.5")  # it counts as settled after 5 s
        reloader.edit("words.py", "WORD = 'two'\n")
        reloader.says("the service ended with 5; starting anew")
        reloader.says("serving two", 2)


def test_a_failure_before_any_edit_is_the_exit_code(folder: Path) -> None:
    """The supervisor sees what it would see without the reloader."""
    with _reloading(folder) as reloader:
        reloader.edit("fail", "0")

        assert reloader.popen.wait(10) == 5


@pytest.mark.parametrize("each", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_and_the_exit_code_is_the_services(folder: Path, each: signal.Signals) -> None:
    """The service hears the signal that was sent, once."""
    with _reloading(folder, "three") as reloader:
        reloader.popen.send_signal(each)

        assert reloader.popen.wait(10) == 3
        assert reloader.text.count("told") == 1
        assert f"told {each.name}" in reloader.text


def test_a_service_that_does_not_end_is_killed(folder: Path) -> None:
    """After the drain and the time to close; the exit code says so, and nothing is left."""
    with _reloading(folder, "stubborn") as reloader:
        child = int(Path(f"/proc/{reloader.popen.pid}/task/{reloader.popen.pid}/children").read_text().split()[0])
        reloader.popen.terminate()

        assert reloader.popen.wait(20) == 128 + signal.SIGKILL
        assert not spawn.is_running(child)


def test_stopping_while_the_code_is_broken_exits_zero(folder: Path) -> None:
    """There is no service to wait for."""
    with _reloading(folder) as reloader:
        reloader.edit("words.py", "raise RuntimeError('broken')\n")
        reloader.says("waiting for the next edit")
        reloader.popen.terminate()

        assert reloader.popen.wait(10) == 0


def test_bytecode_that_nobody_checks_is_forgotten(folder: Path) -> None:
    """Images hold files compiled with unchecked hashes: Python would take them for the edited source."""
    words = folder / "sample" / "words.py"
    py_compile.compile(str(words), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    compiled = Path(importlib.util.cache_from_source(str(words)))
    assert compiled.exists()
    with _reloading(folder) as reloader:
        reloader.edit("words.py", "WORD = 'two'\n")
        reloader.says("serving two")

        assert not compiled.exists()


def test_it_works_as_the_first_process_of_a_container(folder: Path) -> None:
    """As user 10001 and PID 1: signals arrive, orphans are buried, edits are in force."""
    unshare, setpriv = shutil.which("unshare"), shutil.which("setpriv")
    if os.geteuid() or not unshare or not setpriv or not _can([unshare, "--pid", "--fork", "true"]):
        pytest.skip("needs root and namespaces of process ids")
    user = (setpriv, "--reuid", "10001", "--regid", "10001", "--clear-groups", "--no-new-privs")
    python = (unshare, "--pid", "--fork", "--kill-child", *user, _interpreter_of(user))
    with _reloading(folder, "orphan", python=python) as reloader:
        first = _children(reloader.popen.pid)[0]
        assert Path(f"/proc/{first}/status").read_text().count("\t10001") == 8  # user and group, four of each
        eventually_sync(lambda: _states(first) == ["S"])  # the service, and no zombie beside it
        reloader.edit("words.py", "WORD = 'two'\n")
        reloader.says("serving two")
        os.kill(first, signal.SIGTERM)

        assert reloader.popen.wait(10) == 0
        assert reloader.text.count("told SIGTERM") == 2


def _interpreter_of(user: tuple[str, ...]) -> str:
    """A Python that the user may run: this one, or the system's of the same version."""
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        if Path(candidate).exists() and _can([*user, candidate, "-c", again]):
            return candidate
    pytest.skip("no Python of this version that another user may run")


def _can(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _states(parent: int) -> list[str]:
    """One letter for each child of a process: Z is a zombie."""
    return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in _children(parent)]


@pytest.mark.parametrize("arguments", [["no_such_package"], ["no_such_package.part"], []])
def test_a_wrong_call_says_so(arguments: list[str]) -> None:
    """Exit code 2, and the name that is wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "services.kernel.reloading", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert ("no package no_such_package" if arguments else "module") in done.stderr
