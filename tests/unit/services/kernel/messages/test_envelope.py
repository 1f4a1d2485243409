"""What travels through the stream."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import orjson
import pytest

from services.kernel.messages.envelope import (
    Envelope,
    LaterVersion,
    Undecodable,
    accepted_at,
    decode,
    encode,
    first_accepted,
)

_ENVELOPE = Envelope(
    id="msg_a",
    key="00",
    conversation_id="c",
    sender_id="s",
    content="héllo",
    content_type="text",
    client_message_id="m",
    recipient_ids=("a", "b"),
    correlation_id="r",
    digest="d",
)
_DOCUMENT = orjson.loads(encode(_ENVELOPE))


def _changed(**changes: object) -> bytes:
    return orjson.dumps({name: value for name, value in (_DOCUMENT | changes).items() if value is not ...})


def test_it_comes_out_as_it_went_in() -> None:
    """Every field."""
    assert decode(encode(_ENVELOPE)) == _ENVELOPE


def test_people_can_read_it() -> None:
    """Names as in the request, no escapes where none are needed."""
    assert b'"conversationId":"c"' in encode(_ENVELOPE)
    assert '"content":"héllo"'.encode() in encode(_ENVELOPE)


def test_a_long_content_may_lie_elsewhere() -> None:
    """Then the envelope says where."""
    envelope = msgspec.structs.replace(_ENVELOPE, content=None, payload_key="msg_a/d")

    assert decode(encode(envelope)) == envelope


def test_names_nobody_knows_are_ignored() -> None:
    """A newer writer of the same version may add some."""
    assert decode(_changed(mood="good")) == _ENVELOPE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        encode(_ENVELOPE)[:-5],
        encode(_ENVELOPE).replace("é".encode(), b"\xe9"),
        encode(_ENVELOPE).replace("é".encode(), b"\\ud800"),
        encode(_ENVELOPE).replace("é".encode(), b"\\u0000"),
        encode(_ENVELOPE).replace(b'["a","b"]', b'["a","\\u0000"]'),
        _changed(v=0),
        _changed(v="2"),
        _changed(content=None),
        _changed(content=5),
        _changed(id=...),
        _changed(digest=...),
        _changed(recipientIds="a"),
    ],
)
def test_what_is_no_envelope_is_refused_by_name(body: bytes) -> None:
    """One kind of error for whatever somebody may have put into a stream."""
    with pytest.raises(Undecodable) as refused:
        decode(body)

    assert refused.value.message


def test_a_written_escape_is_no_nul() -> None:
    """The six characters of the escape themselves are text like any other."""
    envelope = msgspec.structs.replace(_ENVELOPE, content="\\u0000")

    assert decode(encode(envelope)) == envelope


def test_the_entrys_id_says_when_it_was_accepted() -> None:
    """To the millisecond, in UTC."""
    assert accepted_at("1764350000123-7") == datetime(2025, 11, 28, 17, 13, 20, 123000, UTC)


@pytest.mark.parametrize(
    "said", [None, b"", b"a,b", b"1-", b"-1", b"1-1\n", b"1" * 15 + b"-1", b"1-" + b"9" * 40, b"\xff-1"]
)
def test_a_first_id_that_is_none_is_not_believed(said: bytes | None) -> None:
    """Somebody may have written it by hand; the entry has an id of its own."""
    assert first_accepted(said, "5-0") == "5-0"
    assert first_accepted(b"1763000000000-3", "5-0") == "1763000000000-3"


@pytest.mark.parametrize("changes", [{}, {"content": 5}, {"id": ...}, {"mood": "good"}])
def test_a_later_version_is_for_a_later_release(changes: dict[str, object]) -> None:
    """Also when it looks like nothing that this one knows."""
    with pytest.raises(LaterVersion, match="version 2"):
        decode(_changed(v=2, **changes))
