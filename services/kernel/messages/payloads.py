"""Long contents, beside the stream: in the document store, under a key that the envelope and the row carry.

Promises: a content is stored before its message is accepted, under the message's id and its own digest, so that the same
content is stored once and another one of the same message never takes its place. What was stored for a message that was then
not accepted stays: its repeat needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from services.kernel.database import Database
from services.kernel.errors import NotFound
from services.kernel.objects import ObjectStoreSettings, s3_store, s3_translated
from services.kernel.queries import Queries

if TYPE_CHECKING:
    from obstore.store import ObjectStore

S3_FOLDER: Final = "messages/"
"""Before every key, so that documents and messages can be told apart in one bucket."""

_AT_ONCE = 8
_QUERIES = Queries.load("services.kernel.messages", "messages.sql")


class Payloads(Protocol):
    """Where long contents lie."""

    async def put(self, contents: Mapping[str, str]) -> None:
        """Store contents by their keys, all at the same time; the same key always comes with the same content.

        Raises:
            DatabaseUnavailable, UpstreamUnavailable: the store does not answer; some may be there.
        """

    async def present(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that have a content.

        Raises:
            DatabaseUnavailable, UpstreamUnavailable: the store does not answer.
        """

    async def get(self, keys: Sequence[str]) -> Mapping[str, str]:
        """The contents of these keys; one that is gone is left out."""


def payload_key(message_id: str, digest: str) -> str:
    """Where the content with this digest of a message lies."""
    return f"{message_id}/{digest}"


class PostgresPayloads:
    """Contents as rows of `message_payloads`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, contents: Mapping[str, str]) -> None:
        """As `Payloads.put`."""
        await self._db.execute(_QUERIES["put_payloads"], list(contents), list(contents.values()))

    async def present(self, keys: Sequence[str]) -> set[str]:
        """As `Payloads.present`."""
        return {row["payloadkey"] for row in await self._db.fetch(_QUERIES["present_payloads"], list(keys))}

    async def get(self, keys: Sequence[str]) -> Mapping[str, str]:
        """As `Payloads.get`."""
        rows = await self._db.fetch(_QUERIES["payloads"], list(keys))
        return {row["payloadkey"]: row["content"] for row in rows}


class S3Payloads:
    """Contents in an S3-compatible store, one object each."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, contents: Mapping[str, str]) -> None:
        """As `Payloads.put`."""
        import obstore

        with s3_translated():
            await asyncio.gather(
                *(obstore.put_async(self._store, S3_FOLDER + key, text.encode()) for key, text in contents.items())
            )

    async def present(self, keys: Sequence[str]) -> set[str]:
        """As `Payloads.present`."""
        found = await asyncio.gather(*(self._has(key) for key in keys))
        return {key for key, is_there in zip(keys, found, strict=True) if is_there}

    async def _has(self, key: str) -> bool:
        import obstore

        try:
            with s3_translated():
                await obstore.head_async(self._store, S3_FOLDER + key)
        except NotFound:
            return False
        return True

    async def get(self, keys: Sequence[str]) -> Mapping[str, str]:
        """As `Payloads.get`."""
        turn = asyncio.Semaphore(_AT_ONCE)
        contents = await asyncio.gather(*(self._get(key, turn) for key in keys))
        return {key: content for key, content in zip(keys, contents, strict=True) if content is not None}

    async def _get(self, key: str, turn: asyncio.Semaphore) -> str | None:
        import obstore

        async with turn:
            try:
                with s3_translated():
                    found = await obstore.get_async(self._store, S3_FOLDER + key)
                    return bytes(await found.bytes_async()).decode()
            except NotFound:
                return None


def open_payloads(db: Database, settings: ObjectStoreSettings) -> Payloads:
    """The store that the settings name. Nothing is opened before it is used."""
    if settings.object_store == "postgres":
        return PostgresPayloads(db)
    return S3Payloads(s3_store(settings))
