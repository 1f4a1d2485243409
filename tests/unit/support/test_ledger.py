"""The ledger checker reports every seeded fault: a checker that cannot fail proves nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.ledger import (
    Answer,
    Arrival,
    Attempt,
    Call,
    Course,
    Effect,
    Evidence,
    Fault,
    OutboxRow,
    Verdict,
    check,
    counted,
)

FIRED = (Fault("worker.before_commit kill", 1, 1),)


def honest_run(courses: int = 3) -> Evidence:
    """A run in which every request was answered and done, once, and one fault fired."""
    numbers = range(courses)
    return Evidence(
        attempts=tuple(Attempt(n, f"request-{n}", f"course-{n}") for n in numbers),
        answers=tuple(Answer(n, 200, f"job-{n}") for n in numbers),
        rows=tuple(OutboxRow(f"job-{n}", f"course-{n}", 1, "STRUCTURE_ANALYSIS") for n in numbers),
        effects=tuple(Effect(f"job-{n}", f"course-{n}", "applied") for n in numbers),
        calls=tuple(Call(f"job-{n}") for n in numbers),
        courses=tuple(Course(f"course-{n}", "completed", 1, has_result=True) for n in numbers),
        arrivals=tuple(Arrival(f"course-{n}", 1, "completed", 1) for n in numbers),
        faults=FIRED,
    )


def failing(verdict: Verdict) -> set[str]:
    """The names of the sets that are not empty."""
    names = ("lost", "phantom", "duplicate", "stuck", "divergent", "recovered", "dead", "failed", "void")
    return {name for name in names if getattr(verdict, name)}


def test_an_honest_run_passes() -> None:
    """Everything acknowledged was done once, and the fault fired."""
    verdict = check(honest_run())

    assert failing(verdict) == set()
    assert verdict.passed
    assert (verdict.acked, verdict.effects, verdict.fired) == (3, 3, 1)


def test_a_lost_effect_is_reported() -> None:
    """An acknowledged job without a row in the ledger is lost (and stuck, for its row still waits)."""
    run = honest_run()
    verdict = check(replace(run, effects=run.effects[1:]))

    assert {"job-0"} == set(verdict.lost)
    assert not verdict.passed


def test_a_lost_row_is_reported() -> None:
    """An acknowledgement before a commit that never came: no outbox row."""
    run = honest_run()
    verdict = check(replace(run, rows=run.rows[1:], effects=run.effects[1:], calls=run.calls[1:]))  # type: ignore[index]

    assert {"lost"} == failing(verdict)
    assert {"job-0"} == set(verdict.lost)


def test_a_lost_course_is_reported() -> None:
    """An acknowledged course that is not there at the end."""
    run = honest_run()
    verdict = check(replace(run, courses=run.courses[1:]))

    assert verdict.lost == {"job-0": "acknowledged, but its course course-0 is not there"}


def test_a_lost_result_is_reported() -> None:
    """A course that calls itself completed has its result."""
    run = honest_run()
    verdict = check(replace(run, courses=(replace(run.courses[0], has_result=False), *run.courses[1:])))

    assert {"lost"} == failing(verdict)


def test_a_rolled_back_effect_is_reported() -> None:
    """Performed before the eyes of the outside, and then forgotten."""
    run = honest_run()
    late = OutboxRow("job-9", "course-0", 1, "STRUCTURE_GENERATION")
    verdict = check(replace(run, rows=(*run.rows, late), calls=(*(run.calls or ()), Call("job-9"))))

    assert verdict.lost == {"job-9": "performed outside, but never committed"}


def test_a_phantom_effect_is_reported() -> None:
    """An effect on a course that nobody asked for."""
    run = honest_run()
    verdict = check(replace(run, attempts=run.attempts[1:], answers=run.answers[1:]))

    assert {"phantom"} == failing(verdict)
    assert {"job-0"} == set(verdict.phantom)


def test_an_effect_that_the_outside_never_saw_is_reported() -> None:
    """The two witnesses must agree."""
    run = honest_run()
    verdict = check(replace(run, calls=run.calls[1:]))  # type: ignore[index]

    assert {"phantom"} == failing(verdict)


def test_a_call_without_a_job_is_reported() -> None:
    """Nothing is performed that no outbox row asks for."""
    run = honest_run()
    verdict = check(replace(run, calls=(*(run.calls or ()), Call("job-9"))))

    assert {"phantom"} == failing(verdict)


def test_a_duplicate_under_a_second_identifier_is_reported() -> None:
    """The ledger's key cannot repeat, so a doubled effect shows as one piece of work under two identifiers."""
    run = honest_run()
    twin = replace(run.rows[0], effect_id="job-9")
    verdict = check(
        replace(
            run,
            rows=(*run.rows, twin),
            effects=(*run.effects, Effect("job-9", "course-0", "applied")),
            calls=(*(run.calls or ()), Call("job-9")),
        )
    )

    assert {"duplicate"} == failing(verdict)
    assert {"course-0/1/STRUCTURE_ANALYSIS/-"} == set(verdict.duplicate)


