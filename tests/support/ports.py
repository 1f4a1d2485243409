"""Free ports: of servers that tests start by themselves, which nobody else takes before they listen, and of others."""

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


def pick() -> int:
    """A port that is free now, and nobody's claim: for a command that claims it itself."""
    return pick_several(1)[0]


def pick_several(count: int) -> list[int]:
    """As many of them, no two the same."""
    claims = Claims()
    ports = [claims.take_any() for _ in range(count)]
    claims.release()
    return ports
