"""Signals for the process of a pod, from a container beside it: nobody can kill the first process of his own container."""

from __future__ import annotations

import json
from typing import Any

from tests.support.kube.commands import get, kubectl

_CONTAINER = "signals"
_IDLE = "import signal; signal.sigwait({signal.SIGTERM, signal.SIGINT})"
_SEND = """
import os, signal, sys, time
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(bytes(1))
    except OSError:
        continue
    if sys.argv[1].encode() in words:
        print(time.time())
        os.kill(int(pid), getattr(signal, sys.argv[2]))
        sys.exit()
sys.exit(f"no {sys.argv[1]} runs here")
"""


def stand_beside(namespace: str, deployment: str) -> None:
    """Put the container that may send signals into every pod of a Deployment, and return when it is rolled out."""
    name = f"deployment/{deployment}"
    container = get("-n", namespace, name)["spec"]["template"]["spec"]["containers"][0]
    beside: dict[str, Any] = {
        "name": _CONTAINER,
        "command": ["python", "-c", _IDLE],
        **{key: container[key] for key in ("image", "imagePullPolicy", "securityContext")},
        "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
    }
    patch = {"spec": {"template": {"spec": {"shareProcessNamespace": True, "containers": [beside]}}}}
    kubectl("-n", namespace, "patch", name, "--patch", json.dumps(patch))
    kubectl("-n", namespace, "rollout", "status", name, "--timeout=180s", seconds=190)


def send(namespace: str, pod: str, module: str, signal: str) -> float:
    """Send the process that runs `module` a signal; when it was sent, by the node's clock in seconds since 1970."""
    sent = kubectl("-n", namespace, "exec", pod, "-c", _CONTAINER, "--", "python", "-c", _SEND, module, signal)
    return float(sent)
