"""The document store: one behaviour, whether bytes lie in PostgreSQL or in an S3-compatible store."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from services.kernel.database import Database
from services.kernel.errors import NotFound, UpstreamUnavailable
from services.kernel.objects import ABANDONED_AFTER, DocumentStore, ObjectStoreSettings, open_store
from services.kernel.settings import Secret
from tests.support.courses import add_course

SIZES = (0, 1, 256 * 1024, 256 * 1024 + 1, 1_000_000, 11_000_003)
"""Around the edges of chunks, ranges and parts."""

Open = Callable[[Database], DocumentStore]


def s3_settings(endpoint: str) -> ObjectStoreSettings:
    """A bucket on a server of the tests."""
    return ObjectStoreSettings(
        object_store="s3://documents/a/prefix",
        object_store_endpoint=endpoint,
        object_store_access_key=Secret("key"),
        object_store_secret_key=Secret("secret"),
    )


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """An S3-compatible server with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    bucket_of(endpoint, create=True)
    yield endpoint
    server.stop()


def bucket_of(endpoint: str, *, create: bool = False) -> Any:
    """A client of the tests' own."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    if create:
        client.create_bucket(Bucket="documents")
    return client


@pytest.fixture(params=["postgres", "s3"])
def store(request: pytest.FixtureRequest, db: Database) -> DocumentStore:
    """Each kind in turn."""
    if request.param == "postgres":
        return open_store(db, ObjectStoreSettings())
    return open_store(db, s3_settings(request.getfixturevalue("s3_endpoint")))


async def content(size: int, piece: int = 100_000) -> AsyncIterator[bytes]:
    """Bytes that are not all the same, in pieces."""
    whole = bytes(range(251)) * (size // 251 + 1)
    for at in range(0, size, piece):
        yield whole[at : min(at + piece, size)]


async def whole(store: DocumentStore, key: Any) -> bytes:
    """An object read to its end."""
    return b"".join([piece async for piece in store.read(key)])


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_written_can_be_read(store: DocumentStore, db: Database, size: int) -> None:
    """To the byte, with its size and checksum."""
    stored = await store.write(await add_course(db), content(size))
    read = await whole(store, stored.object_key)

    assert read == b"".join([piece async for piece in content(size)])
    assert (stored.size_bytes, stored.sha256) == (size, hashlib.sha256(read).hexdigest())


async def test_what_is_removed_is_gone(store: DocumentStore, db: Database) -> None:
    """And removing it again, or nothing, does no harm."""
    stored = await store.write(await add_course(db), content(300_000))
    for _ in range(2):
        await store.remove([stored.object_key, uuid4()])
    await store.remove([])

    with pytest.raises(NotFound):
        await whole(store, stored.object_key)
    assert await db.fetchval("SELECT count(*) FROM stored_objects") == 0
    assert await db.fetchval("SELECT count(*) FROM stored_object_chunks") == 0


async def test_what_breaks_off_is_nothing(store: DocumentStore, db: Database) -> None:
    """Neither bytes nor a row stay, and the error arrives as it was."""

    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * 600_000
        raise ConnectionResetError("the client went away")

    with pytest.raises((ConnectionResetError, UpstreamUnavailable)):
        await store.write(await add_course(db), breaking())

    assert await db.fetchval("SELECT count(*) FROM stored_objects") == 0


async def test_an_incomplete_object_is_not_there(store: DocumentStore, db: Database) -> None:
    """Nobody reads half a document."""
    key = await db.fetchval("INSERT INTO stored_objects (object_key) VALUES (gen_random_uuid()) RETURNING object_key")

    for unknown in (key, uuid4()):
        with pytest.raises(NotFound):
            await whole(store, unknown)


async def test_the_sweep_removes_what_no_document_names(store: DocumentStore, db: Database) -> None:
    """After a while; at once when its course is gone."""
    course_id = await add_course(db)
    old, young, orphan = [await store.write(course_id, content(1000)) for _ in range(3)]
    await db.execute(
        "UPDATE stored_objects SET created_at = now() - $2::interval WHERE object_key = $1",
        old.object_key,
        2 * ABANDONED_AFTER,
    )
    await db.execute("UPDATE stored_objects SET course_id = NULL WHERE object_key = $1", orphan.object_key)

    assert await store.sweep() == 2
    assert await whole(store, young.object_key)
    for gone in (old, orphan):
        with pytest.raises(NotFound):
            await whole(store, gone.object_key)


async def test_s3_objects_lie_under_the_prefix(db: Database, s3_endpoint: str) -> None:
    """And go from there when they are removed."""
    store = open_store(db, s3_settings(s3_endpoint))
    stored = await store.write(await add_course(db), content(1000))
    name = f"a/prefix/{stored.object_key}"
    client = bucket_of(s3_endpoint)
    before = [each["Key"] for each in client.list_objects_v2(Bucket="documents").get("Contents", [])]
    await store.remove([stored.object_key])
    after = [each["Key"] for each in client.list_objects_v2(Bucket="documents").get("Contents", [])]

    assert name in before
    assert name not in after


async def test_an_object_that_s3_has_lost_is_not_found(db: Database, s3_endpoint: str) -> None:
    """The register says one thing, the bucket another: the reader gets a clear error."""
    store = open_store(db, s3_settings(s3_endpoint))
    stored = await store.write(await add_course(db), content(1000))
    bucket_of(s3_endpoint).delete_object(Bucket="documents", Key=f"a/prefix/{stored.object_key}")

    with pytest.raises(NotFound):
        await whole(store, stored.object_key)


async def test_a_store_that_is_away_is_unavailable(db: Database) -> None:
    """Retryable, and nothing stays registered."""
    store = open_store(db, s3_settings("http://127.0.0.1:9"))
    with pytest.raises(UpstreamUnavailable):
        await store.write(await add_course(db), content(10))

    assert await db.fetchval("SELECT count(*) FROM stored_objects WHERE completed_at IS NOT NULL") == 0
