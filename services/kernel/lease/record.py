"""What a Lease says, and what a candidate makes of it. Pure: no clock is read and nothing is sent here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

RELEASED_SECONDS: Final = 1
"""Duration in a Lease that its holder has given back; the API server accepts no 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """How long a leader leads without the API server, and how often candidates ask; as client-go: 15, 10 and 2 s.

    `variables` is what the settings of the three begin with: a fault is told by their names.

    Raises:
        ValueError: unless the lease outlasts the renewal, and the renewal has room for a second try.
    """

    lease_seconds: int
    renew_seconds: float
    retry_seconds: float
    variables: str = "RELAY_LEASE"

    def __post_init__(self) -> None:
        if not self.lease_seconds > self.renew_seconds:
            raise ValueError(f"{self.variables}_SECONDS: must be more than {self.variables}_RENEW_SECONDS")
        if not self.renew_seconds > 1.2 * self.retry_seconds:
            raise ValueError(
                f"{self.variables}_RENEW_SECONDS: must be more than 1.2 times {self.variables}_RETRY_SECONDS"
            )

    @property
    def call_seconds(self) -> float:
        """Longest wait for one answer of the API server: a call that hangs leaves time for two others."""
        return self.renew_seconds / 3

    @property
    def stop_seconds(self) -> float:
        """How long the work of a lost term may take to stop, before others may lead."""
        return self.lease_seconds - self.renew_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """The Lease as it was read or is to be written."""

    holder: str = ""
    duration_seconds: int = RELEASED_SECONDS
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    transitions: int = 0
    version: str = ""
    """The resourceVersion that was read; empty for a Lease that is not there yet."""

    @property
    def is_free(self) -> bool:
        """Whether nobody claims to hold it."""
        return not self.holder

    def taken(self, identity: str, duration_seconds: int, now: datetime) -> LeaseRecord:
        """The record under which `identity` holds the Lease; a change of holder is a transition."""
        if self.holder == identity:
            return replace(self, duration_seconds=duration_seconds, renewed_at=now)
        return replace(
            self,
            holder=identity,
            duration_seconds=duration_seconds,
            acquired_at=now,
            renewed_at=now,
            transitions=self.transitions + 1 if self.version else 0,
        )

    def renewed(self, now: datetime) -> LeaseRecord:
        """The record after one more sign of life."""
        return replace(self, renewed_at=now)

    def released(self, now: datetime) -> LeaseRecord:
        """The record that lets the next one in at once."""
        return replace(self, holder="", duration_seconds=RELEASED_SECONDS, acquired_at=now, renewed_at=now)


class Observer:
    """Knows since when the record has not changed, by this process's own monotonic clock.

    The times written in a record are for people: the clock of the host that wrote them may be wrong by hours.
    """

    def __init__(self) -> None:
        self._seen: LeaseRecord | None = None
        self._since = 0.0

    def see(self, record: LeaseRecord, at: float) -> bool:
        """The API server has shown `record`, which was there by `at`; whether its holder is another than before."""
        before = self._seen
        if record != before:
            self._seen, self._since = record, at
        return before is None or before.holder != record.holder

    def may_be_taken(self, identity: str, at: float) -> bool:
        """Whether the holder has let go, is `identity` itself, or has been silent for as long as it promised not to be.

        A Lease that is not there (any more) says nothing: the holder that was seen last may still be at work.
        """
        return self.seconds_left(identity, at) < 0

    def seconds_left(self, identity: str, at: float) -> float:
        """How much longer the holder that was seen last may be silent; below 0 when `identity` may take the Lease."""
        seen = self._seen
        if seen is None or seen.is_free or seen.holder == identity:
            return -math.inf
        return self._since + seen.duration_seconds - at
