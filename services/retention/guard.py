"""The guard: a rule that would remove too much removes nothing.

What it stands against is a mistake, such as `7m` for `7d`, or a clock that runs ahead. So it refuses and tells, instead of
removing as much as is allowed.

A share says little of few rows: of a small table, a month without anything new is everything that it has. Up to `free_rows`
nobody asks about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.retention.survey import Survey


@dataclass(frozen=True, slots=True)
class Guard:
    """How much may go."""

    max_delete_fraction: float
    min_keep_rows: int
    free_rows: int = 0

    def objection(self, seen: Survey) -> str | None:
        """Why the rule must not remove what was seen; None when it may."""
        if seen.matched <= 0:
            return None
        about = "about " if seen.is_estimate else ""
        share = seen.matched / max(seen.present, seen.matched)
        if share > self.max_delete_fraction and seen.matched > self.free_rows:
            return (
                f"{about}{seen.matched} of {seen.present} rows ({share:.1%}) would go, more than the share of "
                f"{self.max_delete_fraction:g} that maxDeleteFraction allows; see that keep is right, or raise it"
            )
        left = seen.present - seen.matched
        if left < self.min_keep_rows:
            return (
                f"{about}{left} rows would be left, fewer than the {self.min_keep_rows} of minKeepRows; "
                "see that keep is right, or lower it"
            )
        return None
