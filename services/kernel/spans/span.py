"""One span, as OpenTelemetry describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

Attribute: TypeAlias = str | int | float | bool


class Kind(IntEnum):
    """Whose side of a call it is; the numbers are the protocol's."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class Span:
    """What was done, from when to when, in nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first one of a trace."""
    name: str
    kind: Kind
    began: int
    ended: int
    attributes: Mapping[str, Attribute]
    has_failed: bool = False
