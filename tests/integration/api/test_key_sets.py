"""Public keys from an issuer's address, and the page that describes the api."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from services.api import keys
from tests.support.api import RunningApi, running_api
from tests.support.forgeries import Issuer


class KeyServer:
    """An issuer's key set at an address."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request with the present keys."""
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = json.dumps(self.issuer.key_set).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()  # else it may outlive the loop, and the next test is told of it

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serve while the block runs."""
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"


async def status(api: RunningApi, token: str) -> int:
    """What a caller with this token gets."""
    return (await api.client.get("/api/courses", headers={"Authorization": f"Bearer {token}"})).status_code


async def test_keys_are_read_from_the_issuers_address_and_rotate(app_database_url: str, redis_url: str) -> None:
    """Each kind of key works; after a rotation the new one works at once, and forgeries do not pester the issuer."""
    old, new = Issuer(), Issuer()
    server = KeyServer(old)
    async with server.listening() as url, running_api(app_database_url, redis_url, jwt_jwks_url=url) as api:
        for algorithm, kid in (("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")):
            assert await status(api, old.sign(algorithm, kid)) == 200
        asked = server.asked
        for _ in range(20):
            assert await status(api, new.sign("RS256", "rsa")) == 401
        assert server.asked == asked, "it was read a moment ago"
        server.issuer = new
        api.parts.keys._source._next_reload = 0.0  # type: ignore[union-attr]
        assert await status(api, new.sign("RS256", "rsa")) == 200
        assert await status(api, old.sign("RS256", "rsa")) == 401
    assert keys.REFRESH_SECONDS <= 600


async def test_before_the_issuer_answers_it_is_503(app_database_url: str, redis_url: str) -> None:
    """The api starts all the same; the numbers are open, tokens cannot be judged."""
    async with running_api(app_database_url, redis_url, jwt_secret=None, jwt_jwks_url="http://127.0.0.1:9/") as api:
        assert await status(api, Issuer().sign("RS256", "rsa")) == 503
        assert (await api.client.get("/api/health/outbox")).status_code == 200


async def test_the_description_is_served_to_everybody(api: RunningApi) -> None:
    """As JSON and as a page that may load nothing."""
    async with httpx.AsyncClient(base_url=api.url) as stranger:
        document, page = await stranger.get("/openapi.json"), await stranger.get("/docs")

    assert document.json()["openapi"].startswith("3.1")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
