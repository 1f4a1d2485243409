"""The document store's parts that need no server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.kernel.errors import NotFound, SettingsInvalid, UpstreamUnavailable
from services.kernel.objects import ObjectStoreSettings, _rechunked, s3_translated
from services.kernel.settings import load


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    """Content in pieces of these sizes."""
    for number, size in enumerate(sizes):
        yield bytes([number]) * size


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (10,), (25,), (3, 3, 3, 3), (10, 10), (9, 1, 11)])
async def test_content_is_cut_into_chunks_of_one_size(sizes: tuple[int, ...]) -> None:
    """All but the last are full; nothing is lost or reordered."""
    whole = b"".join([piece async for piece in pieces(*sizes)])
    chunks = [chunk async for chunk in _rechunked(pieces(*sizes), 10)]

    assert b"".join(chunks) == whole
    assert all(len(chunk) == 10 for chunk in chunks[:-1])


@pytest.mark.parametrize("address", ["postgres", "s3://bucket", "s3://bucket/a/prefix"])
def test_a_store_has_an_address(address: str) -> None:
    """PostgreSQL, or a bucket."""
    assert load(ObjectStoreSettings, {"OBJECT_STORE": address}).object_store == address


@pytest.mark.parametrize("address", ["s3://", "s3:bucket", "file:///tmp", "bucket"])
def test_another_address_is_refused(address: str) -> None:
    """At start."""
    with pytest.raises(SettingsInvalid, match="OBJECT_STORE"):
        load(ObjectStoreSettings, {"OBJECT_STORE": address})


@pytest.mark.parametrize(
    ("foreign", "ours"), [(FileNotFoundError(), NotFound), (OSError("reset"), UpstreamUnavailable)]
)
def test_errors_of_the_store_become_ours(foreign: Exception, ours: type[Exception]) -> None:
    """Gone, or away."""
    with pytest.raises(ours), s3_translated():
        raise foreign