def test_a_duplicate_that_only_the_outside_saw_is_reported() -> None:
    """A second identifier that was performed but settled as skipped reached the outside twice all the same."""
    run = honest_run()
    twin = replace(run.rows[0], effect_id="job-9")
    verdict = check(
        replace(
            run,
            rows=(*run.rows, twin),
            effects=(*run.effects, Effect("job-9", "course-0", "skipped")),
            calls=(*(run.calls or ()), Call("job-9")),
        )
    )

    assert {"duplicate"} == failing(verdict)


def test_a_call_repeated_under_its_own_identifier_is_no_duplicate() -> None:
    """Delivery is at least once: the outside can tell a repetition by its identifier."""
    run = honest_run()
    verdict = check(replace(run, calls=(*(run.calls or ()), Call("job-0"))))

    assert verdict.passed


def test_four_documents_of_one_course_are_four_pieces_of_work() -> None:
    """The fan-out is not mistaken for a duplicate."""
    run = honest_run(1)
    rows = tuple(OutboxRow(f"job-{n}", "course-0", 1, "DOCUMENT_PROCESSING", f"document-{n}") for n in range(4))
    effects = tuple(Effect(row.effect_id, "course-0", "applied") for row in rows)
    verdict = check(replace(run, rows=rows, effects=effects, calls=tuple(Call(row.effect_id) for row in rows)))

    assert verdict.passed


def test_a_state_entered_twice_is_reported() -> None:
    """A transaction applied twice leaves two events of one state in one run."""
    run = honest_run()
    verdict = check(replace(run, arrivals=(replace(run.arrivals[0], times=2), *run.arrivals[1:])))

    assert {"duplicate"} == failing(verdict)


def test_a_doubled_ledger_row_is_reported() -> None:
    """Even what the primary key forbids is looked for."""
    run = honest_run()
    verdict = check(replace(run, effects=(*run.effects, run.effects[0])))

    assert {"duplicate"} == failing(verdict)


@pytest.mark.parametrize("state", ["pending", "stage_4_init", "stage_5_generating", None])
def test_a_stuck_course_is_reported(state: str | None) -> None:
    """After the quiet time every course is at an end."""
    run = honest_run()
    verdict = check(replace(run, courses=(replace(run.courses[0], state=state), *run.courses[1:])))

    assert {"stuck"} == failing(verdict)
    assert {"course-0"} == set(verdict.stuck)


@pytest.mark.parametrize("processed", [True, False])
def test_a_stuck_row_is_reported(processed: bool) -> None:
    """A row that nobody acknowledged may not hang either."""
    run = honest_run()
    row = OutboxRow("job-9", "course-0", 1, "STRUCTURE_GENERATION", processed=processed)
    verdict = check(replace(run, rows=(*run.rows, row)))

    assert {"stuck"} == failing(verdict)


