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


class Claim:
    """A port that one stack means to use, taken before its server listens: no other stack of this machine takes it meanwhile."""

    def __init__(self, port: int, holder: socket.socket | None) -> None:
        self.port = port
        self._holder = holder

    def release(self) -> None:
        """Let others have it."""
        if self._holder is not None:
            self._holder.close()


def claim(port: int, host: str = LOOPBACK) -> Claim | None:
    """Take the port, or None when somebody listens there or another stack is about to.

    The claim is a name in Linux's abstract socket space, which goes with the process that holds it. Elsewhere the server's own
    start decides.
    """
    holder = None
    if sys.platform == "linux":
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind(f"\0coursegen-port-{port}")
        except OSError:
            holder.close()
            return None
    if is_free(port, host):
        return Claim(port, holder)
    if holder is not None:
        holder.close()
    return None


def claim_any(host: str = LOOPBACK) -> Claim:
    """A port that nobody uses or has claimed."""
    while (found := claim(pick(), host)) is None:
        pass
    return found


def pick(preferred: int = 0, *, avoid: frozenset[int] = frozenset()) -> int:
    """`preferred` when it is free, else a free port that is not in `avoid`.

    The ports lie below those that systems give to outgoing connections, so that none of these takes a port while
    its server is being restarted.
    """
    if preferred and preferred not in avoid and is_free(preferred):
        return preferred
    while True:
        port = secrets.choice(_RANGE)
        if port not in avoid and is_free(port):
            return port


def accepts(port: int, host: str = LOOPBACK, *, seconds: float = 0.5) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False
