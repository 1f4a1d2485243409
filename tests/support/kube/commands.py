"""kubectl and helm, as an operator would type them, against the cluster that KUBECONFIG names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.clusters import is_required, require_cluster

Object = dict[str, Any]

COMMAND_SECONDS = 120.0


class CommandFailed(AssertionError):
    """A command ended with an error; the message shows the command and what it said."""


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    seconds: float = COMMAND_SECONDS,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, here and with the environment of the tests unless told otherwise.

    Raises:
        CommandFailed: it ended with an error (unless `check` is false), or did not end in `seconds`.
    """
    try:
        done = subprocess.run(
            list(command), input=stdin, capture_output=True, text=True, timeout=seconds, check=False, errors="replace",
            cwd=cwd, env=env,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command)}: not done in {seconds:g} s") from error
    if check and done.returncode != 0:
        raise CommandFailed(
            f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
    return done


def kubectl(*arguments: str, stdin: str | None = None, seconds: float = COMMAND_SECONDS) -> str:
    """What `kubectl ARGUMENTS` prints.

    Raises:
        CommandFailed: it ended with an error.
    """
    return run(["kubectl", *arguments], stdin=stdin, seconds=seconds).stdout


def get(*arguments: str) -> Object:
    """What `kubectl get ARGUMENTS` shows, as data."""
    found: Object = json.loads(kubectl("get", *arguments, "-o", "json"))
    return found


def items(*arguments: str) -> list[Object]:
    """The objects of a list."""
    found: list[Object] = get(*arguments)["items"]
    return found


def apply(text: str, *arguments: str) -> str:
    """`kubectl apply` of a manifest."""
    return kubectl("apply", "-f", "-", *arguments, stdin=text)


PROGRAMS_COMING = "TEST_PROGRAMS_COMING"
"""Names a file that is there while programs are still being built beside the tests."""
COMING_SECONDS = 2400.0


def program(name: str) -> str:
    """The path of a program that a cluster test needs; without it the test is skipped, or fails where a cluster is required."""
    require_cluster()
    found = await_program(name)
    if found is None:
        refuse(f"{name} is not on the PATH")
    return str(found)


def await_program(name: str) -> str | None:
    """The path of a program; None when it is not there, and not being built either."""
    coming = Path(os.environ.get(PROGRAMS_COMING) or "nothing is being built")
    deadline = time.monotonic() + COMING_SECONDS
    while shutil.which(name) is None and coming.exists() and time.monotonic() < deadline:
        time.sleep(1)
    return shutil.which(name)


def refuse(reason: str) -> None:
    """Skip the test, or fail it where a cluster is required."""
    if is_required():
        pytest.fail(reason)
    pytest.skip(reason)
