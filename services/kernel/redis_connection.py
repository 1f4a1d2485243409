"""Redis connections: opened here, with bounded waits, and its errors translated here.

Redis is never the truth (docs/ARCHITECTURE.md): whoever calls must go on when `BrokerUnavailable` is raised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis import asyncio as aioredis
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.kernel.cancellation import cancellation_kept
from services.kernel.errors import BrokerUnavailable, CoursegenError
from services.kernel.settings import Secret

if TYPE_CHECKING:
    from redis.asyncio import Redis

_UNAVAILABLE = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.BusyLoadingError,
    redis_errors.ReadOnlyError,
    redis_errors.MasterDownError,
    redis_errors.TryAgainError,
    redis_errors.ClusterDownError,
    redis_errors.OutOfMemoryError,
    redis_errors.NoPermissionError,
    redis_errors.InvalidResponse,  # somebody else answers: on Kubernetes the address of a pod that is gone is given to another
    OSError,
    TimeoutError,
)
_UNAVAILABLE_WORDS = re.compile(
    r"(?:^|-)(?:LOADING|READONLY|MASTERDOWN|OOM|MISCONF|UNBLOCKED|NOREPLICAS|BUSY|NOPERM|NOAUTH|WRONGPASS)\b"
    r"|The user executing the script|ACL failure in script"
)
"""At the beginning of an answer; what a script was refused stands in mid-sentence until Redis 7, and what its user may not do has
other words in each version. Where the client has a class for a word, it cuts it off."""


def open_redis(
    url: Secret,
    *,
    name: str,
    socket_timeout: float | None = 5.0,
    connect_timeout: float = 2.0,
    max_connections: int = 50,
) -> Redis:
    """A client of the server at `url`; it connects when first used.

    Args:
        url: `redis://` or `rediss://` (TLS; parameters such as `ssl_ca_certs` in the query are honoured).
        name: shown by CLIENT LIST.
        socket_timeout: longest wait for an answer, seconds; blocking reads need more than they block.
        connect_timeout: longest wait for a connection, seconds; and before that for one to become free, where all are in use.
        max_connections: most connections of this client.
    """
    # The usual pool refuses whoever finds all in use, which looks as if the server were away: circuit breakers would open.
    pool = aioredis.BlockingConnectionPool.from_url(
        url.reveal(),
        timeout=connect_timeout,
        client_name=name,
        socket_timeout=socket_timeout,
        socket_connect_timeout=connect_timeout,
        max_connections=max_connections,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 0),  # callers decide about repeats; a hidden one could run a script twice
        decode_responses=False,
    )
    return aioredis.Redis.from_pool(pool)


def is_unavailable(error: BaseException) -> bool:
    """Whether `error` says that the server as a whole is out of reach or refuses us (GAP27), not that one command was bad."""
    if isinstance(error, (BrokerUnavailable, *_UNAVAILABLE)):
        return True
    return isinstance(error, redis_errors.ResponseError) and _UNAVAILABLE_WORDS.search(str(error)) is not None


@contextmanager
def translated() -> Iterator[None]:
    """Let the driver's errors about an unreachable server leave the block as `BrokerUnavailable`."""
    try:
        with cancellation_kept():
            yield
    except BrokerUnavailable:
        raise
    except Exception as error:
        if not is_unavailable(error):
            raise
        raise BrokerUnavailable(_said(error)) from error


def _said(error: Exception) -> str:
    if isinstance(error, redis_errors.ResponseError):
        return f"Redis takes nothing at present ({error})"  # full, or no master: whoever is on call needs its own words
    return f"Redis does not answer ({type(error).__name__})"


@contextmanager
def refusals_translated(words: str) -> Iterator[None]:
    """As `translated`, and what Redis refuses (out of memory, a key of a wrong type) is no different from no answer at all.

    Args:
        words: what is said then, before the reason in brackets.
    """
    try:
        with translated():
            yield
    except CoursegenError:
        raise
    except Exception as error:
        raise BrokerUnavailable(f"{words} ({error})") from error
