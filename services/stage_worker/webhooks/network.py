"""Connections to public addresses only: the rule is applied to what a name resolves to, at the moment of connecting.

The address that was checked is the one that is connected to; nothing is resolved twice, so a name server that changes its
mind in between (DNS rebinding) gains nothing. A name that resolves to several addresses is refused when one of them is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Any

import httpcore

from services.kernel.webhooks.addresses import Address, AddressRules
from services.stage_worker.webhooks.resolving import Resolver, Unresolved

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host and port, in the order in which to try them."""


class AddressRefused(httpcore.ConnectError):
    """The name leads to an address that must not be called."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for httpcore, to addresses that the rules allow."""

    def __init__(self, rules: AddressRules, resolve: Resolve | None = None) -> None:
        self._rules = rules
        self._resolve = resolve or Resolver()
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            AddressRefused: one of them must not be called; nothing was sent to any.
            Unresolved: there is none.
            UpstreamUnavailable: too many names are being looked up; nothing was tried.
            httpcore.ConnectError: none answers.
        """
        failure: Exception = Unresolved(f"the name {host} has no address")
        for address in await self._checked(host, port):
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _checked(self, host: str, port: int) -> list[Address]:
        addresses = [ip_address(text) for text in await self._resolve(host, port)]
        for address in addresses:
            reason = self._rules.refusal(address)
            if reason is not None:
                raise AddressRefused(f"{host} leads to an address that must not be called ({reason})")
        return addresses

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never.

        Raises:
            AddressRefused: always.
        """
        raise AddressRefused("a socket of this machine must not be called")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
