"""The decision whether a job may touch a course, over every state and stage."""

from __future__ import annotations

from uuid import uuid4

import pytest

from services.kernel.envelopes import Job
from services.kernel.states import INITIAL, TERMINAL, may_move
from services.stage_worker.listener import POSITION_OF
from services.stage_worker.stages.course_run import (
    ANALYSIS,
    DOCUMENTS,
    GENERATION,
    POSITIONS,
    Admission,
    CourseRun,
    Position,
    judge,
    stage_number,
)

STATES = [None, "pending", *(state for position in POSITIONS for state in position.states), *sorted(TERMINAL)]


def course(state: str | None, run_number: int = 1) -> CourseRun:
    """A course in a state."""
    return CourseRun(
        id=uuid4(),
        user_id=uuid4(),
        organization_id=uuid4(),
        title="T",
        style="academic",
        language=None,
        priority=1,
        run_number=run_number,
        state=state,
        open_steps=(),
    )


def job(run_number: int | None = 1) -> Job:
    """A job of a run."""
    return Job(course_id=uuid4(), outbox_id=uuid4(), job_type="X", run_number=run_number)


@pytest.mark.parametrize("position", POSITIONS, ids=lambda each: str(each.number))
@pytest.mark.parametrize("state", STATES)
def test_only_forwards(state: str | None, position: Position) -> None:
    """Own stage: work. Earlier or none: initialise. Later or ended: skip (TRAP11)."""
    admission = judge(course(state), job(), position).admission
    if state in TERMINAL or stage_number(state) > position.number:
        assert admission is Admission.SKIP
    elif state in position.states:
        assert admission is Admission.WORK
    else:
        assert admission is Admission.INITIALISE


@pytest.mark.parametrize("position", [*POSITIONS, None])
@pytest.mark.parametrize("state", STATES)
def test_another_run_is_over(state: str | None, position: Position | None) -> None:
    """Whatever the state, a job of another run changes nothing, and the reason says so."""
    verdict = judge(course(state, run_number=3), job(2), position)

    assert verdict.admission is Admission.SKIP
    assert "run 2 is over" in verdict.reason


@pytest.mark.parametrize("state", STATES)
def test_work_beside_the_pipeline_asks_for_the_run_only(state: str | None) -> None:
    """A plugin's stage may follow a finished course."""
    assert judge(course(state), job(), None).admission is Admission.WORK


def test_a_row_without_a_run_counts_for_the_present_one() -> None:
    """As rows written by hand may."""
    assert judge(course("stage_4_init", run_number=7), job(None), ANALYSIS).admission is Admission.WORK


def test_the_positions_do_not_overlap() -> None:
    """Nine states, three per stage, in the order of the enum."""
    states = [state for position in (DOCUMENTS, ANALYSIS, GENERATION) for state in position.states]

    assert len(set(states)) == 9
    assert [stage_number(state) for state in states] == [2] * 3 + [4] * 3 + [5] * 3


def test_the_positions_agree_with_the_state_machine() -> None:
    """Each stage's states follow one another legally, and begin where its job type says."""
    assert {job_type: position.initial for job_type, position in POSITION_OF.items()} == dict(INITIAL)
    for position in POSITIONS:
        assert may_move(position.initial, position.busy)
        assert may_move(position.busy, position.complete)
