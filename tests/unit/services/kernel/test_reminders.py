"""An obstacle is said when it begins, when it changes, and every half minute."""

from __future__ import annotations

from services.kernel.reminders import Reminder
from tests.support.clocks import StandingClock


def test_the_same_reason_is_due_twice_a_minute() -> None:
    """Whatever the number of rounds in between."""
    clock = StandingClock()
    reminder = Reminder(clock)
    due = []
    for _ in range(61):
        due.append(reminder.is_due("away"))
        clock.pass_by(1)

    assert [second for second, is_due in enumerate(due) if is_due] == [0, 30, 60]


def test_another_reason_is_due_at_once() -> None:
    """And then counts as the one that was said."""
    reminder = Reminder(StandingClock())

    assert [reminder.is_due(reason) for reason in ("away", "empty", "empty", "away")] == [True, True, False, True]


def test_what_comes_back_is_a_beginning() -> None:
    """After it has passed."""
    reminder = Reminder(StandingClock())
    said = [reminder.has_said, reminder.is_due("away"), reminder.has_said]
    reminder.forget()

    assert [*said, reminder.has_said, reminder.is_due("away")] == [False, True, True, False, True]
