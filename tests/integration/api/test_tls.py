"""PostgreSQL and Redis over TLS, by parameters of their addresses."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.kernel.errors import DatabaseUnavailable
from tests.support.api import running_api
from tests.support.tls import make_certificate, tls_door


def through(url: str, port: int, parameters: str, scheme: str | None = None) -> str:
    """The same address through a door, with parameters."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    return parts._replace(scheme=scheme or parts.scheme, netloc=f"{user}127.0.0.1:{port}", query=parameters).geturl()


async def test_both_servers_are_spoken_to_over_tls(app_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """`sslmode=verify-full` and `rediss://`, the server's name and authority checked; a repeat is answered from Redis."""
    certificate = make_certificate(tmp_path)
    postgres_port, redis_port = urlsplit(app_database_url).port, urlsplit(redis_url).port
    assert postgres_port is not None
    assert redis_port is not None
    async with (
        tls_door(certificate, postgres_port, postgres=True) as postgres,
        tls_door(certificate, redis_port) as redis,
    ):
        database = through(app_database_url, postgres.port, f"sslmode=verify-full&sslrootcert={certificate.path}")
        cache = through(redis_url, redis.port, f"ssl_ca_certs={certificate.path}", "rediss")
        async with running_api(database, cache) as api:
            created = await api.client.post("/api/courses", json={"title": "x"})
            body = {"courseId": created.json()["id"]}
            answers = [await api.client.post("/api/coursegen/generate", json=body) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json()["fromCache"] is True
    assert postgres.encrypted >= 1
    assert redis.encrypted >= 1


async def test_an_unknown_authority_is_not_trusted(app_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """With `verify-full` another's certificate ends the start."""
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    theirs, ours = make_certificate(tmp_path / "theirs"), make_certificate(tmp_path / "ours")
    port = urlsplit(app_database_url).port
    assert port is not None
    async with tls_door(theirs, port, postgres=True) as door:
        database = through(app_database_url, door.port, f"sslmode=verify-full&sslrootcert={ours.path}")
        with pytest.raises(DatabaseUnavailable):
            async with running_api(database, redis_url):
                pass
