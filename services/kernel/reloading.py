"""Runs a service and starts it anew when its code is edited. For development only: `python -m services.kernel.reloading`.

Promises:

- An edited `.py`, `.sql` or `.lua` file of the package is in force within seconds, whoever wrote it: an editor, or skaffold
  into a pod. The old process gets SIGTERM and a short drain first.
- While an edited file does not parse, what runs goes on; code that fails at its start is left until the next edit. Both
  are said once.
- A service that worked for a while after an edit and then fails is started anew here, because a new container would bring
  back the code of before the edit. One that fails before any edit ends this process with its exit code, and so does one
  that ends with 0.
- SIGTERM and SIGINT are passed on, the exit code is the service's. As PID 1 of a container it buries orphans as well.

It writes nothing, but removes what was compiled from an edited file: images hold bytecode that no clock checks.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

SUFFIXES: Final = (".py", ".sql", ".lua")
"""Files whose edit matters."""

_WRONG_CALL: Final = 2
_LOOK_SECONDS: Final = 0.1
_QUIET_SECONDS: Final = 0.2
"""Edits that follow each other closer than this are one: an editor saves all, skaffold brings several files."""
_SETTLED_SECONDS: Final = 5.0
"""A service that has lived so long was not broken by the last edit."""
_CLOSE_SECONDS: Final = 5.0
"""Given to a service to close after its drain; `lifecycle` needs 3."""


class Reloader:
    """One service and the watch over its code."""

    def __init__(self, folders: Sequence[Path], module: str, arguments: Sequence[str], drain_seconds: float) -> None:
        """Build a reloader; nothing is started yet.

        Args:
            folders: where the code is.
            module: what `python -m` runs.
            arguments: the service's own.
            drain_seconds: the service's DRAIN_SECONDS, whatever the environment says.
        """
        self._folders = folders
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = {**os.environ, "DRAIN_SECONDS": f"{drain_seconds:g}"}
        self._patience = drain_seconds + _CLOSE_SECONDS
        self._service: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._edited = False
        self._changed: set[Path] = set()
        """Edited since the last start."""
        self._signals: list[int] = []

    def run(self) -> int:
        """Keep the service running until told to stop; returns the exit code."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._note)
        try:
            return self._keep_running()
        finally:
            self._end()

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _keep_running(self) -> int:
        watching = _edits(self._folders)
        next(watching)  # from now on no edit is missed
        self._begin()
        for edited in watching:
            code = self._exit_code()
            if self._signals:
                return self._leave()
            if edited:
                self._renew(edited)
            elif code is not None and (verdict := self._judge(code)) is not None:
                return verdict
        return 0  # the watch ends with a signal only

    def _begin(self) -> None:
        self._changed.clear()
        self._begun = time.monotonic()
        # a session of its own: a terminal's Ctrl-C reaches it through us, once
        self._service = subprocess.Popen(self._command, env=self._environment, start_new_session=True)  # noqa: S603

    def _renew(self, edited: Iterable[Path]) -> None:
        self._edited = True
        self._changed.update(edited)
        fault = next(filter(None, map(_fault_of, sorted(self._changed))), None)
        if fault is not None:
            _say(f"{fault}; what runs goes on, waiting for the next edit")
            return
        _say(f"edited: {', '.join(path.name for path in sorted(self._changed))}; starting anew")
        for path in self._changed:
            _forget_compiled(path)
        self._end()
        if not self._signals:
            self._begin()

    def _judge(self, code: int) -> int | None:
        """What follows from the service's end: our own exit code, or None when we go on."""
        if code == 0 or not self._edited:
            return code
        self._end()
        self._service = None
        if time.monotonic() - self._begun < _SETTLED_SECONDS:
            _say(f"the service ended with {code}; waiting for the next edit")
        else:
            _say(f"the service ended with {code}; starting anew")
            self._begin()
        return None

    def _leave(self) -> int:
        """Pass on the signals we were sent; the service's exit code."""
        deadline = time.monotonic() + self._patience
        while self._service is not None and self._exit_code() is None and time.monotonic() < deadline:
            while self._signals:
                self._service.send_signal(self._signals.pop(0))
            time.sleep(_LOOK_SECONDS)
        self._kill()
        return self._exit_code() or 0

    def _end(self) -> None:
        """End the service if it runs: by SIGTERM, then by force."""
        if self._service is not None and self._exit_code() is None:
            self._service.terminate()
            deadline = time.monotonic() + self._patience
            while self._exit_code() is None and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
        self._kill()

    def _kill(self) -> None:
        """End what is left of the service and of all it has started."""
        if self._service is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # none is left, or (macOS) only zombies
            os.killpg(self._service.pid, signal.SIGKILL)
        while self._exit_code() is None:
            time.sleep(_LOOK_SECONDS)

    def _exit_code(self) -> int | None:
        """The service's exit code if it has ended, as a shell would say it; buries everybody who has."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if self._service is not None and ended[0] == self._service.pid:
                    self._service.returncode = os.waitstatus_to_exitcode(ended[1])
        code = None if self._service is None else self._service.returncode
        return 128 - code if code is not None and code < 0 else code


def _edits(folders: Sequence[Path]) -> Iterator[set[Path]]:
    """The files edited since the last look, many times a second; most often none."""
    from watchfiles import watch

    looks = watch(
        *folders,
        watch_filter=lambda _, path: path.endswith(SUFFIXES),
        step=round(_QUIET_SECONDS * 1000),
        rust_timeout=round(_LOOK_SECONDS * 1000),
        yield_on_timeout=True,
    )
    for changes in looks:
        yield {Path(path) for _, path in changes}


def _fault_of(path: Path) -> str | None:
    """Why Python cannot read the file, or None."""
    if path.suffix != ".py":
        return None
    try:
        compile(path.read_bytes(), path, "exec", dont_inherit=True)
    except FileNotFoundError:
        return None
    except SyntaxError as error:
        return f"{path.name}, line {error.lineno}: {error.msg}"
    except (OSError, ValueError) as error:
        return f"{path.name}: {error}"
    return None


def _forget_compiled(path: Path) -> None:
    if path.suffix != ".py":
        return
    try:
        Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
    except OSError as error:
        _say(f"{error}; the old code may stay in force")


def _say(sentence: str) -> None:
    print(f"reloading: {sentence}", file=sys.stderr, flush=True)


def _folders_of(module: str) -> list[Path]:
    """Where the top package of `module` is; `ModuleNotFoundError` when there is none."""
    found = importlib.util.find_spec(module.partition(".")[0])
    folders = [] if found is None else [Path(each) for each in found.submodule_search_locations or ()]
    if not folders:
        raise ModuleNotFoundError(f"no package {module.partition('.')[0]}")
    return folders


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.kernel.reloading",
        description="Run a service, and start it anew when its code is edited. For development only.",
    )
    parser.add_argument("--drain", type=float, default=2.0, metavar="SECONDS", help="time for work in flight (2)")
    parser.add_argument("module", help="what python -m would run: services.api")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the service")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("watchfiles") is None:
        _say("watchfiles is not installed; run `pip install 'coursegen[reload]'`")
        return _WRONG_CALL
    try:
        folders = _folders_of(options.module)
    except ModuleNotFoundError as error:
        _say(str(error))
        return _WRONG_CALL
    return Reloader(folders, options.module, options.arguments, options.drain).run()


if __name__ == "__main__":
    raise SystemExit(main())
