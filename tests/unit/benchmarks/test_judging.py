"""The verdicts of the sustained load: what grows is seen to grow, and a broken promise is not overlooked."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.sustained.judging import (
    broken_promises,
    drained_after,
    finished_once,
    growth,
    peaks,
    second_half,
    slope,
)
from benchmarks.sustained.traffic import KINDS, STYLES, TIERS, wishes
from tests.support.ledger import Answer, Arrival, Attempt, Call, Course, Effect, Evidence, OutboxRow

_UNTIL = 1800.0


def _looks(megabytes_an_hour: float, *, noise: float = 0.0, start: float = 100.0) -> list[tuple[float, float]]:
    chance = random.Random(7)
    return [(at, start + megabytes_an_hour * at / 3600 + chance.uniform(-noise, noise)) for at in range(0, 1800, 5)]


def test_the_slope_is_that_of_the_line() -> None:
    """Also through points that lie beside it; one place has none."""
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 0), (0, 2), (2, 4), (2, 6)]) == pytest.approx(2)
    assert [slope([]), slope([(1, 1)]), slope([(1, 1), (1, 5)])] == [0, 0, 0]


def test_only_the_second_half_counts() -> None:
    """What a process takes while it warms up is no growth, and neither is what comes after the load."""
    warming = [(at, 50.0 + min(at, 600) / 10) for at in range(0, 1800, 5)] + [(1900.0, 500.0)]

    assert second_half([(899, 1), (900, 2), (1800, 3), (1801, 4)], _UNTIL) == [(900, 2), (1800, 3)]
    assert growth("api", warming, _UNTIL).rise == pytest.approx(0)
    assert growth("api", warming, _UNTIL).is_flat


@pytest.mark.parametrize(("an_hour", "flat"), [(0.0, True), (4.0, True), (12.0, False), (-50.0, True)])
def test_a_leak_is_not_flat(an_hour: float, *, flat: bool) -> None:
    """In half of half an hour it may be 2 MB, that is 8 MB an hour; looks that vary do not hide it."""
    found = growth("api", _looks(an_hour, noise=1.0), _UNTIL)

    assert found.per_hour == pytest.approx(an_hour, abs=3)
    assert found.is_flat is flat


def test_large_processes_may_vary_by_a_share() -> None:
    """Two percent of the mean, where that is more than 2 MB."""
    found = growth("children", _looks(20.0, start=400.0), _UNTIL)

    assert found.limit == pytest.approx(0.02 * found.mean)
    assert found.is_flat
    assert not growth("children", _looks(40.0, start=400.0), _UNTIL).is_flat


def test_what_is_given_back_between_is_no_growth() -> None:
    """Children that end and begin anew: the highest look of each minute counts."""
    saw = [(float(at), 0.0 if at % 100 < 20 else 200.0) for at in range(0, 1800, 5)]

    assert growth("children", saw, _UNTIL).rise == pytest.approx(0)
    assert peaks([(0, 1), (59, 5), (60, 2), (119, 1)]) == [(59, 5), (60, 2)]


def test_depth_is_empty_when_it_was_seen_empty_after_the_load() -> None:
    """Not when it was before, and never when no look said so."""
    looks = [(50.0, 0.0), (100.0, 7.0), (105.0, 2.0), (110.0, 0.0), (115.0, 0.0)]

    assert drained_after(looks, 100.0) == 10.0
    assert drained_after(looks[:4], 109.0) == pytest.approx(1.0)
    assert drained_after(looks[:3], 100.0) is None


def _kept() -> Evidence:
    """One course, asked for and done."""
    return Evidence(
        attempts=(Attempt(0, "a/1", "a"),),
        answers=(Answer(0, 200, "job"),),
        rows=(OutboxRow("job", "a", 1, "STRUCTURE_ANALYSIS"),),
        effects=(Effect("job", "a", "applied"),),
        calls=(Call("job"),),
        courses=(Course("a", "completed", 1, has_result=True),),
        arrivals=(Arrival("a", 1, "completed", 1),),
    )


def test_a_promise_kept_once_is_no_finding() -> None:
    """A run without faults is no void one here."""
    assert broken_promises(_kept()) == {}
    assert finished_once(_kept()) == 1


def test_a_broken_promise_is_found() -> None:
    """A course that was lost, done twice, or is not finished."""
    kept = _kept()
    lost = replace(kept, courses=(), effects=(), rows=(), calls=(), arrivals=())
    twice = replace(kept, arrivals=(Arrival("a", 1, "completed", 2),))
    stuck = replace(kept, courses=(Course("a", "stage_4_init", 1, has_result=False),), arrivals=())
    failed = replace(kept, courses=(Course("a", "error", 1, has_result=False),), arrivals=())

    assert set(broken_promises(lost)) == {"lost"}
    assert set(broken_promises(twice)) == {"duplicate"}
    assert set(broken_promises(stuck)) == {"stuck"}
    assert set(broken_promises(failed)) == {"failed"}
    assert [finished_once(each) for each in (lost, twice, stuck, failed)] == [0, 0, 0, 0]


def test_the_load_is_mixed() -> None:
    """Four of ten from documents, of every style and tier alike, no two with one title; or titles alone."""
    asked = list(wishes(1000))

    assert Counter(each.kind for each in asked) == dict(zip(KINDS, (600, 400), strict=True))
    for kind in KINDS:
        of_kind = [each for each in asked if each.kind == kind]
        assert {(each.style, each.tier) for each in of_kind} == {(style, tier) for style in STYLES for tier in TIERS}
        for seen in (Counter(each.style for each in of_kind), Counter(each.tier for each in of_kind)):
            assert max(seen.values()) < 1.2 * min(seen.values())
    assert len({each.title for each in asked}) == 1000
    assert {each.kind for each in wishes(20, titles_only=True)} == {KINDS[0]}
    assert math.isclose(sum(len(each.documents) for each in asked) / 1000, 1.0, abs_tol=0.3)
