"""What the api and the persistence-workers are told about the stream of messages; both must be told the same."""

from __future__ import annotations

import dataclasses
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from services.kernel.settings import Secret, setting

MOST_PARTITIONS = 1024
"""More partitions than anybody needs, few enough to look at them all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """Where the stream is, and into how many partitions it is divided."""

    redis_host: str | None = setting(
        "REDIS_HOST",
        default=None,
        doc="host of the Redis that holds the stream of messages; by default the server of REDIS_URL",
    )
    redis_port: int = setting(
        "REDIS_PORT", default=6379, minimum=1, maximum=65535, doc="port of that Redis; only used with REDIS_HOST"
    )
    redis_password: Secret | None = setting(
        "REDIS_PASSWORD", default=None, parse=Secret, doc="password of that Redis; only used with REDIS_HOST"
    )
    redis_stream_db: int = setting(
        "REDIS_STREAM_DB",
        default=1,
        minimum=0,
        maximum=16_383,
        doc="database of the stream, on whichever server; not the one of the queues, so that each can be looked at alone, and "
        "no other installation's, whose messages it would take: refused",
    )
    stream_partitions: int = setting(
        "STREAM_PARTITIONS",
        default=16,
        unit="partitions",
        minimum=1,
        maximum=MOST_PARTITIONS,
        doc="streams the conversations are shared out among, by a hash; once a message is there, Redis says how many "
        "there are, and not this",
    )


def stream_address(settings: StreamSettings, redis_url: Secret) -> Secret:
    """The address of the Redis database that holds the stream (contract.md D40)."""
    number = settings.redis_stream_db
    if settings.redis_host is not None:
        password = settings.redis_password
        login = f":{quote(password.reveal(), safe='')}@" if password else ""
        host = f"[{settings.redis_host}]" if ":" in settings.redis_host else settings.redis_host
        return Secret(f"redis://{login}{host}:{settings.redis_port}/{number}")
    parts = urlsplit(redis_url.reveal())
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "db"]
    if parts.scheme == "unix":
        return Secret(f"unix://{parts.netloc}{parts.path}?{urlencode([*query, ('db', str(number))])}")
    return Secret(urlunsplit(parts._replace(path=f"/{number}", query=urlencode(query))))
