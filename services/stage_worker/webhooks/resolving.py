"""Names become addresses: in threads of their own, few for each host and each organisation, and none waited for long.

The system's resolver blocks and cannot be told to stop; a name server that says nothing holds a thread for many seconds. So
look-ups take no thread that anything else needs, whoever has many such names runs out of his own share only, and a thread
that is given up counts until it has really ended. The threads do not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Final
from uuid import UUID

from services.kernel.errors import UpstreamUnavailable

Lookup = Callable[[str, int], list[str]]
"""Asks for the addresses of a host and port, and blocks meanwhile."""

MOST_LOOKUPS: Final = 64
"""Of one worker at a time."""

MOST_PER_HOST: Final = 4
MOST_PER_ORGANIZATION: Final = 8
LOOKUP_SECONDS: Final = 5.0
"""After which an attempt gives its name up."""

_BUSY_SECONDS: Final = 5.0
_organization: ContextVar[UUID | None] = ContextVar("organization_that_names_a_receiver", default=None)


class Unresolved(OSError):
    """The name has no address, or nobody says which."""


@contextlib.contextmanager
def on_behalf_of(organization: UUID) -> Iterator[None]:
    """Charge the look-ups of this block to the share of `organization`."""
    token = _organization.set(organization)
    try:
        yield
    finally:
        _organization.reset(token)


def ask_system(host: str, port: int) -> list[str]:
    """What the system's resolver says, in its order.

    Raises:
        Unresolved: nothing.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (socket.gaierror, UnicodeError) as error:
        raise Unresolved(f"the name {host} cannot be resolved") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Looks names up for the attempts of one worker."""

    def __init__(self, lookup: Lookup = ask_system, *, seconds: float = LOOKUP_SECONDS) -> None:
        self._lookup = lookup
        self._seconds = seconds
        self._under_way: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of `host`, in the order in which to try them.

        Raises:
            Unresolved: it has none, or no answer came in time.
            UpstreamUnavailable: the look-up did not begin, for too many others are under way.
        """
        if _is_literal(host):
            return [host]
        shares = self._take(host)
        answer: asyncio.Future[list[str] | Exception] = asyncio.get_running_loop().create_future()
        threading.Thread(
            target=self._run, args=(host, port, shares, answer), name="webhook-lookup", daemon=True
        ).start()
        try:
            async with asyncio.timeout(self._seconds):
                found = await answer
        except TimeoutError as error:
            raise Unresolved(f"the name {host} was not resolved within {self._seconds:g} s") from error
        if isinstance(found, Exception):
            raise found
        return found

    def _take(self, host: str) -> Sequence[Hashable]:
        bounds: dict[Hashable, int] = {"all": MOST_LOOKUPS, ("host", host): MOST_PER_HOST}
        organization = _organization.get()
        if organization is not None:
            bounds[organization] = MOST_PER_ORGANIZATION
        with self._lock:
            if any(self._under_way[share] >= most for share, most in bounds.items()):
                raise UpstreamUnavailable("too many names are being looked up", retry_after=_BUSY_SECONDS)
            self._under_way.update(bounds.keys())
        return tuple(bounds)

    def _run(
        self, host: str, port: int, shares: Sequence[Hashable], answer: asyncio.Future[list[str] | Exception]
    ) -> None:
        found: list[str] | Exception
        try:
            found = self._lookup(host, port)
        except Exception as error:  # noqa: BLE001 - carried over to whoever waits, and raised there
            found = error
        with self._lock:
            self._under_way.subtract(shares)
            self._under_way += Counter()  # forgets shares of which nothing is taken
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            answer.get_loop().call_soon_threadsafe(_deliver, answer, found)


def _deliver(answer: asyncio.Future[list[str] | Exception], found: list[str] | Exception) -> None:
    if not answer.done():
        answer.set_result(found)


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
