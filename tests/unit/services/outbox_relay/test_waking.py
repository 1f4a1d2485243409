"""The polling interval that `health.pollInterval` reports."""

from __future__ import annotations

from services.outbox_relay.waking import Pacer


def test_the_interval_grows_while_nothing_comes_and_falls_back_with_the_first_row() -> None:
    """1, 2, 4, 8, 16, 30, 30 s, then 1 s again (contract.md GAP20); 1000 ms just after start."""
    pacer = Pacer()
    seen = [pacer.milliseconds]
    for _ in range(6):
        pacer.found_nothing()
        seen.append(pacer.milliseconds)
    pacer.found_rows()

    assert seen == [1000, 2000, 4000, 8000, 16000, 30000, 30000]
    assert pacer.milliseconds == 1000
