"""The slots' Lua scripts: read once, run by their hash, loaded again by themselves when Redis has forgotten them."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX: Final = "concurrency:"
"""Before every key."""

COUNTER_SECONDS: Final = 3600
"""How long a user's counter lives without being touched (contract.md e)."""

_NAMES: Final = ("claim", "clock", "due", "rebuild", "release", "reserve", "settle", "view")


class Scripts:
    """Runs the scripts on one Redis; each is atomic there."""

    def __init__(self, redis: Redis) -> None:
        folder = resources.files("services.kernel.concurrency") / "lua"
        prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
        self._scripts: dict[str, Any] = {
            name: redis.register_script(f"{prelude}\n{(folder / f'{name}.lua').read_text(encoding='utf-8')}")
            for name in _NAMES
        }

    async def run(self, name: str, *args: str | int) -> Any:
        """Run one script; what it takes and answers is in the head of its file.

        Raises:
            BrokerUnavailable: Redis does not answer, or a key was damaged by hand; the script may have run all the same.
        """
        with refusals_translated("Redis refuses to count"):  # PostgreSQL counts until a rebuild has mended it
            return await self._scripts[name](keys=(PREFIX,), args=(COUNTER_SECONDS, *args))
