"""The document store: uploaded bytes behind one interface, in PostgreSQL or in any S3-compatible store.

Promises: content streams in and out, at most one part of it in memory (256 KiB with PostgreSQL, 5 MiB with S3); an object
is visible only when it is complete; whatever breaks off leaves a row in `stored_objects` that `sweep` finds and removes,
in either store. The rows are the register, so nothing is ever looked for by listing a bucket. (S3 keeps the parts of an
upload that a killed process left behind: give the bucket a rule that aborts incomplete multipart uploads.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from services.kernel.database import Database
from services.kernel.errors import NotFound, UpstreamUnavailable
from services.kernel.queries import Queries
from services.kernel.settings import Secret, setting

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CHUNK_BYTES: Final = 256 * 1024
"""Size of a row's content in PostgreSQL."""

ABANDONED_AFTER: Final = timedelta(hours=2)
"""Age at which an object that no document names is taken for abandoned: longer than the slowest upload allowed."""

_PART_BYTES = 5 * 1024 * 1024
_RANGE_BYTES = 1024 * 1024
_SWEEP_BATCH = 100
_QUERIES = Queries.load("services.kernel", "objects.sql")


def _store_address(text: str) -> str:
    parts = urlsplit(text)
    if text != "postgres" and not (parts.scheme == "s3" and parts.netloc):
        raise ValueError(f"must be postgres or s3://bucket/prefix, not {text!r}")
    return text


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectStoreSettings:
    """Where uploaded documents are kept. The api and the stage workers must be told the same."""

    object_store: str = setting(
        "OBJECT_STORE",
        default="postgres",
        parse=_store_address,
        doc="postgres keeps documents in the database; s3://bucket/prefix in an S3-compatible store",
    )
    object_store_endpoint: str | None = setting(
        "OBJECT_STORE_ENDPOINT", default=None, doc="address of the S3-compatible store; AWS itself when absent"
    )
    object_store_region: str = setting("OBJECT_STORE_REGION", default="us-east-1", doc="region of the bucket")
    object_store_access_key: Secret | None = setting(
        "OBJECT_STORE_ACCESS_KEY_ID", default=None, parse=Secret, doc="key id; the machine's own role when absent"
    )
    object_store_secret_key: Secret | None = setting(
        "OBJECT_STORE_SECRET_ACCESS_KEY", default=None, parse=Secret, doc="the key that belongs to the key id"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StoredObject:
    """A complete object."""

    object_key: UUID
    size_bytes: int
    sha256: str


class Shelf(Protocol):
    """The place where bytes lie; knows nothing of courses."""

    async def put(self, object_key: UUID, content: AsyncIterator[bytes]) -> None: ...  # noqa: D102
    def get(self, object_key: UUID, size_bytes: int) -> AsyncIterator[bytes]: ...  # noqa: D102
    async def drop(self, object_keys: Sequence[UUID]) -> None: ...  # noqa: D102


class DocumentStore:
    """Writes, reads and removes objects. Safe for concurrent use."""

    def __init__(self, db: Database, shelf: Shelf) -> None:
        self._db = db
        self._shelf = shelf

    async def write(self, course_id: UUID, content: AsyncIterable[bytes]) -> StoredObject:
        """Store `content` for a course; on any error nothing of it stays.

        Raises:
            DatabaseUnavailable, UpstreamUnavailable: the store does not answer; send the content again.
        """
        object_key = uuid4()
        await self._db.execute(_QUERIES["begin_object"], object_key, course_id)
        measured = _Measured(content)
        try:
            await self._shelf.put(object_key, aiter(measured))
            await self._db.execute(
                _QUERIES["complete_object"], object_key, measured.size_bytes, measured.digest.hexdigest()
            )
        except BaseException:
            await self._try_remove(object_key)
            raise
        return StoredObject(object_key, measured.size_bytes, measured.digest.hexdigest())

    async def read(self, object_key: UUID) -> AsyncIterator[bytes]:
        """The content of a complete object, piece by piece.

        Raises:
            NotFound: there is no such object, or it is not complete.
        """
        size_bytes = await self._db.fetchval(_QUERIES["find_object"], object_key)
        if size_bytes is None:
            raise NotFound("The stored document is gone; upload it again.", objectKey=str(object_key))
        async for piece in self._shelf.get(object_key, size_bytes):
            yield piece

    async def remove(self, object_keys: Sequence[UUID]) -> None:
        """Remove objects and their rows; keys that are not there are ignored."""
        if object_keys:
            await self._shelf.drop(object_keys)
            await self._db.execute(_QUERIES["forget_objects"], list(object_keys))

    async def sweep(self, *, now: datetime | None = None) -> int:
        """Remove what broken uploads and deleted courses left behind; returns how many objects."""
        before = (now or datetime.now(UTC)) - ABANDONED_AFTER
        removed = 0
        while True:
            rows = await self._db.fetch(_QUERIES["abandoned_objects"], before, _SWEEP_BATCH)
            await self.remove([row["object_key"] for row in rows])
            removed += len(rows)
            if len(rows) < _SWEEP_BATCH:
                return removed

    async def _try_remove(self, object_key: UUID) -> None:
        with contextlib.suppress(Exception):  # the first error matters; the sweep finds what is left
            await self.remove([object_key])


class _Measured:
    """Content on its way, counted and hashed."""

    def __init__(self, content: AsyncIterable[bytes]) -> None:
        self._content = content
        self.size_bytes = 0
        self.digest = hashlib.sha256()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._content:
            self.size_bytes += len(piece)
            self.digest.update(piece)
            yield piece


class PostgresShelf:
    """Bytes as rows of `stored_object_chunks`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, object_key: UUID, content: AsyncIterator[bytes]) -> None:
        """Write each piece in its own short transaction; nobody sees them before the object is complete."""
        index = 0
        async for chunk in _rechunked(content, CHUNK_BYTES):
            await self._db.execute(_QUERIES["write_chunk"], object_key, index, chunk)
            index += 1

    async def get(self, object_key: UUID, size_bytes: int) -> AsyncIterator[bytes]:
        """Read piece by piece.

        Raises:
            NotFound: when a piece is gone, because the object was removed meanwhile.
        """
        for index in range(-(-size_bytes // CHUNK_BYTES)):
            chunk = await self._db.fetchval(_QUERIES["read_chunk"], object_key, index)
            if chunk is None:
                raise NotFound("The stored document was removed while it was read.", objectKey=str(object_key))
            yield chunk

    async def drop(self, object_keys: Sequence[UUID]) -> None:
        """Nothing to do: the rows go with the register's (ON DELETE CASCADE)."""


class S3Shelf:
    """Bytes in an S3-compatible store, one object each."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, object_key: UUID, content: AsyncIterator[bytes]) -> None:
        """Upload in parts of 5 MiB, one at a time, so that memory stays bounded."""
        import obstore

        with s3_translated():
            await obstore.put_async(
                self._store,
                str(object_key),
                _rechunked(content, _RANGE_BYTES),
                chunk_size=_PART_BYTES,
                max_concurrency=1,
            )

    async def get(self, object_key: UUID, size_bytes: int) -> AsyncIterator[bytes]:
        """Read by ranges of 1 MiB: a slow reader holds no connection open."""
        import obstore

        for start in range(0, size_bytes, _RANGE_BYTES):
            length = min(_RANGE_BYTES, size_bytes - start)
            with s3_translated():
                piece = await obstore.get_range_async(self._store, str(object_key), start=start, length=length)
            yield bytes(piece)

    async def drop(self, object_keys: Sequence[UUID]) -> None:
        """Delete the objects; S3 does not mind those that are gone."""
        import obstore

        for object_key in object_keys:
            with s3_translated():
                await obstore.delete_async(self._store, str(object_key))


@contextlib.contextmanager
def s3_translated() -> Iterator[None]:
    """Let the store's errors leave the block as ours."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("The stored document is gone; upload it again.") from error
    except (exceptions.BaseError, OSError) as error:
        raise UpstreamUnavailable(f"The document store does not answer ({type(error).__name__})") from error


async def _rechunked(content: AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    held = bytearray()
    async for piece in content:
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


def open_store(db: Database, settings: ObjectStoreSettings) -> DocumentStore:
    """The store that the settings name. Nothing is opened before it is used."""
    if settings.object_store == "postgres":
        return DocumentStore(db, PostgresShelf(db))
    return DocumentStore(db, S3Shelf(s3_store(settings)))


def s3_store(settings: ObjectStoreSettings) -> ObjectStore:
    """The bucket that the settings name."""
    from obstore.store import S3Store

    address = urlsplit(settings.object_store)
    options: dict[str, Any] = {"region": settings.object_store_region}
    if settings.object_store_endpoint:
        options["endpoint"] = settings.object_store_endpoint
    if settings.object_store_access_key and settings.object_store_secret_key:
        options["access_key_id"] = settings.object_store_access_key.reveal()
        options["secret_access_key"] = settings.object_store_secret_key.reveal()
    plain = (settings.object_store_endpoint or "").startswith("http://")
    return S3Store(
        address.netloc,
        prefix=address.path.strip("/") or None,
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
        client_options={"allow_http": plain, "timeout": "60s", "connect_timeout": "5s"},
        **options,
    )
