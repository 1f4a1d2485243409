"""A reader of README.md who types its commands, in a namespace and a folder of his own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.kube.commands import kubectl, run
from tests.support.kube.values import Values
from tests.support.marked import marked
from tests.support.servers import REPOSITORY

README = REPOSITORY / "README.md"


def commands(name: str) -> list[str]:
    """The commands of a block of README.md, without their comments."""
    return [re.sub(r"\s+#.*", "", line) for line in marked(README, name).splitlines()]


class Reader:
    """Types what README.md says. Only the namespace of his context and the images are the test's."""

    def __init__(self, namespace: str, folder: Path, values: Values, operator: Values | None = None) -> None:
        """`values` come last at `helm install`; `operator` last where the operator is installed."""
        self.namespace = namespace
        self.folder = folder
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(context_in(namespace, folder)),
            "COURSEGEN_HOME": str(folder / "state"),
        }
        for name in ("charts", "examples", ".venv"):
            (folder / name).symlink_to(REPOSITORY / name)
        self._values = folder / "images-values.yaml"
        self._values.write_text(json.dumps(values), encoding="utf-8")
        self._operator = folder / "operator-values.yaml"
        self._operator.write_text(json.dumps(operator or {}), encoding="utf-8")

    def types(self, *lines: str, seconds: float = 600) -> str:
        """What the commands print, errors and warnings included.

        Raises:
            CommandFailed: one of them ended with an error; none after it was run.
        """
        script = "\n".join(["set -euo pipefail", "exec 2>&1", *map(self._adapted, lines)])
        return run(["bash", "-c", script], seconds=seconds, environment=self._environment, folder=self.folder).stdout

    @contextmanager
    def keeps_running(self, line: str, *, until: str) -> Iterator[str]:
        """A command that goes on while the block lasts; the line in which it printed `until`."""
        command = ["bash", "-c", f"exec {line}"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=self._environment, text=True, cwd=self.folder
        ) as running:
            try:
                assert running.stdout is not None
                said = running.stdout.readline()
                assert until in said, f"{line}: {said}"
                yield said
            finally:
                running.terminate()

    def _adapted(self, line: str) -> str:
        if line.startswith(("helm install coursegen-operator ", "helm upgrade --install coursegen-operator ")):
            return f"{line} -f {self._operator}"
        return f"{line} -f {self._values}" if line.startswith("helm install") else line


def context_in(namespace: str, folder: Path) -> Path:
    """A copy of the caller's kubeconfig whose context has this namespace."""
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(kubectl("config", "view", "--raw", "--flatten", "--minify"), encoding="utf-8")
    kubectl("--kubeconfig", str(path), "config", "set-context", "--current", "--namespace", namespace)
    return path
