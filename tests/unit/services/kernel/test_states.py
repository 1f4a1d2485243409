"""The state table: what contract.md (c) names is legal, what would go backwards is not."""

from __future__ import annotations

import pytest

from services.kernel.errors import TransitionRefused
from services.kernel.states import INITIAL, MOVES, RUNNING, TERMINAL, Status, check_move, may_move


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (None, "stage_2_init"),
        (None, "stage_4_init"),
        ("pending", "stage_5_init"),
        ("stage_2_processing", "stage_2_complete"),
        ("stage_2_complete", "stage_4_init"),
        ("stage_2_init", "stage_4_init"),
        ("stage_4_complete", "stage_5_init"),
        ("stage_5_complete", "completed"),
        ("stage_4_analyzing", "error"),
        ("stage_4_analyzing", "cancelled"),
        ("error", "pending"),
        ("completed", "pending"),
        ("stage_4_init", "stage_4_init"),
        (None, "pending"),
    ],
)
def test_the_moves_of_the_contract_are_legal(source: str | None, target: str) -> None:
    """contract.md c.2 and GAP6."""
    assert may_move(source, target)
    check_move(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("stage_5_init", "stage_4_init"),
        ("stage_4_analyzing", "stage_4_init"),
        ("stage_4_init", "stage_2_init"),
        ("stage_4_init", "stage_4_complete"),
        ("pending", "completed"),
        ("error", "stage_4_init"),
        ("completed", "stage_2_init"),
        ("cancelled", "error"),
        ("stage_2_init", None),
        ("stage_5_generating", "pending"),
    ],
)
def test_no_step_goes_backwards_or_skips_the_work(source: str | None, target: str | None) -> None:
    """TRAP11; a new run goes through pending."""
    assert not may_move(source, target)
    with pytest.raises(TransitionRefused, match="Invalid generation status transition"):
        check_move(source, target)


def test_a_run_always_ends() -> None:
    """Every state of a run leads to a terminal one, and to error and cancelled at once."""
    for status in RUNNING:
        assert {Status.ERROR, Status.CANCELLED} <= MOVES[status]
    assert all(MOVES[status] == {Status.PENDING} for status in TERMINAL)
    assert set(INITIAL.values()) <= RUNNING


def test_an_unknown_state_is_an_error() -> None:
    """Not a move that is quietly refused."""
    with pytest.raises(ValueError, match="stage_3_init"):
        may_move("pending", "stage_3_init")
