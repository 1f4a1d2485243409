"""The queue's Lua scripts: read once, run by their hash, loaded again by themselves when Redis has forgotten them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from services.kernel.errors import RetryableError
from services.kernel.queue.keys import QueueKeys
from services.kernel.redis_connection import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

NAMES = (
    "dequeue",
    "discard",
    "enqueue",
    "finish",
    "jobs",
    "overview",
    "pause",
    "promote",
    "quarantine",
    "reclaim",
    "renew",
    "replay",
    "requeue",
    "revive",
    "states",
    "sweep",
    "touch",
)


class QueueDamaged(RetryableError):
    """A key of this queue is of the wrong type: a stranger has written there. Nothing was done; other queues are well."""

    code = "queue_damaged"


@contextmanager
def damage_seen(keys: QueueKeys) -> Iterator[None]:
    """Raise what Redis says of a key of the wrong type as `QueueDamaged`."""
    try:
        yield
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise QueueDamaged(f"the queue {keys.queue} is damaged in Redis: {error}", queue=keys.queue) from error


@dataclass(frozen=True, slots=True)
class Script:
    """One script with the hash Redis knows it by."""

    text: str
    sha: str

    @classmethod
    @cache
    def read(cls, name: str) -> Script:
        """The script of this name, with the prelude before it."""
        folder = resources.files("services.kernel.queue") / "lua"
        text = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", name))
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Scripts:
    """Runs the scripts on one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py types every answer as "perhaps not awaitable"
        self._scripts = {name: Script.read(name) for name in NAMES}

    def script(self, name: str) -> Script:
        """The script itself, for callers that write the protocol themselves."""
        return self._scripts[name]

    async def run(self, name: str, keys: QueueKeys, *args: Any) -> Any:
        """Run one script on one queue; what it returns is in the head of its file.

        Raises:
            BrokerUnavailable: Redis does not answer; the script may have run all the same.
            QueueDamaged: a key of the queue has the wrong type.
        """
        script = self._scripts[name]
        names = (keys.prefix, keys.job_prefix)
        with damage_seen(keys), translated():
            try:
                return await self._redis.execute_command("EVALSHA", script.sha, 2, *names, *args)
            except NoScriptError:
                return await self._redis.execute_command("EVAL", script.text, 2, *names, *args)

    async def load(self, names: Iterable[str] = NAMES) -> None:
        """Make Redis know the scripts.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        with translated():
            for name in names:
                await self._redis.script_load(self._scripts[name].text)


def texts(values: Sequence[bytes]) -> list[str]:
    """Ids as text; a byte that is no UTF-8 is replaced, for such an id is nobody's job."""
    return [value.decode("utf-8", "replace") for value in values]
