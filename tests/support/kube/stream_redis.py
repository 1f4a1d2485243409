"""A Redis that holds nothing but the stream of messages, in a pod outside the installation, with a password that changes."""

from __future__ import annotations

import json

from tests.support.kube.commands import Object, apply, get, kubectl
from tests.support.kube.values import CHART_VALUES, for_cluster

PORT = 6379
_NAME = "stream"
_OPTIONS = ("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", "/data", "--protected-mode", "no")


class StreamRedis:
    """The Redis of a stream; anybody may enter until it has its first password."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.host = str(get("-n", namespace, "pod", _NAME)["status"]["podIP"])

    def begin(self, password: str) -> None:
        """Take this password, and no other."""
        self._type(f"CONFIG SET requirepass {password}")

    def admit(self, new: str, *, known: str) -> None:
        """Take a new password beside the one that is known."""
        assert self.tell(known, f"ACL SETUSER default >{new}") == "OK"

    def retire(self, old: str, *, known: str) -> None:
        """Take the old one no more."""
        assert self.tell(known, f"ACL SETUSER default <{old}") == "OK"
        assert "WRONGPASS" in self.tell(old, "PING")

    def tell(self, password: str, command: str) -> str:
        """What it answers to somebody with this password, in the database of the stream."""
        said = self._type(f"AUTH {password}", "SELECT 1", command)
        return said.removeprefix("OK\nOK\n").strip()

    def _type(self, *lines: str) -> str:
        return kubectl(
            "-n", self._namespace, "exec", "-i", _NAME, "--", "redis-cli", "--raw", stdin="\n".join([*lines, ""])
        )


def stream_redis(namespace: str) -> StreamRedis:
    """Such a Redis, ready; it goes with its namespace."""
    apply(json.dumps(_pod(namespace)))
    kubectl("-n", namespace, "wait", f"pod/{_NAME}", "--for=condition=Ready", "--timeout=90s")
    return StreamRedis(namespace)


def _pod(namespace: str) -> Object:
    image = for_cluster().get("dev", {}).get("redis", {}).get("image", CHART_VALUES["dev"]["redis"]["image"])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _NAME, "namespace": namespace, "labels": {"app": _NAME}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "redis",
                    "image": image,
                    "args": ["redis-server", *_OPTIONS],
                    "ports": [{"containerPort": PORT}],
                    "securityContext": CHART_VALUES["securityContext"],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }  # fmt: skip
