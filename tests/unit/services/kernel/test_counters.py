"""The histogram's percentiles are right within five per cent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.kernel.counters import Durations, Snapshot, bucket_of, middle_of


@given(st.floats(min_value=0.02, max_value=3.6e6))
def test_a_duration_is_within_five_per_cent_of_its_bucket(milliseconds: float) -> None:
    """From 20 microseconds to an hour."""
    assert abs(middle_of(bucket_of(milliseconds)) - milliseconds) <= 0.05 * milliseconds


def test_percentiles_come_from_the_buckets_and_the_mean_from_the_sum() -> None:
    """One hundred durations of 1 to 100 ms."""
    values: dict[tuple[str, str, int], float] = {("d", "", -1): 5050.0}
    for milliseconds in range(1, 101):
        key = ("d", "", bucket_of(milliseconds))
        values[key] = values.get(key, 0) + 1
    found = Snapshot(values).durations("d")

    assert (100, 50.5) == (found.count, found.mean)
    assert abs(found.p50 - 50) <= 3
    assert abs(found.p95 - 95) <= 5
    assert abs(found.p99 - 99) <= 6


def test_a_distribution_counts_what_took_no_longer() -> None:
    """Cumulative, as Prometheus wants it; the sum is exact, in seconds."""
    values = {("d", "", bucket_of(ms)): 2.0 for ms in (5.0, 80.0, 900.0)} | {("d", "", -1): 1970.0, ("d", "", 0): 9.0}
    found = Snapshot(values).distribution("d")

    assert [0, 2, 4, 6, 6] == [found.within(each) for each in (0.001, 0.01, 0.1, 1.0, 60.0)]
    assert (6, 1.97) == (found.count, found.seconds)
    assert (0, 0.0, 0) == ((empty := Snapshot({}).distribution("d")).count, empty.seconds, empty.within(60))


def test_nothing_measured_is_zero() -> None:
    """An absent counter is 0, an absent duration all zeros."""
    assert (0, Durations()) == (Snapshot({}).count("x"), Snapshot({}).durations("x"))