def test_a_dead_letter_is_neither_lost_nor_stuck() -> None:
    """What an operator can see and replay is accounted for."""
    run = honest_run()
    verdict = check(
        replace(
            run,
            rows=(replace(run.rows[0], dead=True), *run.rows[1:]),
            effects=run.effects[1:],
            calls=run.calls[1:],  # type: ignore[index]
        )
    )

    assert {"dead"} == failing(verdict)
    assert verdict.passed


def test_a_course_that_ended_in_error_is_listed() -> None:
    """It is at an end, so the ledger is content; whether it may have failed is the test's to say."""
    run = honest_run()
    verdict = check(replace(run, courses=(replace(run.courses[0], state="error"), *run.courses[1:])))

    assert failing(verdict) == {"failed"}
    assert verdict.passed


def test_divergent_answers_are_reported() -> None:
    """The same request, two jobs."""
    run = honest_run()
    again = Attempt(9, "request-0", "course-0")
    other = OutboxRow("job-9", "course-0", 1, "STRUCTURE_GENERATION")
    verdict = check(
        replace(
            run,
            attempts=(*run.attempts, again),
            answers=(*run.answers, Answer(9, 200, "job-9")),
            rows=(*run.rows, other),
            effects=(*run.effects, Effect("job-9", "course-0", "applied")),
            calls=(*(run.calls or ()), Call("job-9")),
        )
    )

    assert {"divergent"} == failing(verdict)
    assert {"request-0"} == set(verdict.divergent)


def test_equal_answers_to_a_repeat_are_not_divergent() -> None:
    """A replay gives the first result; a refusal in between says nothing."""
    run = honest_run()
    repeats = (Attempt(8, "request-0", "course-0"), Attempt(9, "request-0", "course-0"))
    answers = (Answer(8, 503), Answer(9, 200, "job-0"))
    verdict = check(replace(run, attempts=(*run.attempts, *repeats), answers=(*run.answers, *answers)))

    assert verdict.passed


def test_what_was_done_without_an_answer_is_recovered() -> None:
    """A client that saw the connection break may find its course made: allowed, and counted."""
    run = honest_run()
    verdict = check(replace(run, answers=run.answers[1:]))

    assert {"recovered"} == failing(verdict)
    assert {"job-0"} == set(verdict.recovered)
    assert verdict.passed


def test_a_refused_request_may_leave_nothing() -> None:
    """Only a 2xx is a promise."""
    run = honest_run()
    refused = Attempt(9, "request-9", "course-9")
    verdict = check(replace(run, attempts=(*run.attempts, refused), answers=(*run.answers, Answer(9, 500))))

    assert verdict.passed


@pytest.mark.parametrize(
    "faults", [(), (Fault("relay.after_enqueue kill", 1, 0),), (Fault("a", 0, 0), Fault("b", 0, 0))]
)
def test_a_run_without_a_fired_fault_is_void(faults: tuple[Fault, ...]) -> None:
    """Quiet weather proves nothing."""
    verdict = check(replace(honest_run(), faults=faults))

    assert {"void"} == failing(verdict)
    assert not verdict.passed


def test_a_fault_that_fired_too_seldom_makes_the_run_void() -> None:
    """Every fault that was to happen must be proved."""
    faults = counted(["a kill", "a kill", "c kill"], {"a kill": 2, "b kill": 1})
    verdict = check(replace(honest_run(), faults=faults))

    assert verdict.void == {"b kill": "fired 0 of 1 times"}


def test_the_verdict_names_what_is_wrong() -> None:
    """A failure can be read without a debugger."""
    run = honest_run()
    text = str(check(replace(run, effects=run.effects[1:])))

    assert "lost 1" in text
    assert "job-0: acknowledged, but without an effect" in text
