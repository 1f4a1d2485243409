"""What PostgreSQL crashes of is found among what was in hand, and nobody is condemned for being there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.persistence_worker.items import Item
from services.persistence_worker.suspects import CRASHES, Suspects
from tests.unit.services.persistence_worker.items import item


def _tried(suspects: Suspects, items: Sequence[Item], crashes: Callable[[Sequence[Item]], bool]) -> list[int]:
    """Try the items once, as the persister does; the sizes of the statements up to the one that crashed."""
    sizes = []
    condemned = suspects.condemned(items)
    rest = [each for each in items if each not in condemned]
    for part in suspects.parts(rest):
        sizes.append(len(part))
        if crashes(part):
            suspects.broke_off(part, has_answered=suspects.is_any)
            break
        suspects.got_through(part)
    return sizes


def test_the_one_that_crashes_it_is_found_by_halves() -> None:
    """Of a hundred in seven crashes, and then it is tried alone three times; the others are through."""
    items = [item("talk", n) for n in range(100)]
    suspects, crashes = Suspects(), 0
    while not suspects.condemned(items):
        _tried(suspects, items, lambda part: items[37] in part)
        crashes += 1
        assert crashes < 20

    assert crashes <= 7 + CRASHES
    assert suspects.condemned(items) == [items[37]]
    assert _tried(suspects, items, lambda part: items[37] in part) == [99]


def test_two_that_crash_it_are_both_found() -> None:
    """One after the other."""
    items = [item("talk", n) for n in range(20)]
    bad = [items[3], items[17]]
    suspects = Suspects()
    for _ in range(40):
        _tried(suspects, items, lambda part: any(each in part for each in bad))

    assert suspects.condemned(items) == bad


def test_who_was_in_hand_by_chance_gets_through() -> None:
    """A server that is killed again and again, with everybody getting through between: nobody is condemned."""
    items = [item("talk", n) for n in range(3)]
    suspects = Suspects()
    for _ in range(10):
        _tried(suspects, items, lambda _: True)
        _tried(suspects, items, lambda _: False)

    assert suspects.condemned(items) == []
    assert _tried(suspects, items, lambda _: False) == [3]


def test_a_line_that_is_dead_already_condemns_nobody() -> None:
    """Only a server that has answered a moment before can have crashed of it."""
    suspects, only = Suspects(), item("talk", 1)
    for _ in range(10):
        suspects.broke_off([only], has_answered=False)

    assert suspects.condemned([only]) == []


def test_suspicion_ends_when_the_suspected_do_not_come_back() -> None:
    """Their partition may be another worker's; what comes instead is not tried one by one."""
    suspects = Suspects()
    suspects.broke_off([item("talk", 1), item("talk", 2)], has_answered=False)

    assert list(suspects.parts([])) == []
    assert suspects.is_any
    others = [item("talk", 3), item("talk", 4), item("talk", 5)]
    assert list(suspects.parts(others)) == [others]
    assert not suspects.is_any
