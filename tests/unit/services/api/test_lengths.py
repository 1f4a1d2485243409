"""Which contents the document store takes."""

from __future__ import annotations

import pytest

from services.api.conversations.lengths import LATE, Lengths


@pytest.mark.parametrize(("content", "is_long"), [("x" * 16_384, False), ("x" * 16_385, True), ("é" * 8193, True)])
def test_a_content_beyond_the_limit_is_long(content: str, is_long: bool) -> None:
    """In bytes; whatever came before."""
    assert Lengths(longest=16_384, average=2048).is_long(content) == is_long


def test_contents_above_the_average_are_long_while_the_average_is_above_it() -> None:
    """Of 3 KB, after some hundred; short ones never; not any more once short ones have come for a while."""
    lengths = Lengths(longest=16_384, average=2048)
    judged = [lengths.is_long("x" * 3000) for _ in range(4 * LATE)]

    assert not any(judged[: LATE // 2])
    assert all(judged[2 * LATE :])
    assert not lengths.is_long("x" * 2048)
    assert lengths.is_long("x" * 2049)
    assert not any(lengths.is_long("Hello") for _ in range(4 * LATE))
    assert not lengths.is_long("x" * 3000)


def test_a_single_content_of_a_mebibyte_makes_no_other_long() -> None:
    """It counts as the longest that is kept."""
    lengths = Lengths(longest=16_384, average=2048)
    lengths.is_long("x" * 1024 * 1024)

    assert not lengths.is_long("x" * 3000)


def test_no_average_is_no_limit() -> None:
    """However many."""
    lengths = Lengths(longest=16_384, average=0)

    assert not any(lengths.is_long("x" * 16_000) for _ in range(4 * LATE))
