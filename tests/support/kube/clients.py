"""Clients in pods: what they reach, they reach through Services, policies and the cluster's DNS, as applications do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.kube.commands import apply, kubectl, run
from tests.support.kube.values import image
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

PROGRAMS = Path(__file__).parent / "programs"
_IDLE = "import signal; end = {signal.SIGTERM}; signal.pthread_sigmask(signal.SIG_BLOCK, end); signal.sigwait(end)"
_ANY_PORT = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
"""A safe one, by the restricted standard: a pod that stands for somebody outside listens where they do."""
_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def bundle(*paths: Path) -> str:
    """One program of several files: the last is run, the others are modules that those after them may import."""
    lines = ["import sys, types"]
    for path in paths[:-1]:
        name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        lines += [
            f"module = sys.modules[{name!r}] = types.ModuleType({name!r})",
            f"exec(compile({path.read_text(encoding='utf-8')!r}, {path.name!r}, 'exec'), module.__dict__)",
        ]
    return "\n".join([*lines, paths[-1].read_text(encoding="utf-8")])


class Client:
    """A pod with Python and httpx that does what a test asks it."""

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name

    def python(self, program: str, *arguments: str, seconds: float = 120) -> str:
        """What a Python program prints in the pod.

        Raises:
            CommandFailed: it ended with an error.
        """
        return kubectl("-n", self.namespace, "exec", "-i", self.name, "--", "python", "-", *arguments,
                       stdin=program, seconds=seconds)  # fmt: skip

    def copy_in(self, path: Path) -> None:
        """Put a file into /documents of the pod; its name is kept."""
        program = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"
        command = ["kubectl", "-n", self.namespace, "exec", "-i", self.name, "--", "python", "-c", program,
                   f"/documents/{path.name}"]  # fmt: skip
        subprocess.run(command, input=path.read_bytes(), check=True, capture_output=True, timeout=60)


@contextmanager
def client_pod(
    namespace: str,
    name: str = "client",
    *,
    labels: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    program: str = _IDLE,
) -> Iterator[Client]:
    """A pod that waits for programs, or runs one of its own; gone when the block ends."""
    with _running(namespace, _pod(namespace, name, [program], labels or {}, environment or {})) as pods:
        kubectl("-n", namespace, "wait", *pods, "--for=condition=Ready", "--timeout=90s")
        yield Client(namespace, name)


Journal = list[tuple[str, int | None, str | None]]
"""Every order that was sent: its course, the answer's status and the job that it promises; None where no answer came."""


@contextmanager
def client_pods(
    namespace: str,
    wanted: Mapping[str, Mapping[str, str]],
    *,
    programs: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[list[Client]]:
    """Several at once, by name with the labels of each; those of `programs` run one of their own."""
    own = programs or {}
    manifests = [
        _pod(namespace, name, [own.get(name, _IDLE)], labels, environment or {}) for name, labels in wanted.items()
    ]
    with _running(namespace, *manifests) as pods:
        kubectl("-n", namespace, "wait", *pods, "--for=condition=Ready", "--timeout=120s", seconds=150)
        yield [Client(namespace, name) for name in wanted]


class Load:
    """A load that runs in a pod."""

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name

    def report(self) -> dict[str, Any]:
        """Tell it to stop; what came of its requests: attempts, accepted, failures, longest_seconds, journal, messages, read."""
        run(["kubectl", "-n", self.namespace, "exec", self.name, "-c", "load", "--", "python", "-c",
             "import os, signal; os.kill(1, signal.SIGTERM)"])  # fmt: skip
        phase = ["-n", self.namespace, "get", "pod", self.name, "-o", "jsonpath={.status.phase}"]
        eventually_sync(lambda: kubectl(*phase) in {"Succeeded", "Failed"}, within=90, every=0.5)
        said = kubectl("-n", self.namespace, "logs", self.name).strip().splitlines()
        report: dict[str, Any] = json.loads(said[-1])
        return report


@contextmanager
def load_on(
    namespace: str,
    *,
    url: str,
    token: str,
    per_second: float = 5,
    name: str = "load",
    insist: bool = False,
    reads: bool = False,
    webhook_url: str = "",
    documents_every: int = 0,
    messages_per_second: float = 0,
) -> Iterator[Load]:
    """Orders of courses and messages from a pod, from the moment the block begins; the pod is gone when it ends.

    Args:
        namespace: where the pod runs.
        url: of the api.
        token: whose courses they are.
        per_second: orders of each of the two clients; none when 0.
        name: of the pod.
        insist: repeat an order under its idempotency key until it is accepted.
        reads: ask once for each course that was accepted; read each conversation in the end, until all of it is persisted.
        webhook_url: where the end of each course is told; nowhere when empty.
        documents_every: one order in so many brings a document, of each client; none does when 0.
        messages_per_second: messages in each of eight conversations, one in four of them sent twice; none when 0.
    """
    environment = {
        "API_URL": url,
        "API_TOKEN": token,
        "PER_SECOND": str(per_second),
        "INSIST": str(insist).lower(),
        "READS": str(reads).lower(),
        "WEBHOOK_URL": webhook_url,
        "DOCUMENTS_EVERY": str(documents_every),
        "MESSAGES_PER_SECOND": str(messages_per_second),
    }
    program = (PROGRAMS / "load.py").read_text(encoding="utf-8")
    with _running(namespace, _pod(namespace, name, [program], {}, environment, container="load")):
        logs = ["-n", namespace, "logs", name]
        eventually_sync(lambda: "loading" in run(["kubectl", *logs], check=False).stdout, within=90, every=0.5)
        yield Load(namespace, name)


@contextmanager
def _running(namespace: str, *manifests: dict[str, Any]) -> Iterator[list[str]]:
    """Pods, as kubectl names them; told to go when the block ends."""
    apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
    pods = [f"pod/{each['metadata']['name']}" for each in manifests]
    try:
        yield pods
    finally:
        kubectl("-n", namespace, "delete", *pods, "--grace-period=1", "--wait=false", "--ignore-not-found")


def _pod(
    namespace: str,
    name: str,
    program: list[str],
    labels: Mapping[str, str],
    environment: Mapping[str, str],
    *,
    container: str = "client",
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name, **labels}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
                                "seccompProfile": {"type": "RuntimeDefault"}, "sysctls": [_ANY_PORT]},
            "containers": [
                {
                    "name": container,
                    "image": image("stage-worker"),
                    "command": ["python", "-c"],
                    "args": program,
                    "env": [{"name": key, "value": value} for key, value in environment.items()],
                    "securityContext": _SECURITY,
                    "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "documents", "mountPath": "/documents"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "documents", "emptyDir": {}}],
        },
    }  # fmt: skip
