"""What a caller's tier is worth (contract.md c.5, e)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DEFAULT_TIER: Final = "FREE"
"""The tier of a caller whose token names none, or one nobody knows (GAP9)."""

PRIORITIES: Final[dict[str, int]] = {"FREE": 1, "BASIC": 3, "STANDARD": 5, "TRIAL": 5, "PREMIUM": 10}
"""Priority of a tier's jobs; higher goes first (TRAP12)."""

CONCURRENT_COURSES: Final[Mapping[str, int]] = MappingProxyType(
    {"FREE": 1, "BASIC": 2, "STANDARD": 3, "TRIAL": 5, "PREMIUM": 5}
)
"""Courses of one user that may be in generation at the same time, unless an operator decides otherwise."""


def is_known_tier(name: object) -> bool:
    """Whether `name` names a tier, in whatever case."""
    return isinstance(name, str) and name.upper() in PRIORITIES


def known_tier(name: object) -> str:
    """The tier that `name` means: itself in capitals, or the default for anything unknown."""
    tier = name.upper() if isinstance(name, str) else DEFAULT_TIER
    return tier if tier in PRIORITIES else DEFAULT_TIER
