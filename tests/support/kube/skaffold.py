"""skaffold as a developer would type it, on the cluster that KUBECONFIG names, with nothing of the developer's own touched.

SKAFFOLD_DEFAULT_REPO            the registry that the cluster pulls from (default: localhost:5000)
PYTHON_IMAGE, BUILD_FLAGS        of scripts/build-images.sh
POSTGRES_IMAGE, REDIS_IMAGE      default: those of TEST_CLUSTER_VALUES, else the official ones
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.clusters import refuse
from tests.support.kube.commands import CommandFailed, program, run
from tests.support.kube.values import for_cluster
from tests.support.servers import REPOSITORY

REGISTRY = "SKAFFOLD_DEFAULT_REPO"
_TIDY_SECONDS = 150.0
_SETTINGS = "global: {collect-metrics: false, survey: {disable-prompt: true}}\n"


class Skaffold:
    """skaffold in one namespace, with the profile that pushes to a registry."""

    def __init__(self, namespace: str, folder: Path) -> None:
        """`folder` takes what skaffold and Helm write for themselves."""
        self.namespace = namespace
        self.environment = _environment(folder) | {"SKAFFOLD_NAMESPACE": namespace}
        (folder / "skaffold.yaml").write_text(_SETTINGS, encoding="utf-8")

    def command(self, name: str, *arguments: str) -> list[str]:
        """The words of a command."""
        return ["skaffold", name, "-p", "local", *arguments]

    def __call__(self, name: str, *arguments: str, seconds: float = 300, check: bool = True) -> str:
        """What `skaffold NAME ARGUMENTS` prints, warnings included.

        Raises:
            CommandFailed: it ended with an error (unless `check` is false).
        """
        done = run(
            self.command(name, *arguments),
            seconds=seconds,
            check=check,
            folder=REPOSITORY,
            environment=self.environment,
        )
        return done.stdout + done.stderr

    def releases(self) -> list[dict[str, Any]]:
        """What Helm has in the namespace: `name`, `status`, `revision`."""
        found: list[dict[str, Any]] = json.loads(run(["helm", "list", "-n", self.namespace, "-o", "json"]).stdout)
        return found

    @contextmanager
    def dev(self, tree: Path, *arguments: str) -> Iterator[Loop]:
        """`skaffold dev` in a copy of the repository; interrupted when the block ends, if it still runs."""
        log = tree.parent / "skaffold-dev.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command("dev", *arguments), cwd=tree, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        loop = Loop(process, log)
        try:
            yield loop
        finally:
            loop.interrupt()


class Loop:
    """A `skaffold dev` that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """`log` is where it writes."""
        self._process = process
        self._log = log

    def said(self) -> str:
        """All that it has printed.

        Raises:
            CommandFailed: it has ended with an error.
        """
        said = self._log.read_text(encoding="utf-8", errors="replace")
        if self._process.poll():
            raise CommandFailed(f"skaffold dev: exit {self._process.returncode}\n{said[-6000:]}")
        return said

    def forwarded(self, service: str) -> str:
        """Where a Service answers on this machine, by what it has said; empty until it has."""
        said = re.search(rf"Port forwarding service/{service} in .* -> (http://[\d.]+:\d+)", self.said())
        return said[1] if said else ""

    def interrupt(self) -> int:
        """Ctrl-C: SIGINT to it and its children, as a terminal does; its exit code, once it has tidied up."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(_TIDY_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


def _environment(folder: Path) -> dict[str, str]:
    dev = for_cluster()["dev"]
    images = {"POSTGRES_IMAGE": dev["postgresql"].get("image"), "REDIS_IMAGE": dev.get("redis", {}).get("image")}
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**{name: image for name, image in images.items() if image}, **ours} | {
        REGISTRY: _registry(),
        "SKAFFOLD_CONFIG": str(folder / "skaffold.yaml"),
        "SKAFFOLD_CACHE_FILE": str(folder / "builds"),
        "SKAFFOLD_CHECK_CLUSTER_NODE_PLATFORMS": "true",  # as `run` and `dev` do: what they built is what `build` finds
        "SKAFFOLD_UPDATE_CHECK": "false",
        "SKAFFOLD_INTERACTIVE": "false",
        "SKAFFOLD_DETECT_MINIKUBE": "false",
        "HELM_DATA_HOME": str(folder / "helm"),
    }


def _registry() -> str:
    return os.environ.get(REGISTRY, "localhost:5000")


def require_skaffold() -> None:
    """Skip the test without skaffold, Helm, a builder and a registry that answers, or fail it where a cluster is required."""
    program("helm")
    program("skaffold")
    if not any(shutil.which(each) for each in ("docker", "podman", "buildah")):
        refuse("none of docker, podman and buildah is on the PATH")
    try:
        urllib.request.urlopen(f"http://{_registry()}/v2/", timeout=5).close()
    except (urllib.error.URLError, TimeoutError) as error:
        refuse(f"no registry answers at {_registry()} ({error}); name one that the cluster pulls from in {REGISTRY}")


def copy_of_the_repository(folder: Path) -> Path:
    """A tree of its own, with what git knows or would take."""
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], folder=REPOSITORY).stdout
    for name in filter(None, listed.split("\0")):
        source, target = REPOSITORY / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def edit(path: Path, old: str, new: str) -> float:
    """Put `new` for `old`, which must be there once, as an editor does; the moment of it."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return time.monotonic()
