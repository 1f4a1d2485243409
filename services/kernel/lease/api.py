"""What the elector asks of the API server."""

from __future__ import annotations

from typing import Protocol

from services.kernel.errors import RetryableError
from services.kernel.lease.record import LeaseRecord


class LeaseConflict(RetryableError):
    """Somebody else has written the Lease in between: this round is lost."""


class LeaseUnavailable(RetryableError):
    """The API server does not answer, or refuses."""


class LeaseApi(Protocol):
    """One Lease of one namespace. Every call may also last for ever: the caller bounds it."""

    async def read(self) -> LeaseRecord | None:
        """The Lease; None when there is none.

        Raises:
            LeaseUnavailable: no answer, or a refusal.
        """

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Write a new Lease; returns it with its version.

        Raises:
            LeaseConflict: there is one already.
            LeaseUnavailable: no answer, or a refusal.
        """

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """Write the Lease if it still has `record.version`; returns it with the new one.

        Raises:
            LeaseConflict: it has another version by now, or is gone.
            LeaseUnavailable: no answer, or a refusal.
        """

    async def announce(self, message: str) -> None:
        """Leave an Event on the Lease, as far as that is allowed: never raises."""
