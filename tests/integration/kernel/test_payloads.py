"""Long contents of messages: one behaviour, whether they lie in PostgreSQL or in an S3-compatible store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.kernel.database import Database
from services.kernel.errors import UpstreamUnavailable
from services.kernel.messages.payloads import Payloads, open_payloads, payload_key
from services.kernel.objects import ObjectStoreSettings
from tests.integration.kernel.test_objects import bucket_of, s3_endpoint, s3_settings

__all__ = ("s3_endpoint",)

_KEY = payload_key("msg_a", "d1")
_TEXT = 'Пчёлы 🐝 "делают"\r\nмёд' * 5000


@pytest.fixture(params=["postgres", "s3"])
def payloads(request: pytest.FixtureRequest, db: Database) -> Payloads:
    """Each kind in turn."""
    if request.param == "postgres":
        return open_payloads(db, ObjectStoreSettings())
    return open_payloads(db, s3_settings(request.getfixturevalue("s3_endpoint")))


async def test_a_content_comes_back_as_it_was(payloads: Payloads) -> None:
    """Also when it was put twice; one that was never put is left out."""
    for _ in range(2):
        await payloads.put({_KEY: _TEXT})
    await payloads.put({"msg_b/d2": "other", _KEY: _TEXT})
    keys = [_KEY, "msg_b/d2", "msg_c/d3"]

    assert await payloads.get(keys) == {_KEY: _TEXT, "msg_b/d2": "other"}
    assert await payloads.present(keys) == {_KEY, "msg_b/d2"}


async def test_the_same_contents_are_put_by_many_at_once(payloads: Payloads) -> None:
    """Whatever the order in which each has them: nobody waits for the other in a circle."""
    contents = {f"msg_{number}/d": str(number) for number in range(100)}
    backwards = dict(reversed(contents.items()))
    await asyncio.gather(*(payloads.put(each) for each in [contents, backwards] * 5))

    assert await payloads.get(list(contents)) == contents


async def test_another_content_of_the_same_message_has_a_place_of_its_own(payloads: Payloads) -> None:
    """So the first stands."""
    await payloads.put({_KEY: "first"})
    await payloads.put({payload_key("msg_a", "d2"): "second"})

    assert await payloads.get([_KEY]) == {_KEY: "first"}


async def test_messages_and_documents_share_a_bucket(db: Database, s3_endpoint: Any) -> None:
    """In folders of their own."""
    await open_payloads(db, s3_settings(s3_endpoint)).put({"msg_z/d": "text"})
    listed = bucket_of(s3_endpoint).list_objects_v2(Bucket="documents", Prefix="a/prefix/messages/msg_z/")

    assert [each["Key"] for each in listed["Contents"]] == ["a/prefix/messages/msg_z/d"]


async def test_a_store_that_is_away_is_said_so(db: Database) -> None:
    """As an error of ours: the ingress goes on without."""
    payloads = open_payloads(db, s3_settings("http://127.0.0.1:1"))

    with pytest.raises(UpstreamUnavailable):
        await payloads.put({_KEY: "text"})
