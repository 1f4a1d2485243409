"""kubectl and helm, as an operator would type them, against the cluster that KUBECONFIG names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.clusters import refuse, require_cluster

Object = dict[str, Any]

COMMAND_SECONDS = 120.0


_WARNING = re.compile(r"^(?:Warning: |W\d{4} |.*level=WARN).*|.*would violate.*", re.MULTILINE)
"""How kubectl, Helm 3 and Helm 4 pass on what the API server warns of."""


class CommandFailed(AssertionError):
    """A command ended with an error; the message shows the command and what it said."""


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    seconds: float = COMMAND_SECONDS,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in `folder`, with the variables of `environment` and no others; the caller's by default.

    Raises:
        CommandFailed: it ended with an error (unless `check` is false), or did not end in `seconds`.
    """
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            errors="replace",
            env=environment,
            cwd=folder,
        )
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


def warnings_in(said: str) -> list[str]:
    """The lines of a command's output in which the API server warns."""
    return _WARNING.findall(said)


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
    return found


def await_program(name: str) -> str | None:
    """The path of a program; None when it is not there, and not being built either."""
    await_what_comes(lambda: shutil.which(name) is not None)
    return shutil.which(name)


def await_what_comes(is_there: Callable[[], bool]) -> bool:
    """Whether something is there, now or when what is still being brought beside the tests has come."""
    coming = Path(os.environ.get(PROGRAMS_COMING) or "nothing is being built")
    deadline = time.monotonic() + COMING_SECONDS
    while not (there := is_there()) and coming.exists() and time.monotonic() < deadline:
        time.sleep(1)
    return there
