"""Packed commands are what redis-py would send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.connection import PythonRespSerializer

from services.kernel.queue.wire import pack

words = st.binary(max_size=40)


@given(st.lists(words, max_size=5), st.lists(st.tuples(words, words), max_size=5))
def test_a_packed_command_is_the_one_redis_py_packs(head: list[bytes], pairs: list[tuple[bytes, bytes]]) -> None:
    """Byte for byte, whatever the arguments hold."""
    head = [b"EVALSHA", *head]
    arguments = [*head, *(each for pair in pairs for each in pair)]
    serializer = PythonRespSerializer(6000, lambda value: value)

    assert pack(head, pairs, len(pairs)) == b"".join(serializer.pack(*arguments))
