"""Ports of servers that tests start by themselves, which nobody else takes before they listen."""

from __future__ import annotations

from collections import deque

from services.cli.stack.ports import Claims

_KEPT = 100
"""How many are kept from others: more than one test starts at a time, and few enough to keep open."""
_claims: deque[Claims] = deque()


def claim() -> int:
    """A port that no other test and no stack of this machine takes, until a hundred more were claimed."""
    if len(_claims) == _KEPT:
        _claims.popleft().release()
    _claims.append(Claims())
    return _claims[-1].take_any()
