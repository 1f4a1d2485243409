"""Where the stream is (contract.md D40)."""

from __future__ import annotations

import dataclasses

import pytest

from services.kernel.errors import SettingsInvalid
from services.kernel.messages.settings import StreamSettings, stream_address
from services.kernel.settings import CommonSettings, Secret, load, secrets_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Settings(CommonSettings, StreamSettings):
    """As a process has them."""


def _settings(**environ: str) -> _Settings:
    return load(_Settings, {"DATABASE_URL": "postgresql://host/name", **environ})


def _address(**environ: str) -> str:
    settings = _settings(**environ)
    return stream_address(settings, settings.redis_url).reveal()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost:6379", "redis://localhost:6379/1"),
        ("redis://localhost:6379/0", "redis://localhost:6379/1"),
        ("redis://:p%40ss@host:1/7", "redis://:p%40ss@host:1/1"),
        ("rediss://host:6379/0?ssl_ca_certs=/ca.pem&db=3", "rediss://host:6379/1?ssl_ca_certs=%2Fca.pem"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
        ("unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=1"),
    ],
)
def test_without_a_host_it_is_the_server_of_the_queues(url: str, address: str) -> None:
    """In a database of its own."""
    assert _address(REDIS_URL=url) == address


def test_a_host_names_another_server() -> None:
    """With the port and password that belong to it, and nothing of REDIS_URL's."""
    assert _address(REDIS_URL="rediss://:x@other/0", REDIS_HOST="streams") == "redis://streams:6379/1"
    named = {"REDIS_HOST": "streams", "REDIS_PORT": "7000", "REDIS_PASSWORD": "p@ss/word", "REDIS_STREAM_DB": "2"}
    assert _address(**named) == "redis://:p%40ss%2Fword@streams:7000/2"
    assert _address(REDIS_HOST="::1") == "redis://[::1]:6379/1"


def test_the_driver_understands_the_address() -> None:
    """Password and database arrive as they were given."""
    from redis.asyncio.connection import parse_url

    parsed = parse_url(_address(REDIS_HOST="streams", REDIS_PASSWORD="p@ss/w:rd?", REDIS_STREAM_DB="5"))

    assert (parsed["host"], parsed["password"], parsed["db"]) == ("streams", "p@ss/w:rd?", 5)


def test_the_contracts_defaults() -> None:
    """Sixteen partitions in database 1."""
    settings = _settings()

    assert (settings.redis_stream_db, settings.stream_partitions, settings.redis_port) == (1, 16, 6379)


def test_the_password_is_a_secret() -> None:
    """No log shows it."""
    settings = _settings(REDIS_HOST="streams", REDIS_PASSWORD="hush-hush")

    assert "hush-hush" in secrets_of(settings)
    assert "hush-hush" not in repr(settings)
    assert "hush-hush" not in repr(stream_address(settings, Secret("redis://x")))


def test_what_cannot_be_is_refused_together() -> None:
    """Each with its name."""
    with pytest.raises(SettingsInvalid) as refused:
        _settings(STREAM_PARTITIONS="0", REDIS_STREAM_DB="-1", REDIS_PORT="0")

    assert [fault.partition(":")[0] for fault in refused.value.faults] == [
        "REDIS_PORT",
        "REDIS_STREAM_DB",
        "STREAM_PARTITIONS",
    ]
