"""Who was in a statement that failed is tried alone, after all others, and nobody overtakes him in his conversation."""

from __future__ import annotations

from services.persistence_worker.doubts import Doubts
from tests.unit.services.persistence_worker.items import item

A = [item("a", number) for number in range(3)]
B = [item("b", 10 + number) for number in range(3)]


def test_nobody_is_doubted_at_first() -> None:
    """All go together."""
    assert Doubts().split([*A, *B]) == ([*A, *B], [])


def test_the_conversation_of_who_is_doubted_goes_last_and_in_order() -> None:
    """Until he has got through."""
    doubts = Doubts()
    doubts.add([A[1]])

    assert doubts.split([A[0], B[0], A[1], B[1], A[2]]) == ([B[0], B[1]], A)
    doubts.got_through([A[0], B[0]])
    assert doubts.split(A) == ([], A)
    doubts.got_through([A[1]])
    assert doubts.split(A) == (A, [])


def test_doubts_of_long_ago_are_forgotten() -> None:
    """Who was doubted before two thousand others was buried, or is another worker's."""
    doubts = Doubts()
    doubts.add([A[0]])
    doubts.add(item("c", number) for number in range(100, 2100))

    assert doubts.split(A) == (A, [])
