"""What replaying and discarding means, case by case."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.dead_letters.decisions import (
    JobFacts,
    Step,
    discard_job,
    discard_row,
    replay_job,
    replay_row,
)
from services.kernel.states import RUNNING, TERMINAL, Status

PIPELINE, BESIDE, HOOK = "STRUCTURE_ANALYSIS", "QUIZ", "WEBHOOK_DELIVERY"


def facts(job_type: str | None = PIPELINE, **changes: Any) -> JobFacts:
    """A dead outbox row of a running course."""
    known: dict[str, Any] = {
        "outbox_id": uuid4(),
        "queue": "q",
        "job_type": job_type,
        "run_number": 1,
        "course_id": uuid4(),
        "is_unsent": True,
        "is_spent": True,
        "course_run": 1,
        "state": "stage_4_init",
        "outcome": None,
        "is_begun_anew": False,
        "user_id": uuid4(),
        "organization_id": uuid4(),
        "has_files": None,
        "tier": "FREE",
        "priority": 1,
    }
    return JobFacts(**(known | changes))


def sent(job_type: str | None = PIPELINE, **changes: Any) -> JobFacts:
    """The same, put into its queue long ago."""
    return facts(job_type, **({"is_unsent": False, "is_spent": False} | changes))


def replayed(known: JobFacts | None, **circumstances: bool) -> tuple[Step, str | None]:
    """How a job that a queue has set aside is replayed."""
    usual = {"is_readable": True, "is_course_gone": False, "is_being_settled": False}
    decision = replay_job(known, **(usual | circumstances))
    return decision.step, decision.message


@pytest.mark.parametrize(
    ("known", "step"),
    [
        (facts(), Step.REVIVE),
        (facts(state="pending"), Step.REVIVE),
        (facts(BESIDE, state="completed"), Step.REVIVE),
        (facts(HOOK, state="error", course_run=2), Step.REVIVE),
        (None, Step.GONE),
        (facts(is_spent=False), Step.GONE),
        (facts(is_unsent=False), Step.GONE),
        (facts(outcome="applied"), Step.REFUSE),
        (facts(course_run=2), Step.REFUSE),
        (facts(state="cancelled", course_run=2), Step.REFUSE),
        (facts(state="completed"), Step.REFUSE),
    ],
)
def test_a_dead_row_is_sent_again_where_that_can_change_anything(known: JobFacts | None, step: Step) -> None:
    """A job beside the pipeline decides for itself what a run's end means to it."""
    assert replay_row(known).step is step


@pytest.mark.parametrize(
    ("known", "step"),
    [
        (facts(), Step.END_RUN),
        (facts(state="stage_2_processing"), Step.END_RUN),
        (facts(BESIDE), Step.SETTLE),
        (facts(state="pending"), Step.SETTLE),
        (facts(course_run=2), Step.SETTLE),
        (facts(state="error", course_run=2), Step.SETTLE),
        (facts(outcome="skipped"), Step.DROP),
        (facts(is_spent=False), Step.GONE),
        (None, Step.GONE),
    ],
)
def test_discarding_a_dead_row_ends_the_run_that_waits_for_it(known: JobFacts | None, step: Step) -> None:
    """And no other."""
    assert discard_row(known).step is step


@pytest.mark.parametrize(
    ("known", "step", "why"),
    [
        (sent(), Step.REVIVE, None),
        (facts(), Step.REVIVE, None),
        (facts(is_spent=False), Step.GONE, "not dead"),
        (sent(outcome="applied"), Step.REFUSE, "(applied)"),
        (sent(outcome="skipped"), Step.REFUSE, "(skipped)"),
        (sent(outcome="failed", state="error", course_run=2), Step.NEW_RUN, "new run"),
        (sent(outcome="failed", state="pending", course_run=2), Step.NEW_RUN, "new run"),
        (sent(outcome="failed", state="completed"), Step.NEW_RUN, "new run"),
        (sent(outcome="failed", state="error", course_run=2, run_number=None), Step.NEW_RUN, "new run"),
        (sent(outcome="failed"), Step.REFUSE, "being generated (run 1)"),
        (sent(outcome="failed", state="stage_4_init", course_run=2), Step.REFUSE, "being generated (run 2)"),
        (sent(outcome="failed", state="completed", course_run=2), Step.REFUSE, "run again since"),
        (sent(outcome="failed", state="error", course_run=3), Step.REFUSE, "run again since"),
        (sent(outcome="failed", state="stage_4_init", course_run=2, is_begun_anew=True), Step.NEW_RUN, "begun already"),
        (sent(BESIDE, outcome="failed", state="completed"), Step.COPY, "new job"),
        (sent(BESIDE, outcome="failed", state="error", course_run=2), Step.COPY, "its stage may skip it"),
        (sent(HOOK, outcome="failed"), Step.REFUSE, "gone on without it"),
        (sent(BESIDE, course_run=2), Step.REVIVE, "its stage may skip it"),
    ],
)
def test_a_job_set_aside_is_replayed_by_what_postgresql_knows(known: JobFacts, step: Step, why: str | None) -> None:
    """Never by what the queue believes."""
    decided, message = replayed(known)

    assert decided is step
    assert message == why if why is None else why in str(message)


def test_a_job_that_a_worker_is_settling_is_left_to_it() -> None:
    """Unless it has been settled already."""
    assert replayed(sent(), is_being_settled=True)[0] is Step.REFUSE
    assert replayed(sent(outcome="failed", state="error", course_run=2), is_being_settled=True)[0] is Step.NEW_RUN


def test_a_job_that_postgresql_does_not_know_is_put_back_as_it_was() -> None:
    """If anybody can read it, and its course is there."""
    assert replayed(None)[0] is Step.REQUEUE
    assert replayed(None, is_readable=False)[0] is Step.REFUSE
    assert replayed(None, is_course_gone=True)[0] is Step.REFUSE


@pytest.mark.parametrize(
    ("known", "step"),
    [
        (None, Step.DROP),
        (sent(outcome="failed", state="error", course_run=2), Step.DROP),
        (sent(), Step.END_RUN),
        (sent(BESIDE, state="completed"), Step.SETTLE),
        (facts(is_spent=False), Step.GONE),
        (facts(), Step.END_RUN),
    ],
)
def test_a_job_set_aside_is_discarded(known: JobFacts | None, step: Step) -> None:
    """Nobody waits for it afterwards."""
    assert discard_job(known).step is step


@given(
    job_type=st.sampled_from([PIPELINE, BESIDE, HOOK, None]),
    is_unsent=st.booleans(),
    is_spent=st.booleans(),
    run_number=st.sampled_from([None, 1, 2]),
    course_run=st.integers(1, 3),
    state=st.sampled_from([each.value for each in Status]),
    outcome=st.sampled_from([None, "applied", "skipped", "failed"]),
)
def test_whatever_the_facts_nothing_is_done_twice_and_nobody_waits_for_ever(**given_facts: Any) -> None:
    """The promises, over all facts there can be."""
    known = facts(**given_facts)
    replay, discard = replayed(known)[0], discard_job(known).step

    assert known.outcome in {None, "failed"} or replay in {Step.REFUSE, Step.GONE}
    assert replay is not Step.REVIVE or known.outcome is None
    assert replay is not Step.NEW_RUN or (known.state not in RUNNING and known.outcome == "failed")
    assert replay is not Step.REQUEUE
    assert (discard is Step.END_RUN) == (
        known.is_waited_for and known.outcome is None and (known.is_spent or not known.is_unsent)
    )
    assert discard is not Step.END_RUN or known.state not in TERMINAL
