"""Test processes that run side by side do not meet on a server that a variable names."""

from __future__ import annotations

from tests.support.servers import share_of


def test_processes_side_by_side_share_the_databases_without_overlap() -> None:
    """Each has its own, together they have all; alone one has everything."""
    shares = [
        share_of(range(1, 16), {"PYTEST_XDIST_WORKER": f"gw{place}", "PYTEST_XDIST_WORKER_COUNT": "4"})
        for place in range(4)
    ]

    assert sorted(number for share in shares for number in share) == list(range(1, 16))
    assert min(len(share) for share in shares) >= 3
    assert share_of(range(1, 16), {}) == list(range(1, 16))
