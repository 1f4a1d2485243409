"""A Redis that holds nothing but the stream of messages, in a pod outside the installation, with a password that changes."""

from __future__ import annotations

from tests.support.kube.commands import Object, get, kubectl
from tests.support.kube.server_pod import server_pod, start

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
    start(_pod(namespace))
    return StreamRedis(namespace)


def _pod(namespace: str) -> Object:
    container = {
        "args": ["redis-server", *_OPTIONS],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    }
    return server_pod(namespace, _NAME, "redis", PORT, container, folders={"data": "/data"})
