"""The scripts of the stream's exit: read once, run by their hash, loaded again by themselves when Redis has forgotten them."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

Argument = str | bytes | int
_NAMES: Final = ("bury", "read", "repartition", "replay", "settle", "take_over", "touch", "trim")


def script(name: str) -> str:
    """The text of one of the scripts."""
    folder = resources.files("services.kernel.messages") / "lua"
    return (folder / f"{name}.lua").read_text(encoding="utf-8")


class ConsumerScripts:
    """Runs the scripts on one Redis; each is atomic there."""

    def __init__(self, redis: Redis) -> None:
        prelude = f"{script('order')}\n{script('fence')}"
        self._scripts: dict[str, Any] = {name: redis.register_script(f"{prelude}\n{script(name)}") for name in _NAMES}

    def sha(self, name: str) -> str:
        """The hash that Redis knows a script by."""
        return str(self._scripts[name].sha)

    async def run(self, name: str, *args: Argument) -> Any:
        """Run one script; what it takes and answers is in the head of its file.

        Raises:
            BrokerUnavailable: Redis does not answer, or refuses; the script may have run all the same.
        """
        return await answered(self._scripts[name](args=args))


async def answered(call: Awaitable[Any]) -> Any:
    """What Redis answers. A command it refuses (out of memory, a key of a wrong type) is no different from no answer at all.

    Raises:
        BrokerUnavailable: there is no answer.
    """
    with refusals_translated("Redis refuses what the consumers ask"):
        return await call
