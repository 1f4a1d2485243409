"""Free ports on the loopback address."""

from __future__ import annotations

import errno
import secrets
import socket

from services.cli.errors import StackError

LOOPBACK = "127.0.0.1"
_RANGE = range(20_000, 32_000)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now.

    Raises:
        StackError: this machine has no such address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise StackError(f"{host} is no address of this machine. Name one with --host.") from error
    return True


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
