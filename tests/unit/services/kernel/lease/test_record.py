"""What a Lease says, and when it may be taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.kernel.lease.record import LeaseRecord, Observer, Timers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HELD = LeaseRecord(holder="a", duration_seconds=15, acquired_at=NOW, renewed_at=NOW, transitions=3, version="7")


@pytest.mark.parametrize(
    ("lease", "renew", "retry", "fits"),
    [(15, 10, 2, True), (10, 10, 2, False), (9, 10, 2, False), (15, 2.4, 2, False), (15, 2.5, 2, True)],
)
def test_timers_that_cannot_work_are_refused(lease: int, renew: float, retry: float, fits: bool) -> None:
    """Lease > renew > 1.2 x retry."""
    if fits:
        assert Timers(lease_seconds=lease, renew_seconds=renew, retry_seconds=retry).stop_seconds == lease - renew
    else:
        with pytest.raises(ValueError, match="RELAY_LEASE"):
            Timers(lease_seconds=lease, renew_seconds=renew, retry_seconds=retry)


def test_a_change_of_holder_is_a_transition_and_a_renewal_is_none() -> None:
    """As client-go counts them: the first holder is none."""
    assert HELD.taken("b", 15, NOW).transitions == 4
    assert HELD.taken("a", 15, NOW).transitions == 3
    assert HELD.renewed(NOW).transitions == 3
    assert HELD.released(NOW).taken("b", 15, NOW).transitions == 4
    assert LeaseRecord().taken("a", 15, NOW).transitions == 0


def test_a_lease_is_taken_when_it_has_not_changed_for_as_long_as_it_says() -> None:
    """By the time since this process saw it change, whatever times are written in it."""
    observer = Observer()
    assert observer.see(HELD, 100.0)

    assert not observer.may_be_taken("b", 115.0)
    assert observer.may_be_taken("b", 115.1)
    assert observer.may_be_taken("a", 100.0)
    assert not observer.see(replace(HELD, version="8"), 115.1)  # the same holder, and it lives
    assert not observer.may_be_taken("b", 120.0)
    assert observer.see(HELD.released(NOW), 120.0)
    assert observer.may_be_taken("b", 120.0)
