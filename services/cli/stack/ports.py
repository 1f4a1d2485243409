"""Free ports on the loopback address."""

from __future__ import annotations

import errno
import secrets
import socket
import sys

from services.cli.errors import CalledWrongly

LOOPBACK = "127.0.0.1"
_RANGE = range(20_000, 32_000)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now.

    Raises:
        CalledWrongly: this machine has no such address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise CalledWrongly(f"{host} is no address of this machine. Name one with --host.") from error
    return True


class Claims:
    """The ports that one stack means to use, each taken before its server listens.

    No two of its servers have the same, and no other stack of this machine takes one meanwhile.

    A claim is a name in Linux's abstract socket space, which goes with the process that holds it. Elsewhere a stack knows its own
    claims only, and the start of the server decides.
    """

    def __init__(self) -> None:
        self._held: dict[int, socket.socket | None] = {}

    def take(self, port: int, host: str = LOOPBACK) -> bool:
        """Claim this port; False when somebody listens there, or it is claimed.

        Raises:
            CalledWrongly: this machine has no such address.
        """
        if port in self._held or not is_free(port, host):
            return False
        try:
            self._held[port] = _hold(port)
        except OSError:
            return False
        return True

    def take_any(self, preferred: int = 0, host: str = LOOPBACK) -> int:
        """Claim `preferred` where it is to be had, else some other port, and return it.

        The others lie below those that systems give to outgoing connections, so that none of these takes a port while its server
        is being restarted.
        """
        port = preferred or secrets.choice(_RANGE)
        while not self.take(port, host):
            port = secrets.choice(_RANGE)
        return port

    def release(self) -> None:
        """Let others have them all."""
        while self._held:
            _, holder = self._held.popitem()
            if holder is not None:
                holder.close()


def _hold(port: int) -> socket.socket | None:
    if sys.platform != "linux":
        return None
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0coursegen-port-{port}")
    except OSError:
        holder.close()
        raise
    return holder


def accepts(port: int, host: str = LOOPBACK, *, seconds: float = 0.5) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False
