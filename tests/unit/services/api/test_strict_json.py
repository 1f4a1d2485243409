"""What is let through, every later layer can hold; what is not says what to change."""

from __future__ import annotations

import contextlib
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.models import InitiateBody
from services.api.strict_json import DEEPEST, decode
from services.kernel.errors import InvalidInput

COURSE = "00000000-0000-0000-0000-000000000021"


def body(rest: bytes = b"") -> bytes:
    """A good body with something added."""
    return b'{"courseId":"' + COURSE.encode() + b'"' + rest + b"}"


def nested(levels: int) -> bytes:
    """A member that many levels deep."""
    return b',"x":' + b"[" * levels + b"]" * levels


def test_a_good_body_is_read() -> None:
    """Names nobody knows are ignored, so that older servers bear newer clients."""
    read = decode(
        body(b',"title":"\xd0\x9a\xd1\x83\xd1\x80\xd1\x81","hasFiles":false,"unknown":[1,{"a":null}]'), InitiateBody
    )

    assert read == InitiateBody(course_id=UUID(COURSE), title="Курс", has_files=False)


HOSTILE = {
    "nothing": b"",
    "blanks": b"  \n",
    "no JSON": b"courseId=1",
    "cut off": body()[:-1],
    "two documents": body() + body(),
    "trailing comma": body(b","),
    "comment": body(b"/* x */"),
    "byte order mark": b"\xef\xbb\xbf" + body(),
    "UTF-16": body().decode().encode("utf-16"),
    "not UTF-8": body(b',"title":"\xff"'),
    "encoded surrogate": body(b',"title":"\xed\xa0\x80"'),
    "lone surrogate": body(b',"title":"\\ud800"'),
    "surrogate in a name": body(b',"\\udfff":1'),
    "NUL": body(b',"title":"a\\u0000b"'),
    "NUL in a name": body(b',"a\\u0000":1'),
    "raw NUL": body(b',"title":"a\x00b"'),
    "NaN": body(b',"x":NaN'),
    "Infinity": body(b',"x":-Infinity'),
    "2^63": body(b',"x":9223372036854775808'),
    "-2^63": body(b',"x":-9223372036854775808'),
    "5,000 digits": body(b',"x":' + b"9" * 5000),
    "1e200000": body(b',"x":1e200000'),
    "1e300": body(b',"x":1e300'),
    "33 levels": body(nested(DEEPEST)),
    "100,000 levels": body(nested(100_000)),
    "100,000 open": body(b',"x":' + b'{"a":' * 100_000),
    "a list": b"[" + body() + b"]",
    "a text": b'"x"',
    "null": b"null",
    "no courseId": b"{}",
    "courseId no UUID": b'{"courseId":"test-course-deployment-1"}',
    "courseId a number": b'{"courseId":21}',
    "courseId null": b'{"courseId":null}',
    "courseId a list": b'{"courseId":["' + COURSE.encode() + b'"]}',
    "title a number": body(b',"title":5'),
    "title empty": body(b',"title":""'),
    "title blank": body(b',"title":"  \\t"'),
    "title of two lines": body(b',"title":"a\\nb"'),
    "title too long": body(b',"title":"' + b"x" * 301 + b'"'),
    "hasFiles a text": body(b',"hasFiles":"true"'),
    "hasFiles a number": body(b',"hasFiles":1'),
    "style unknown": body(b',"style":"poetic"'),
    "language a name": body(b',"language":"Russian"'),
    "language of two lines": body(b',"language":"ru\\n"'),
    "key empty": body(b',"idempotencyKey":""'),
    "key too long": body(b',"idempotencyKey":"' + b"k" * 256 + b'"'),
    "webhook no address": body(b',"webhookUrl":"later"'),
    "webhook too long": body(b',"webhookUrl":"https://example.com/' + b"x" * 2048 + b'"'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused_with_a_sentence(name: str) -> None:
    """Never an error of a library, never a crash."""
    with pytest.raises(InvalidInput) as caught:
        decode(HOSTILE[name], InitiateBody)

    assert caught.value.message.endswith((".", ")")), caught.value.message


def test_the_field_is_named() -> None:
    """So that a program can show the message where it belongs."""
    cases = {
        b"{}": "courseId",
        b'{"courseId":"x"}': "courseId",
        body(b',"style":"x"'): "style",
        body(b',"hasFiles":1'): "hasFiles",
    }
    for text, field in cases.items():
        with pytest.raises(InvalidInput) as caught:
            decode(text, InitiateBody)
        assert caught.value.details["field"] == field


@pytest.mark.parametrize(
    ("field", "value"), [("title", b'"  "'), ("language", b'"english"'), ("webhookUrl", b'"ftp://example.com"')]
)
def test_a_pattern_is_told_in_words(field: str, value: bytes) -> None:
    """Nobody is shown a regular expression."""
    with pytest.raises(InvalidInput) as refused:
        decode(body(b',"' + field.encode() + b'":' + value), InitiateBody)

    assert field in refused.value.message
    assert "regex" not in refused.value.message


def test_the_limits_themselves_are_allowed() -> None:
    """One less than refused."""
    assert decode(body(nested(DEEPEST - 1)), InitiateBody)
    assert decode(body(b',"x":9223372036854775807,"title":"' + b"x" * 300 + b'"'), InitiateBody)
    assert decode(body(b',"webhookUrl":"https://hooks.example.com:8443/a?b=c"'), InitiateBody)
    assert decode(body(b',"title":null,"webhookUrl":null'), InitiateBody)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(text: bytes) -> None:
    """Every input is read or refused."""
    with contextlib.suppress(InvalidInput):
        assert decode(text, InitiateBody).course_id


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_no_document_makes_it_fail_otherwise(value: object) -> None:
    """The same for anything that looks like JSON."""
    try:
        text = msgspec.json.encode({"courseId": COURSE, "title": value})
    except (UnicodeEncodeError, OverflowError):
        return
    with contextlib.suppress(InvalidInput):
        assert decode(text, InitiateBody).course_id


@pytest.mark.parametrize("value", [b'""', b'"later"', b'"ftp://example.com"', b'"https://"'])
def test_a_malformed_webhook_address_is_explained_in_words(value: bytes) -> None:
    """Both schemes are named, for either may be allowed; nothing speaks of Python's types."""
    with pytest.raises(InvalidInput) as refused:
        decode(body(b',"webhookUrl":' + value), InitiateBody)

    assert "`https://`" in refused.value.message
    assert "`http://`" in refused.value.message
    assert "Expected" not in refused.value.message
