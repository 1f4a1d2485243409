"""Who a message is."""

from __future__ import annotations

import re
from base64 import b32encode

from hypothesis import given
from hypothesis import strategies as st

from services.kernel.messages.identity import ID_PATTERN, content_digest, idempotency_key, message_id

_TEXT = st.text(max_size=12)
_TRIPLE = st.tuples(_TEXT, _TEXT, _TEXT)


def test_a_key_and_its_id_never_change() -> None:
    """Another release must find the messages of this one."""
    key = idempotency_key("alice", "course-1", "m-1")

    assert key == "357b43df141f1a2b9013127fe8052968be7360801ff348a689f20c49536a1c69"
    assert message_id(key) == "msg_gv5uhxyud4ncxeatcj76qbjjnc"


@given(_TRIPLE, _TRIPLE)
def test_only_the_same_three_make_the_same_key(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """However the parts are cut: `a`, `bc` is not `ab`, `c`."""
    assert (idempotency_key(*one) == idempotency_key(*other)) == (one == other)


def test_parts_do_not_run_into_each_other() -> None:
    """A part that looks like the beginning of the next one does not shift it."""
    assert idempotency_key("a", "b", "1:c") != idempotency_key("a", "b1:c", "")
    assert idempotency_key("a1:b", "", "c") != idempotency_key("a", "b", "c")


@given(_TRIPLE)
def test_an_id_looks_as_described(parts: tuple[str, str, str]) -> None:
    """Whatever the key was made of."""
    key = idempotency_key(*parts)

    assert re.fullmatch(ID_PATTERN, message_id(key))
    assert message_id(key) == "msg_" + b32encode(bytes.fromhex(key))[:26].decode().lower()


def test_the_digest_tells_contents_apart() -> None:
    """Content, type and recipients count; the order of the recipients does not."""
    digest = content_digest("hello", "text", ("a", "b"))

    assert digest == content_digest("hello", "text", ("b", "a"))
    others = [("hello!", "text", ("a", "b")), ("hello", "markdown", ("a", "b")), ("hello", "text", ("a",))]
    assert digest not in {content_digest(*each) for each in others}
