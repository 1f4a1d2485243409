"""The state machine of a course as data: which moves are legal, which states end a run (contract.md c, GAP6).

::

    pending ─▶ stage_2_init ─▶ stage_2_processing ─▶ stage_2_complete ─┐
       ├─────▶ stage_4_init ─▶ stage_4_analyzing ──▶ stage_4_complete ◀┘
       ├─────▶ stage_5_init ─▶ stage_5_generating ─▶ stage_5_complete ─▶ completed
       │  ▲
       │  └──── completed · cancelled · error            (a new run)
       └──────▶ cancelled · error                        (from every state of a run)

A later stage may begin from any earlier state of the run, never an earlier stage from a later state (TRAP11). The database
enforces the same table for every writer (`guard_generation_status`); a test compares all pairs. This module reads and
writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from services.kernel.errors import TransitionRefused


class Status(StrEnum):
    """A value of `generation_status_enum`, in its order."""

    PENDING = "pending"
    STAGE_2_INIT = "stage_2_init"
    STAGE_2_PROCESSING = "stage_2_processing"
    STAGE_2_COMPLETE = "stage_2_complete"
    STAGE_4_INIT = "stage_4_init"
    STAGE_4_ANALYZING = "stage_4_analyzing"
    STAGE_4_COMPLETE = "stage_4_complete"
    STAGE_5_INIT = "stage_5_init"
    STAGE_5_GENERATING = "stage_5_generating"
    STAGE_5_COMPLETE = "stage_5_complete"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    ERROR = "error"


TERMINAL: Final = frozenset({Status.COMPLETED, Status.CANCELLED, Status.ERROR})
"""States in which a run has ended."""

INITIAL: Final[Mapping[str, Status]] = MappingProxyType(
    {
        "DOCUMENT_PROCESSING": Status.STAGE_2_INIT,
        "STRUCTURE_ANALYSIS": Status.STAGE_4_INIT,
        "STRUCTURE_GENERATION": Status.STAGE_5_INIT,
    }
)
"""The state in which a job of each type finds its course."""

RUNNING: Final = frozenset(Status) - TERMINAL - {Status.PENDING}
"""States of a run under way."""

STAGES: Final[Mapping[int, tuple[Status, Status, Status]]] = MappingProxyType(
    {
        2: (Status.STAGE_2_INIT, Status.STAGE_2_PROCESSING, Status.STAGE_2_COMPLETE),
        4: (Status.STAGE_4_INIT, Status.STAGE_4_ANALYZING, Status.STAGE_4_COMPLETE),
        5: (Status.STAGE_5_INIT, Status.STAGE_5_GENERATING, Status.STAGE_5_COMPLETE),
    }
)
"""The three states of each stage by its number, in the order in which a course passes them."""

_NEXT: Final = {
    **{before: after for states in STAGES.values() for before, after in pairwise(states)},
    Status.STAGE_5_COMPLETE: Status.COMPLETED,
}
_ORDER: Final = {status: place for place, status in enumerate(Status)}


def _targets(source: Status) -> frozenset[Status]:
    if source in TERMINAL:
        return frozenset({Status.PENDING})
    later_stages = {state for state in INITIAL.values() if _ORDER[state] > _ORDER[source]}
    within_stage = {_NEXT[source]} if source in _NEXT else set()
    return frozenset(later_stages | within_stage | {Status.CANCELLED, Status.ERROR})


MOVES: Final[Mapping[Status, frozenset[Status]]] = MappingProxyType({each: _targets(each) for each in Status})
"""Where each state may go. Staying is no move and always allowed."""


def may_move(source: Status | str | None, target: Status | str | None) -> bool:
    """Whether the database would store `target` over `source`. None counts as `pending`, as it does there."""
    before, after = Status(source or Status.PENDING), Status(target or Status.PENDING)
    return before is after or after in MOVES[before]


def check_move(source: Status | str | None, target: Status | str | None) -> None:
    """Return when the move is legal.

    Raises:
        TransitionRefused: in the words of the database.
    """
    if not may_move(source, target):
        before, after = source or Status.PENDING, target or Status.PENDING
        raise TransitionRefused(f"Invalid generation status transition: {before} -> {after}")
